/** Twenty training steps of the reference code: losses, first gradients, and where weights and their average end. */
import { expect } from 'vitest'
import { GaussianDiffusion, trainingLosses } from '../src/diffusion/index.ts'
import type { UNet } from '../src/nn/index.ts'
import { grad, type Tensor } from '../src/tensor/index.ts'
import { AdamW } from '../src/train/index.ts'
import { arrayNamed, expectGradient, expectOutput, loadGoldenModel, readGolden } from './golden.ts'
import { deviceTest } from './op.ts'
import { describeShared } from './shared.ts'
import { slow } from './slow.ts'

const steps = 20
const shape = [4, 3, 16, 16]
const size = 4 * 3 * 16 * 16

describeShared('AdamW on the real loss against the reference code', () => {
  deviceTest(
    'adamw20-adm16',
    async (device) => {
      const golden = await readGolden('goldens/adamw20-adm16.safetensors')
      const { metadata } = golden
      const initial = metadata.initial_weights
      using model = (await loadGoldenModel(device, `goldens/${initial}`)) as UNet
      const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000 })
      const [beta1, beta2] = metadata.betas.split(',').map(Number)
      using optimizer = new AdamW(device, model.parameters, {
        betas: [beta1, beta2],
        eps: Number(metadata.eps),
        weightDecay: Number(metadata.weight_decay),
        emaRates: [Number(metadata.ema_rate)],
      })
      const names = [...model.parameters.keys()]
      const values = (name: string): number[] => Array.from(arrayNamed(golden, name).data)
      const [xStart, noise, timesteps] = [values('x_start'), values('noise'), values('timesteps')]
      const expected = { loss: values('loss'), mse: values('mse'), vb: values('vb') }
      const meanOf = async (x: Tensor): Promise<number> => (await x.read()).reduce((a, v) => a + v, 0) / x.size

      for (let step = 0; step < steps; step++) {
        using x0 = device.tensor(xStart.slice(step * size, (step + 1) * size), shape)
        using eps = device.tensor(noise.slice(step * size, (step + 1) * size), shape)
        using share = device.tensor(new Array<number>(4).fill(1 / 4), [4])
        const t = timesteps.slice(step * 4, step * 4 + 4)
        const terms: Tensor[] = []
        const { value, gradients } = grad(
          () => {
            const { loss, mse, vb } = trainingLosses(diffusion, (x, ts) => model.forward(x, ts), x0, t, eps)
            terms.push(device.keep(mse!), device.keep(vb!))
            return loss
          },
          [...model.parameters.values()],
          share,
        )
        const found = { loss: await meanOf(value), mse: await meanOf(terms[0]), vb: await meanOf(terms[1]) }
        for (const name of ['loss', 'mse', 'vb'] as const) {
          expect(
            Math.abs(found[name] - expected[name][step]),
            `${name} of step ${step}: found ${found[name]}, expected ${expected[name][step]}`,
          ).toBeLessThanOrEqual(1e-4 * expected.loss[step])
        }
        if (step === 0) {
          for (const [i, key] of names.entries())
            expectGradient(await gradients[i].read(), arrayNamed(golden, `grad0.${key}`).data, `grad0.${key}`)
        }
        optimizer.step(gradients, Number(metadata.lr))
        for (const made of [value, ...terms, ...gradients]) made.dispose()
      }

      // Adam takes g / (|g| + eps) of a step. Where g is no larger than some eps, rounding decides how much that is,
      // and the reference's own rounding as much as ours: most of all for the biases of attention's keys, whose
      // gradient is 0, and which `zero_gradient`, a list of whole tensors, cannot name. These elements end within one
      // step of the reference's, all others within 1e-4 of the tensor's largest.
      const [lr, eps] = [Number(metadata.lr), Number(metadata.eps)]
      const skipped = new Set(JSON.parse(metadata.zero_gradient) as string[])
      let [all, unsteady] = [0, 0]
      for (const key of names.filter((name) => !skipped.has(name))) {
        const first = Array.from(arrayNamed(golden, `grad0.${key}`).data, Math.abs)
        const steady = first.map((g) => g > 10 * eps)
        all += steady.length
        unsteady += steady.filter((yes) => !yes).length
        for (const [kind, tensor] of [
          ['final', model.parameters.get(key)!],
          ['ema', optimizer.emas[0].get(key)!],
        ] as const) {
          const wanted = Array.from(arrayNamed(golden, `${kind}.${key}`).data)
          const found = Array.from(await tensor.read())
          // The others take the reference's value, so that the largest is the whole tensor's.
          expectOutput(
            found.map((v, i) => (steady[i] ? v : wanted[i])),
            wanted,
            `${kind}.${key}`,
          )
          const worst = Math.max(...found.map((v, i) => Math.abs(v - wanted[i])))
          expect(worst, `${kind}.${key}: the worst of all`).toBeLessThanOrEqual(lr)
        }
      }
      expect(unsteady / all).toBeLessThan(0.001)
    },
    slow,
  )
})
