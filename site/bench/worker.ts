/** Measures, in a worker, so that the page goes on and its tasks do not come between the samples. */
import {
  benchKernel,
  benchNetwork,
  formulaNetwork,
  measurePeaks,
  networkConfigs,
  newReport,
  passes,
  plannedCases,
  shapeGroups,
  stopwatchOf,
  withRows,
  type BenchReport,
  type Row,
} from '../../dist/bench/index.js'
import { Device } from 'tweedie/tensor'
import type { FromWorker, ToWorker } from './messages.ts'
import { measurePeers } from './peers.ts'
import { browserOf, effort, wants, type State } from './state.ts'

const say = (message: FromWorker): void => postMessage(message)
let controller: AbortController | null = null

addEventListener('message', ({ data }: MessageEvent<ToWorker>) => {
  if (data.kind === 'stop') return controller?.abort()
  const mine = new AbortController()
  controller = mine
  measure(data.state, mine.signal).then(
    () => say({ kind: 'end', how: 'done' }),
    (error: unknown) =>
      say(
        mine.signal.aborted
          ? { kind: 'end', how: 'stopped' }
          : { kind: 'failed', message: error instanceof Error ? error.message : String(error) },
      ),
  )
})
say({ kind: 'ready' })

async function measure(state: State, signal: AbortSignal): Promise<void> {
  const { backend, shapes, network, peers } = state
  using device = await Device.request({ ...(backend !== 'auto' && { backend }), signal })
  const stopwatch = await stopwatchOf(device)
  const budgetMs = effort[state.effort]
  const timing = { samples: state.effort === 'quick' ? 7 : 21, budgetMs, signal }
  const all = shapeGroups()
  const cases = shapes.flatMap((name) =>
    plannedCases(all[name])
      .filter(({ as }) => wants(state, as))
      .map(({ make }) => ({ group: name, make })),
  )
  const total = 1 + cases.length * (peers.length > 0 ? 2 : 1) + (network ? passes.length : 0)
  let done = 0
  const step = (now: string): void => say({ kind: 'progress', done: done++, total, now })
  let report: BenchReport = newReport(device, browserOf(navigator.userAgent))
  const rows: Row[] = []
  const found = (more: readonly Row[]): void => {
    rows.push(...more)
    report = withRows(report, rows)
    say({ kind: 'report', report })
  }
  step('What the device reaches at most')
  say({ kind: 'report', report })
  // A software adapter would take seconds for what a GPU does in milliseconds; a page may not have as much memory.
  const small = device.adapter.software ? { bytes: 2 ** 24, workgroups: 128 } : { bytes: 2 ** 27 }
  report = { ...report, peaks: await measurePeaks(device, stopwatch, { ...timing, ...small }) }
  say({ kind: 'report', report })
  for (const { group, make } of cases) {
    const one = make()
    step(`${one.op}, ${one.shape}`)
    found(await benchKernel(device, group, one, stopwatch, timing))
    if (peers.length === 0) continue
    step(`${one.op}, ${one.shape}: the others`)
    found(await measurePeers(device, group, one, peers, timing))
  }
  if (!network) return
  const config = networkConfigs.toy
  using model = await formulaNetwork(device, config, signal)
  for (const pass of passes) {
    step(`the small network: ${pass}`)
    found(await benchNetwork(device, 'toy', model, pass, 8, timing))
  }
}
