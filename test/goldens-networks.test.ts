/** Every network golden: outputs, input gradients and all parameter gradients against the reference code's. */
import { readFileSync } from 'node:fs'
import { expect } from 'vitest'
import { openCheckpoint, openFile } from '../src/io/index.node.ts'
import { type Classifier, describeModel, loadModel, UNet } from '../src/nn/index.ts'
import { grad, type Tensor } from '../src/tensor/index.ts'
import { arrayNamed, expectGradient, expectOutput, loadGoldenModel, readGolden, tensorNamed } from './golden.ts'
import { deviceTest } from './op.ts'
import { savedBytesOf } from './saved.ts'
import { describeShared, shared } from './shared.ts'

const cases = [
  {
    name: 'adm16-new-order',
    weights: 'goldens/adm16-new-order.weights.safetensors',
    io: 'goldens/adm16-new-order.io.safetensors',
  },
  {
    name: 'adm32-legacy-3level',
    weights: 'goldens/adm32-legacy-3level.weights.safetensors',
    io: 'goldens/adm32-legacy-3level.io.safetensors',
  },
  {
    name: 'iddpm16-classcond',
    weights: 'goldens/iddpm16-classcond.weights.safetensors',
    io: 'goldens/iddpm16-classcond.io.safetensors',
  },
  {
    name: 'classifier16',
    weights: 'goldens/classifier16.weights.safetensors',
    io: 'goldens/classifier16.io.safetensors',
  },
]

describeShared('networks against the reference code', () => {
  for (const { name, weights, io } of cases) {
    deviceTest(`${name}: output and all gradients`, async (device) => {
      const golden = await readGolden(io)
      const model = await loadGoldenModel(device, weights)
      const x = tensorNamed(device, golden, 'x')
      const timesteps = Array.from(arrayNamed(golden, 'timesteps').data)
      const y = golden.arrays.get('y')?.data
      const run = (): Tensor => {
        const inputs = y ? { y } : {}
        return model instanceof UNet ? model.forward(x, timesteps, inputs) : model.forward(x, timesteps, inputs)
      }
      const plain = run()
      expectOutput(await plain.read(), arrayNamed(golden, 'out').data, `${name}: out`)
      plain.dispose()

      const cotangent = tensorNamed(device, golden, 'cotangent')
      const names = [...model.parameters.keys()]
      const { value, gradients } = grad(run, [x, ...model.parameters.values()], cotangent)
      expectGradient(await gradients[0].read(), arrayNamed(golden, 'grad_x').data, `${name}: grad_x`)
      for (const [i, key] of names.entries()) {
        expectGradient(await gradients[i + 1].read(), arrayNamed(golden, `grad.${key}`).data, `${name}: grad.${key}`)
      }
      for (const tensor of [x, cotangent, value, ...gradients]) tensor.dispose()
      model.dispose()
    })
  }

  deviceTest('the shipped checkpoint, bccd32-adm.pt: output, input gradient, checkpointed gradient', async (device) => {
    const golden = await readGolden('weights/bccd32-adm.io.safetensors')
    const file = await openCheckpoint(await openFile(shared('weights/bccd32-adm.pt')))
    using model = (await loadModel(
      device,
      file,
      describeModel(file, { json: readFileSync(shared('weights/bccd32-adm.json'), 'utf8') }),
    )) as UNet
    await file.close()
    using x = tensorNamed(device, golden, 'x')
    using cotangent = tensorNamed(device, golden, 'cotangent')
    const timesteps = Array.from(arrayNamed(golden, 'timesteps').data)
    const expected = savedBytesOf(device, model, timesteps.length)
    for (const recompute of [false, true]) {
      const { value, gradients, savedBytes } = grad(() => model.forward(x, timesteps, { recompute }), [x], cotangent)
      expectOutput(await value.read(), arrayNamed(golden, 'out').data, 'out')
      expectGradient(await gradients[0].read(), arrayNamed(golden, 'grad_x').data, 'grad_x')
      if (recompute) expect(savedBytes).toBeLessThan(expected)
      else expect(savedBytes, 'no convolution input is kept').toBe(expected)
      value.dispose()
      gradients[0].dispose()
    }
  })

  deviceTest('superres32-from8: output', async (device) => {
    const golden = await readGolden('goldens/superres32-from8.io.safetensors')
    using model = (await loadGoldenModel(device, 'goldens/superres32-from8.weights.safetensors')) as UNet
    using x = tensorNamed(device, golden, 'x')
    using lowRes = tensorNamed(device, golden, 'low_res')
    using out = model.forward(x, Array.from(arrayNamed(golden, 'timesteps').data), { lowRes })
    expectOutput(await out.read(), arrayNamed(golden, 'out').data, 'out')
  })

  deviceTest('the classifier says what it is', async (device) => {
    using model = (await loadGoldenModel(device, 'goldens/classifier16.weights.safetensors')) as Classifier
    expect(model.kind).toBe('classifier')
    expect(model.config.pool).toBe('attention')
  })
})
