/** Ends a run without `../shared` with one line: how many tests need it. */
import type { Reporter } from 'vitest/node'

/** In the name of every suite that is skipped for this reason; a test that is skipped for another is not counted. */
export const needsShared = '(needs ../shared)'

export default class SharedReporter implements Reporter {
  onTestRunEnd: Reporter['onTestRunEnd'] = (modules) => {
    const skipped = modules.flatMap((module) => [...module.children.allTests('skipped')])
    const count = skipped.filter((test) => test.fullName.includes(needsShared)).length
    if (count > 0) console.log(`${count} tests need ../shared, which is not here: not run`)
  }
}
