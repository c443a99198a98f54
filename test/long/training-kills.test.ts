/** A training killed at 8 random moments, and stopped at 8, reviews and all. */
import { beforeAll, test } from 'vitest'
import { temporaryFolder, tweedie } from '../cli.ts'
import { bundledProgram, expectSameAfterKills, smallTraining, writeSmallData } from '../kills.ts'

const at = temporaryFolder()
const program = bundledProgram()

beforeAll(async () => {
  writeSmallData(at('data.npz'))
  await tweedie(['select', at('data.npz'), '--hold-out', '0.25', '--by', 'source', '--out', at('split.json')])
})

test.each(['SIGKILL', 'SIGTERM'] as const)(
  '8 times %s: every file is that of the training undisturbed',
  async (signal) => {
    const argv = (out: string): string[] =>
      smallTraining(
        at('data.npz'),
        out,
        '--select',
        at('split.json'),
        '--images',
        '160',
        '--save-every',
        '4',
        '--log-every',
        '3',
        '--ema',
        '0.9',
        '--samples',
        '2',
        '--evaluate-on',
        '4',
        '--schedule-sampler',
        'loss-second-moment',
        '--resume',
      )
    await expectSameAfterKills({
      program,
      whole: at(`whole ${signal}`),
      out: at(`ended ${signal}`),
      argv,
      signal,
      kills: 8,
    })
  },
)
