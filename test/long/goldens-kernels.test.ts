/**
 * A network of the reference code by every kernel there is: outputs and all gradients with the first candidate of each
 * choice forced, then with the second, until none has so many. What nobody writes is NaN.
 */
import { describe, expect } from 'vitest'
import { grad } from '../../src/tensor/index.ts'
import { arrayNamed, expectGradient, expectOutput, loadGoldenModel, readGolden, tensorNamed } from '../golden.ts'
import { asHardware, deviceTest, eachKernel } from '../op.ts'
import type { UNet } from '../../src/nn/index.ts'
import { describeShared } from '../shared.ts'

const describeHere = asHardware.length > 0 ? describeShared : describe.skip

describeHere('adm16-new-order', () => {
  deviceTest(
    'by every kernel: output and all gradients',
    async (device) => {
      const golden = await readGolden('goldens/adm16-new-order.io.safetensors')
      using model = (await loadGoldenModel(device, 'goldens/adm16-new-order.weights.safetensors')) as UNet
      using x = tensorNamed(device, golden, 'x')
      using cotangent = tensorNamed(device, golden, 'cotangent')
      const timesteps = Array.from(arrayNamed(golden, 'timesteps').data)
      const names = [...model.parameters.keys()]
      const seen = new Set<string>()
      await eachKernel(device, async (forced) => {
        const { value, gradients } = grad(
          () => model.forward(x, timesteps),
          [x, ...model.parameters.values()],
          cotangent,
        )
        const by = [...new Set(forced.values())].join()
        expectOutput(await value.read(), arrayNamed(golden, 'out').data, `out by ${by}`)
        expectGradient(await gradients[0].read(), arrayNamed(golden, 'grad_x').data, `grad_x by ${by}`)
        for (const [i, key] of names.entries())
          expectGradient(await gradients[i + 1].read(), arrayNamed(golden, `grad.${key}`).data, `grad.${key} by ${by}`)
        for (const tensor of [value, ...gradients]) tensor.dispose()
        for (const name of forced.values()) seen.add(name.split(' ')[0])
      })
      expect([...seen]).toEqual(expect.arrayContaining(['register', 'tile', 'halo', 'gemm', 'rows', 'attention']))
    },
    { on: ['webgpu, with every kernel'], timeout: 1_200_000 },
  )
})
