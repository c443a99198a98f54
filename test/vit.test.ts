/**
 * The vision transformer: what its file may be like, and its gradients. test/feature-networks.test.ts has its values.
 */
import { expect, test } from 'vitest'
import { loadViT, viTB16, viTConfigOf, viTS16, viTStateDict, ViT } from '../src/nn/index.ts'
import { grad, mul, sum, type Tensor } from '../src/tensor/index.ts'
import { viTRules } from './golden-features.ts'
import { keyedWeights } from './keyed-formula.ts'
import { deviceTest, numbers, onCPU } from './op.ts'

test('a configuration is told from the tensors', () => {
  for (const config of [viTS16, viTB16]) {
    expect(viTConfigOf(keyedWeights(viTStateDict(config), 3))).toEqual({ inChannels: 3, ...config })
  }
  expect(() => viTConfigOf({ name: 'other.pt', tensors: new Map() })).toThrow(
    /other\.pt: expected a vision transformer with a tensor patch_embed\.proj\.weight, found none/,
  )
})

/** 8 pixels a patch, 4 patches a side. */
const small = { dim: 12, depth: 2, heads: 3, patch: 8, grid: 4 }

deviceTest(
  'a training checkpoint has other names and a head, and is the same network',
  async (device) => {
    const plain = keyedWeights(viTStateDict(small), 3, viTRules)
    const entries = [...plain.tensors].map(([key, entry]) => [`module.backbone.${key}`, entry] as const)
    const head = { shape: [4, 12], byteLength: 192, read: async () => new Float32Array(48) }
    const trained = {
      name: 'checkpoint.pth',
      tensors: new Map([...entries, ['module.head.mlp.0.weight', head] as const]),
    }
    using x = device.tensor(numbers(2 * 3 * 24 * 16, 1), [2, 3, 24, 16])
    const found: ArrayLike<number>[] = []
    for (const source of [plain, trained]) {
      using net = await loadViT(device, source, small)
      using features = net.features(x)
      found.push(await features.read())
    }
    expect(found[1]).toEqual(found[0])
  },
  onCPU,
)

deviceTest(
  'gradients by a parameter and by the picture are those of differences',
  async (device) => {
    const values = keyedWeights(viTStateDict(small), 3, viTRules)
    using net = await loadViT(device, values, small)
    const pixels = Float32Array.from(numbers(3 * 24 * 16, 2))
    using x = device.tensor(pixels, [1, 3, 24, 16])
    const weights = device.tensor(numbers(12, 3), [1, 12])
    const loss = (): Tensor => device.scope(() => sum(mul(net.features(x), weights)))
    const position = net.parameters.get('pos_embed')!
    const { value, gradients } = grad(loss, [x, position])
    const measured = async (tensor: Tensor, at: number): Promise<number> => {
      const before = await tensor.read()
      const side = async (step: number): Promise<number> => {
        tensor.write(before.map((v, i) => v + (i === at ? step : 0)))
        using out = loss()
        return (await out.read())[0]
      }
      const slope = ((await side(1e-2)) - (await side(-1e-2))) / 2e-2
      tensor.write(before)
      return slope
    }
    for (const [tensor, gradient] of [
      [x, gradients[0]],
      [position, gradients[1]],
    ] as const) {
      const found = await gradient.read()
      const largest = found.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
      for (const at of [0, 7, 30, 100])
        expect(Math.abs(found[at] - (await measured(tensor, at)))).toBeLessThan(2e-2 * largest)
    }
    for (const tensor of [value, weights, ...gradients]) tensor.dispose()
  },
  onCPU,
)

test('pictures and heads that do not fit are one sentence', async () => {
  expect(() => new ViT({ ...small, heads: 5 }, new Map())).toThrow(
    /number of heads that divides the 12 channels, found 5/,
  )
})
