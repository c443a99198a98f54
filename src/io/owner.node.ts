import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'

/**
 * Which process a file belongs to that is there only while the process runs: a lock, half of a file, half of a
 * download. Its name or text says the machine, the process and when the process started, for numbers of processes are
 * given out again. So whoever comes later can tell what is in use from what a killed process left behind.
 */
export interface Owner {
  /** Name of the machine, as far as it goes into the name of a file. */
  readonly host: string
  /** Number of the process there. */
  readonly pid: number
  /** In ticks since the machine started, from /proc; 0 where there is no /proc. */
  readonly start: number
}

let known: Owner | undefined

/** Found out when it is first needed: in Deno that asks for rights, which who only reads must not be asked for. */
export function thisProcess(): Owner {
  return (known ??= {
    host: machine().replace(/[^\w]/g, '').slice(0, 24) || 'host',
    pid: process.pid,
    start: stateOf(process.pid)?.start ?? 0,
  })
}

/** Its name, where Deno lets us have it. */
function machine(): string {
  try {
    return hostname()
  } catch {
    return ''
  }
}

/** As a part of a file name. */
export const ownerName = ({ host, pid, start }: Owner): string => `${host}-${pid}-${start}`

/**
 * The owner in a name that {@link ownerName} made, or an earlier version without the start; null for any other name.
 */
export function ownerIn(name: string): Owner | null {
  const [, host, pid, start] = /^(\w+)-(\d+)(?:-(\d+))?$/.exec(name) ?? []
  return host === undefined ? null : { host, pid: Number(pid), start: Number(start ?? 0) }
}

/** Whether the owner still runs; null where that cannot be seen from here, for it is of another machine. */
export function isRunning({ host, pid, start }: Owner): boolean | null {
  if (host !== thisProcess().host) return null
  try {
    process.kill(pid, 0)
  } catch (error) {
    // EPERM: it is there, and another user's.
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  const found = stateOf(pid)
  // A zombie was killed and is only not yet missed by its parent.
  return found === null || (!/[ZX]/.test(found.state) && (start === 0 || found.start === start))
}

/** The letter of a process's state and when it started (proc(5), /proc/PID/stat, fields 3 and 22). */
function stateOf(pid: number): { state: string; start: number } | null {
  try {
    // The name before them may hold anything, but no more brackets come after it.
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1)!.split(' ')
    return { state: fields[0], start: Number(fields[19]) || 0 }
  } catch {
    return null
  }
}
