/**
 * Trajectories of the reference code for what its scripts can be told of a network: no variance head (FIXED_LARGE, and
 * FIXED_SMALL with `sigma_small`), `predict_xstart`, a network of the previous x, `clip_denoised False`. What is not
 * said here is the default of `processOf`, which therefore has to be the reference's.
 */
import { diffusionOf, GivenNoise, l2, sampleLoop, selfGuidance, type SampleOptions } from '../src/diffusion/index.ts'
import type { DiffusionSettings, UNet } from '../src/nn/index.ts'
import { arrayNamed, expectOutput, loadGoldenModel, readGolden, tensorNamed } from './golden.ts'
import { deviceTest } from './op.ts'
import { describeShared } from './shared.ts'

interface Case {
  readonly weights: 'nosig16' | 'frac16'
  readonly settings?: Partial<DiffusionSettings>
  readonly respacing: string
  readonly sampling?: Omit<SampleOptions, 'noise'>
  /** Of the sample, in parts of its largest value; default 1e-4. */
  readonly tolerance?: number
}

const linear: DiffusionSettings = { schedule: 'linear', diffusionSteps: 1000, rescaleTimesteps: false }
const cosine: Partial<DiffusionSettings> = { schedule: 'cosine' }

const cases: Readonly<Record<string, Case>> = {
  n1: { weights: 'nosig16', respacing: '20' },
  n1s: { weights: 'nosig16', settings: { sigmaSmall: true }, respacing: '20' },
  n2: { weights: 'nosig16', respacing: 'ddim10', sampling: { method: 'ddim', eta: 0.4 } },
  n3: {
    weights: 'nosig16',
    respacing: '12',
    sampling: { selfGuidance: selfGuidance({ weight: 0.4, every: 2, strength: 0.8, distance: l2 }) },
  },
  // Its last steps amplify the rounding of those before, 8e-7, a hundred times: every backend is 8e-5 to 1.1e-4 off.
  x1: { weights: 'frac16', settings: { ...cosine, meanType: 'xStart' }, respacing: '16', tolerance: 3e-4 },
  x2: { weights: 'nosig16', settings: { meanType: 'previousX', sigmaSmall: true }, respacing: '16' },
  x4: { weights: 'frac16', settings: cosine, respacing: '8', sampling: { clipDenoised: false } },
}

describeShared('the reference code, told otherwise', () => {
  for (const [name, { weights, settings, respacing, sampling, tolerance }] of Object.entries(cases)) {
    deviceTest(name, async (device) => {
      const golden = await readGolden(`goldens/fidelity/${name}.io.safetensors`)
      using model = (await loadGoldenModel(device, `goldens/fidelity/${weights}.safetensors`)) as UNet
      using xT = tensorNamed(device, golden, 'x_T')
      using given = tensorNamed(device, golden, 'noise')
      const diffusion = diffusionOf(
        { config: { kind: 'unet', ...model.config }, diffusion: { ...linear, ...settings } },
        { respacing },
      )
      for await (const { x, done, total } of sampleLoop(diffusion, model, {
        noise: new GivenNoise(xT, given),
        ...sampling,
      })) {
        const marks = { first_step: 1, middle_step: Math.floor(total / 2) + 1, sample: total }
        for (const [mark, at] of Object.entries(marks))
          if (done === at)
            expectOutput(await x.read(), arrayNamed(golden, mark).data, mark, mark === 'sample' ? tolerance : undefined)
      }
    })
  }
})
