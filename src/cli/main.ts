/**
 * The program `tweedie`: finds the command, and turns whatever goes wrong into an exit code. 0: done. 1: one clear line
 * about what was asked for, or, for a defect of this program, the stack. 130, 143 and 129: stopped by Ctrl-C, by
 * SIGTERM, by the end of its terminal (SIGHUP). The first of them saves what was computed; a second one of the
 * same kind ends at once.
 */
import { constants } from 'node:os'
import { inspect } from 'node:util'
import { TweedieError, type ErrorCode } from '../errors.ts'
import { Device } from '../tensor.ts'
import { fail, helpOf, type Command } from './arguments.ts'
import { bench } from './commands/bench.ts'
import { convert } from './commands/convert.ts'
import { fetchCommand } from './commands/fetch.ts'
import { evaluate } from './commands/evaluate.ts'
import { forward } from './commands/forward.ts'
import { info } from './commands/info.ts'
import { label } from './commands/label.ts'
import { memorization } from './commands/memorization.ts'
import { didYouMean } from './option.ts'
import { nll } from './commands/nll.ts'
import { quickstart } from './commands/quickstart.ts'
import { recipe } from './commands/recipe.ts'
import { replay } from './commands/replay.ts'
import { sample } from './commands/sample.ts'
import { score } from './commands/score.ts'
import { select } from './commands/select.ts'
import type { Session } from './session.ts'
import { shrink } from './commands/shrink.ts'
import { trainClassifier } from './commands/train-classifier.ts'
import { trainDiffusion } from './commands/train-diffusion.ts'
import { trainFeatures } from './commands/train-features.ts'
import { version } from '../version.ts'
import { print, tell } from './print.ts'

export const commands: readonly Command[] = [
  quickstart,
  select,
  shrink,
  trainDiffusion,
  sample,
  replay,
  score,
  nll,
  label,
  trainClassifier,
  trainFeatures,
  evaluate,
  memorization,
  recipe,
  forward,
  fetchCommand,
  convert,
  info,
  bench,
]

/** Runs `tweedie` with `argv`, the arguments without program names. Resolves to the exit code. */
export async function main(
  argv: readonly string[],
  { requestDevice = (request) => Device.request(request) }: Partial<Pick<Session, 'requestDevice'>> = {},
): Promise<number> {
  const controller = new AbortController()
  const stop = (signal: NodeJS.Signals): void => controller.abort(new Stopped(signal))
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const signal of signals) process.once(signal, stop)
  try {
    await dispatch(argv, { signal: controller.signal, requestDevice })
    return 0
  } catch (error) {
    return report(controller.signal.aborted ? controller.signal.reason : error)
  } finally {
    for (const signal of signals) process.off(signal, stop)
  }
}

class Stopped extends Error {
  readonly exitCode: number

  constructor(signal: NodeJS.Signals) {
    super('stopped.')
    this.exitCode = 128 + constants.signals[signal]
  }
}

async function dispatch(argv: readonly string[], session: Session): Promise<void> {
  const help = (word: string | undefined): boolean => word === '--help' || word === '-h'
  const words = argv[0] === 'help' ? [...argv.slice(1), '--help'] : argv
  // A command of two words, such as `train diffusion`.
  const two = words.slice(0, 2).join(' ')
  const [name, ...rest] = commands.some((command) => command.name === two) ? [two, ...words.slice(2)] : words
  if (name === undefined || help(name)) return print(overview())
  if (name === '--version' || name === '-v') return print(version)
  const command = commands.find((candidate) => candidate.name === name)
  if (!command)
    return fail(
      `there is no command "${name}"${
        didYouMean(
          name,
          commands.map((candidate) => candidate.name),
        ) || `. There are ${commands.map((candidate) => candidate.name).join(', ')}.`
      }`,
    )
  if (rest.some(help)) return print(helpOf(command))
  return command.run(rest, session)
}

const overview = (): string =>
  [
    'tweedie draws minority samples from diffusion models, with kernels of its own for GPUs ' +
      '(WebGPU) and CPUs (WebAssembly).',
    '',
    'Usage: tweedie COMMAND [options]',
    '',
    'Commands:',
    ...commands.map(({ name, summary }) => `  ${name.padEnd(18)}${summary}`),
    '',
    'Nothing is written over what a command reads, over a run with other options, or over a file that the same command',
    'did not make; and two processes never write to one output. What was interrupted goes on with the same command.',
    '',
    'tweedie COMMAND --help says more. First steps: tweedie quickstart',
  ].join('\n')

/** Failures that the user cannot have caused: their stack helps to mend them. */
const defects: readonly ErrorCode[] = ['device-error', 'shader-compile', 'disposed', 'unsupported']

function report(error: unknown): number {
  if (error instanceof Stopped) {
    tell(`tweedie: ${error.message}`)
    return error.exitCode
  }
  const ours = error instanceof TweedieError && !defects.includes(error.code)
  // No room on the disk, no right to write a folder: the system's errors name the path.
  const system = error instanceof Error && 'syscall' in error
  tell(ours || system ? `tweedie: ${error.message}` : inspect(error))
  if (!ours && !system) tell('This is a defect of tweedie or of a driver; please report it with the lines above.')
  return 1
}
