/**
 * Progress, on stderr: a bar on a terminal; elsewhere lines, the first at once and then one every few seconds, so that
 * a log shows from the first second that something happens.
 */
import { SingleBar } from 'cli-progress'
import { printable } from '../printable.ts'
import { tell } from './print.ts'

export interface Progress {
  /** `note`: figures of the moment, such as a loss. */
  update(done: number, note?: string): void
  /** Ends the bar. Calling it again does nothing. */
  stop(): void
}

/** Milliseconds between two lines. */
const pause = 5_000

/** `units` are what is counted: "steps", "MiB"; `from`, what was done already by an earlier run. */
export function progress(label: string, total: number, units: string, from = 0): Progress {
  const shown = printable(label)
  const unit = total === 1 ? units.replace(/s$/, '') : units
  return process.stderr.isTTY ? bar(shown, total, unit, from) : lines(shown, total, unit, from)
}

/** Bytes as a bar counts them, to a tenth of a MiB. */
export const mebibytes = (bytes: number): number => Math.round((bytes / 2 ** 20) * 10) / 10

/** For what is done in a moment mostly, but not with a million files: shown once it has taken two seconds. */
export function slowProgress(
  label: string,
  unit: string,
): { readonly update: (done: number, total: number) => void; readonly stop: () => void } {
  const begun = performance.now()
  let shown: Progress | undefined
  return {
    update(done, total) {
      if (!shown && (done === total || performance.now() - begun < 2_000)) return
      shown ??= progress(label, total, unit, done)
      shown.update(done)
    },
    stop: () => shown?.stop(),
  }
}

function bar(label: string, total: number, unit: string, from: number): Progress {
  const view = new SingleBar({
    format: `${label}  {bar} {value}/{total} ${unit}  {duration_formatted}  {eta_formatted} left  {note}`,
    stream: process.stderr,
    barsize: 30,
    hideCursor: true,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    stopOnComplete: false,
    etaBuffer: 20,
    // Ctrl-C is handled by the command line, which ends the bar.
    gracefulExit: false,
  })
  view.start(total, from, { note: '' })
  return { update: (done, note = '') => view.update(done, { note }), stop: () => view.stop() }
}

function lines(label: string, total: number, unit: string, from: number): Progress {
  const start = performance.now()
  let shown = start
  let last = from
  const say = (done: number, note = ''): void => {
    const now = performance.now()
    const left =
      done > from && done < total ? `, about ${duration(((now - start) / (done - from)) * (total - done))} left` : ''
    tell(
      `${label}: ${done} of ${total} ` +
        `${unit}${now - start > 500 ? `, ${duration(now - start)}` : ''}${left}${note && `; ${note}`}`,
    )
    shown = now
    last = done
  }
  say(from)
  return {
    update: (done, note) => {
      if (done !== last && (done >= total || performance.now() - shown >= pause)) say(done, note)
    },
    stop: () => {},
  }
}

/** For people: 50 s, 12 min, 2 h 5 min. */
function duration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000)
  if (seconds < 120) return `${seconds} s`
  const minutes = Math.round(seconds / 60)
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}
