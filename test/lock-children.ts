/** Processes that take one lock in turn, some of which are killed while they hold it: for the tests of locks. */
import { spawn } from 'node:child_process'
import { build } from 'esbuild'

/** Source of a process that takes `lock` `rounds` times; two at once write "BOTH" on its standard error. */
const taker = (module: string, lock: string, rounds: number, deaths: number): string => `
  import { takeLock, LockedError } from ${JSON.stringify(module)}
  import { readFileSync, rmSync, writeFileSync } from 'node:fs'
  import { setTimeout as wait } from 'node:timers/promises'
  const inside = ${JSON.stringify(`${lock}.inside`)}
  const alive = (pid) => { try { process.kill(pid, 0); return !/\\) Z/.test(readFileSync('/proc/' + pid + '/stat', 'latin1')) } catch { return false } }
  for (let round = 0; round < ${rounds};) {
    const lock = await takeLock(${JSON.stringify(lock)}, 'test').catch((error) => { if (!(error instanceof LockedError)) throw error })
    if (!lock) { await wait(1); continue }
    round++
    let other = null
    try { other = Number(readFileSync(inside, 'utf8')) } catch {}
    if (other !== null && alive(other)) console.error('BOTH ' + other + ' and ' + process.pid)
    writeFileSync(inside, String(process.pid))
    await wait(Math.random() * 3)
    if (Math.random() < ${deaths}) process.kill(process.pid, 'SIGKILL')
    if (readFileSync(inside, 'utf8') !== String(process.pid)) console.error('BOTH in ' + process.pid)
    rmSync(inside)
    await lock.release()
    console.log('round')
  }
`

export interface Taken {
  /** How often the lock was taken and released. */
  readonly rounds: number
  readonly killed: number
  readonly complaints: string
}

/**
 * `processes` of them at once; each that dies is followed by another until `deaths` of every holding have killed
 * enough.
 */
export async function takers(
  lock: string,
  { processes, rounds, deaths }: { processes: number; rounds: number; deaths: number },
): Promise<Taken> {
  const module = `${lock}.mjs`
  await build({ entryPoints: ['src/io/lock.node.ts'], outfile: module, bundle: true, platform: 'node', format: 'esm' })
  let [done, killed, complaints] = [0, 0, '']
  await Promise.all(
    Array.from(
      { length: processes },
      () =>
        new Promise<void>((resolve) => {
          const child = spawn(process.execPath, ['--input-type=module', '-e', taker(module, lock, rounds, deaths)], {
            stdio: ['ignore', 'pipe', 'pipe'],
          })
          child.stdout.on('data', (text: Buffer) => (done += String(text).split('round').length - 1))
          child.stderr.on('data', (text: Buffer) => (complaints += String(text)))
          child.once('close', (_, signal) => {
            if (signal === 'SIGKILL') killed++
            resolve()
          })
        }),
    ),
  )
  return { rounds: done, killed, complaints }
}
