/**
 * Mistakes that JavaScript, or a kernel, passes over in silence: each is refused with what was expected, what was found
 * and what to do. What is allowed beside them is here, too, with its right value.
 */
import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { checkImages, imageBatch, imageOf, subset, type ImageSet } from '../src/data/index.ts'
import {
  discretizedGaussianLogLikelihood,
  GaussianDiffusion,
  GeneratedNoise,
  normalKl,
  qSampleEach,
} from '../src/diffusion/index.ts'
import { openCheckpoint } from '../src/io/index.ts'
import { Classifier, describeModel, loadFeatureNet, loadLpips, loadModel, UNet } from '../src/nn/index.ts'
import * as t from '../src/tensor/index.ts'
import { applyOp, type Op } from '../src/tensor/op.ts'
import { ops } from '../src/tensor/ops/index.ts'
import { deviceTest, onCPU, testDevice } from './op.ts'
import { encoder, encoderConfig, modelA, unetConfig } from './spec-models.ts'

const { Device } = t
type Loose = (...values: unknown[]) => unknown
const loose = (f: unknown): Loose => f as Loose

/** Fails unless `f` is refused with this code and message. */
function refused(f: () => unknown, code: string, message: RegExp | string): void {
  let found: unknown
  try {
    found = f()
  } catch (error) {
    expect(error).toMatchObject({ name: 'TweedieError', code })
    if (typeof message === 'string') expect((error as Error).message).toBe(message)
    else expect((error as Error).message).toMatch(message)
    return
  }
  throw new Error(`nothing was refused: ${String(found)}`)
}

describe('values', () => {
  deviceTest(
    'nested arrays have their own shape',
    async (device) => {
      using x = device.tensor([
        [1, 2],
        [3, 4],
        [5, 6],
      ])
      expect(x.shape).toEqual([3, 2])
      expect([...(await x.read())]).toEqual([1, 2, 3, 4, 5, 6])
      using images = device.tensor([Float32Array.of(1, 2), Float32Array.of(3, 4)], [2, 1, 1, 2])
      expect([...(await images.read())]).toEqual([1, 2, 3, 4])
      using labels = device.tensor([[7], [2]], undefined, 'i32')
      expect([labels.shape, ...(await labels.read())]).toEqual([[2, 1], 7, 2])
      x.write([
        [6, 5],
        [4, 3],
        [2, 1],
      ])
      expect([...(await x.read())]).toEqual([6, 5, 4, 3, 2, 1])
    },
    onCPU,
  )

  deviceTest(
    'numbers of any array, and NaN where it is given',
    async (device) => {
      using x = device.tensor(Float64Array.of(0.1, NaN, Infinity))
      expect(await x.read()).toEqual(Float32Array.of(0.1, NaN, Infinity))
      using y = device.tensor(Uint32Array.of(1, 2 ** 31 - 1), [2], 'i32')
      expect(await y.read()).toEqual(Int32Array.of(1, 2 ** 31 - 1))
      using z = device.tensor({ length: 2, 0: 3, 1: 4 })
      expect([...(await z.read())]).toEqual([3, 4])
    },
    onCPU,
  )

  test('the shape is a copy: changing the array afterwards changes nothing', async () => {
    const device = await testDevice('cpu')
    const shape = [2, 3]
    using x = device.tensor(new Float32Array(6), shape)
    using y = t.full(device, shape, 1)
    shape[0] = 7
    expect([x.shape, y.shape]).toEqual([
      [2, 3],
      [2, 3],
    ])
  })

  test.each<[string, unknown[], string, RegExp | string]>([
    [
      'rows of two lengths',
      [[[1, 2], [3]]],
      'shape',
      'tensor: expected nested arrays of one shape, found [2] and [1].',
    ],
    ['a number among rows', [[[1, 2], 3]], 'option', 'tensor: expected an array of numbers, found 3.'],
    ['a row among numbers', [[1, [2, 3]]], 'option', 'tensor: expected numbers, found an array.'],
    // biome-ignore lint/suspicious/noSparseArray: it is what is tested
    ['a hole', [[1, , 3]], 'option', 'tensor: expected numbers, found undefined.'],
    ['null', [[1, null]], 'option', 'tensor: expected numbers, found null.'],
    ['text among numbers', [[1, '2']], 'option', 'tensor: expected numbers, found "2".'],
    ['text', ['12'], 'option', 'tensor: expected an array of numbers, found "12".'],
    ['booleans', [[true]], 'option', 'tensor: expected numbers, found true.'],
    ['BigInts', [[1n]], 'option', 'tensor: expected numbers, found 1n.'],
    ['an array of BigInts', [BigInt64Array.of(5n)], 'option', 'tensor: expected numbers, found 5n.'],
    ['a number', [5], 'option', 'tensor: expected an array of numbers, found 5.'],
    [
      'bytes without a type',
      [new ArrayBuffer(8), [2]],
      'option',
      'tensor: expected an array of numbers, found an ArrayBuffer.',
    ],
    ['nothing', [undefined], 'option', 'tensor: expected an array of numbers, found undefined.'],
    [
      'values that are still being read',
      [Promise.resolve([1])],
      'option',
      'tensor: expected an array of numbers, found a Promise: did you forget await?',
    ],
    [
      'a shape that is a number',
      [[1, 2], 2],
      'option',
      'tensor: expected the dimensions of a shape, in an array, found 2.',
    ],
    [
      'a type in the place of the shape',
      [[1, 2], 'i32'],
      'option',
      'tensor: expected the dimensions of a shape, in an array, found "i32".',
    ],
    ['a dimension of 0', [[], [0]], 'shape', /positive whole dimensions, found \[0\]/],
    [
      'a fraction',
      [
        [1, 2, 3],
        [1.5, 2],
      ],
      'shape',
      /positive whole dimensions, found \[1\.5, 2\]/,
    ],
    [
      'another number of values',
      [
        [1, 2, 3],
        [2, 2],
      ],
      'shape',
      'tensor: [2, 2] holds 4 values, found 3.',
    ],
    ['f16', [[1], [1], 'f16'], 'option', 'tensor: expected a data type, f32, i32, u32, found "f16".'],
    ['float32', [[1], [1], 'float32'], 'option', 'tensor: expected a data type, f32, i32, u32, found "float32".'],
    [
      'a fraction as an integer',
      [[1, 1.5], [2], 'i32'],
      'option',
      'tensor: expected whole numbers from -2^31 to 2^31 - 1 for i32, found 1.5 at 1.',
    ],
    ['NaN as an integer', [[NaN], [1], 'i32'], 'option', /found NaN at 0/],
    [
      'a negative number as u32',
      [Int32Array.of(-1), [1], 'u32'],
      'option',
      'tensor: expected whole numbers from 0 to 2^32 - 1 for u32, found -1 at 0.',
    ],
  ])('%s', async (_, given, code, message) => {
    const device = await testDevice('cpu')
    refused(() => (device.tensor as Loose)(...given), code, message)
  })

  deviceTest(
    'what is written over a tensor is looked at alike',
    async (device) => {
      using x = device.tensor([1, 2])
      using i = device.tensor([1, 2], [2], 'i32')
      refused(() => x.write(['1', '2'] as never), 'option', 'write: expected numbers, found "1".')
      refused(() => x.write([1, undefined] as never), 'option', 'write: expected numbers, found undefined.')
      refused(() => x.write(x.read() as never), 'option', /write: .* did you forget await\?/)
      refused(() => x.write([[1], [2], [3]]), 'shape', 'write: expected 2 values for [2], found 3.')
      refused(() => i.write([1, 0.5]), 'option', /write: expected whole numbers/)
      refused(
        () => x.assign([1, 2] as never),
        'option',
        'assign: expected a tensor, found an array. write takes values.',
      )
      expect([...(await x.read()), ...(await i.read())]).toEqual([1, 2, 1, 2])
    },
    onCPU,
  )
})

describe('types of inputs', () => {
  test('every op says which it takes; only those that convert or copy take any', () => {
    const any = Object.values<Op<never>>(ops)
      .filter(({ dtypes }) => dtypes === 'any')
      .map(({ name }) => name)
    expect(any).toEqual(['copy', 'map'])
  })

  deviceTest(
    'every other op refuses integers for floats, and floats for integers',
    async (device) => {
      using integers = device.tensor([1, 2], [2], 'i32')
      using floats = device.tensor([1, 2])
      for (const op of Object.values<Op<never>>(ops)) {
        if (op.dtypes === 'any') continue
        const types = op.dtypes ?? []
        const right = types.map((type) => (type === 'i32' ? integers : floats) as t.AnyTensor)
        const count = Math.max(1, types.length)
        for (let k = 0; k < count; k++) {
          const type = types[k] ?? 'f32'
          const inputs = Array.from({ length: count }, (_, i) =>
            i === k ? (type === 'f32' ? integers : floats) : types[i] === 'u32' ? floats : (right[i] ?? floats),
          )
          refused(
            () => applyOp(op, {} as never, inputs),
            'shape',
            `${op.name}: expected a tensor of type ${type}, found [2] of type ${type === 'f32' ? 'i32' : 'f32'}. ` +
              `Convert it: cast(x, '${type}').`,
          )
        }
      }
    },
    onCPU,
  )

  deviceTest(
    'conv2d, groupNorm, attention, pooling and sums by their functions',
    async (device) => {
      using image = device.tensor([1, 2, 3, 4], [1, 1, 2, 2], 'i32') as unknown as t.Tensor
      using weight = device.tensor([1], [1, 1, 1, 1])
      using one = device.tensor([1])
      const type = /expected a tensor of type f32, found \[.*\] of type i32\. Convert it: cast\(x, 'f32'\)\.$/
      refused(() => t.conv2d(image, weight), 'shape', type)
      refused(() => t.conv2d(weight, image), 'shape', type)
      refused(() => t.groupNorm(image, { groups: 1, weight: one, bias: one }), 'shape', type)
      refused(() => t.avgPool2d(image, { kernel: 2 }), 'shape', /^avgPool2d: expected/)
      refused(() => t.maxPool2d(image, { kernel: 2 }), 'shape', /^maxPool2d: expected/)
      refused(() => t.upsampleNearest(image, 2), 'shape', /^upsampleNearest: expected/)
      refused(() => t.resizeBilinear(image, [4, 4]), 'shape', type)
      refused(() => t.mean(image), 'shape', /^mean: expected/)
      refused(() => t.softmax(image), 'shape', type)
      refused(() => t.matmul(image, weight), 'shape', type)
      refused(() => t.grad(() => t.sum(weight), [image]), 'shape', /^grad: expected a tensor of type f32/)
      refused(() => t.grad(() => image, [weight]), 'shape', /^grad: expected a tensor of type f32/)
      using floats = t.cast(image, 'f32')
      using y = t.conv2d(floats, weight)
      expect([...(await y.read())]).toEqual([1, 2, 3, 4])
    },
    onCPU,
  )

  // WGSL and wasm alike convert what map reads.
  deviceTest('elementwise arithmetic converts integers', async (device) => {
    using a = device.tensor([1, -2], [2], 'i32') as unknown as t.Tensor
    using b = device.tensor([3, 2 ** 31], [2], 'u32') as unknown as t.Tensor
    using y = t.add(a, b)
    expect([y.dtype, ...(await y.read())]).toEqual(['f32', 4, Math.fround(2 ** 31 - 2)])
  })
})

describe('errors name the function that was called', () => {
  const shapes = (device: t.Device): { a: t.Tensor; b: t.Tensor } => ({
    a: device.tensor(new Float32Array(6), [2, 3]),
    b: device.tensor(new Float32Array(20), [4, 5]),
  })
  const binary = {
    add: t.add,
    sub: t.sub,
    mul: t.mul,
    div: t.div,
    pow: t.pow,
    maximum: t.maximum,
    minimum: t.minimum,
    greater: t.greater,
    greaterEqual: t.greaterEqual,
    equal: t.equal,
  }
  const unary = {
    neg: t.neg,
    exp: t.exp,
    log: t.log,
    sqrt: t.sqrt,
    square: t.square,
    abs: t.abs,
    sign: t.sign,
    tanh: t.tanh,
    sigmoid: t.sigmoid,
    silu: t.silu,
    relu: t.relu,
    sum: t.sum,
    mean: t.mean,
    max: t.max,
    softmax: t.softmax,
    logSoftmax: t.logSoftmax,
  }

  deviceTest(
    'shapes that do not fit',
    async (device) => {
      const { a, b } = device.scope(() => shapes(device))
      for (const [name, f] of Object.entries(binary)) {
        refused(() => f(a, b), 'shape', `${name}: expected shapes that broadcast, found [2, 3] and [4, 5].`)
        refused(() => f(1, 2), 'option', `${name}: expected at least one tensor, found two numbers.`)
      }
      refused(() => t.select(a, a, b), 'shape', /^select: /)
      refused(() => t.broadcastTo(a, [2, 4]), 'shape', /^broadcastTo: /)
      refused(() => t.linear(a, b), 'shape', /^linear: expected equal inner dimensions/)
      refused(() => t.mean(a, { axes: [2] }), 'shape', 'mean: axis 2 does not exist in a tensor of 2 dimensions.')
      refused(
        () =>
          t.map(
            t.expression(2, 0, ([x, y]) => t.f.add(x, y)),
            [a, b],
            [],
            { name: 'blend' },
          ),
        'shape',
        /^blend: /,
      )
      for (const tensor of [a, b]) tensor.dispose()
    },
    onCPU,
  )

  deviceTest(
    'a tensor that was freed, and memory that does not suffice',
    async (device) => {
      const { a, b } = device.scope(() => shapes(device))
      for (const tensor of [a, b]) tensor.dispose()
      for (const [name, f] of Object.entries({ ...binary, ...unary }))
        refused(
          () => loose(f)(a),
          'disposed',
          `${name}: a tensor of shape [2, 3] was used after it was disposed. A device.scope frees what is made ` +
            'in it, but for its result; device.keep(x) keeps more.',
        )
      refused(
        () => t.zeros(device, [2 ** 20, 2 ** 20]),
        'limit-exceeded',
        /^zeros\(\) for a tensor \[1048576, 1048576\] needs 4194304\.0 MiB more, .* tensors? of [\d.]+ MiB in all (is|are) alive\. What is made in device\.scope/,
      )
    },
    onCPU,
  )
})

describe('what is no tensor, no device or no such option', () => {
  deviceTest(
    'in the place of a tensor',
    async (device) => {
      using x = device.tensor([
        [1, 2],
        [3, 4],
      ])
      const remedy = 'device.tensor(values, shape) makes one.'
      refused(() => t.add(x, [1, 2] as never), 'option', `add: expected a tensor, found an array. ${remedy}`)
      refused(() => t.mul(x, '2' as never), 'option', `mul: expected a tensor, found "2". ${remedy}`)
      refused(() => t.mul(x, undefined as never), 'option', `mul: expected a tensor, found undefined. ${remedy}`)
      refused(() => t.clamp(x, undefined as never, 1), 'option', 'clamp: expected a number, found undefined.')
      refused(() => t.full(device, [2], '3' as never), 'option', 'full: expected a number, found "3".')
      for (const [name, f] of Object.entries({
        sum: t.sum,
        reshape: t.reshape,
        permute: t.permute,
        slice: t.slice,
        pad: t.pad,
        split: t.split,
        avgPool2d: t.avgPool2d,
        resizeBilinear: t.resizeBilinear,
        upsampleNearest: t.upsampleNearest,
        gather: t.gather,
        embedding: t.embedding,
        stopGradient: t.stopGradient,
        dropout: t.dropout,
        sumTo: t.sumTo,
      }))
        refused(
          () => loose(f)(Float32Array.of(1), 1, 1),
          'option',
          `${name}: expected a tensor, found a Float32Array. ${remedy}`,
        )
      refused(() => loose(t.concat)(x, x), 'option', 'concat: expected tensors, in an array, found a Tensor.')
      refused(
        () => loose(t.grad)(() => t.sum(x), x),
        'option',
        'grad: expected tensors to differentiate by, in an array, found a Tensor.',
      )
      refused(() => loose(t.grad)(() => 5, [x]), 'option', `grad: expected a tensor, found 5. ${remedy}`)
    },
    onCPU,
  )

  deviceTest(
    'one number for a list, and misspelt options',
    async (device) => {
      using x = device.tensor([
        [1, 2],
        [3, 4],
      ])
      using image = device.tensor(new Float32Array(4), [1, 1, 2, 2])
      refused(() => loose(t.sum)(x, 1), 'option', 'sum: expected an object of options such as { axes: … }, found 1.')
      refused(
        () => loose(t.sum)(x, [1]),
        'option',
        'sum: expected an object of options such as { axes: … }, found an array.',
      )
      refused(
        () => loose(t.sum)(x, { axis: 1 }),
        'option',
        'sum: unknown option "axis" (did you mean "axes"?); there are axes, keepDims.',
      )
      refused(
        () => loose(t.max)(x, x),
        'option',
        'max: expected an object of options such as { axes: … }, found a Tensor.',
      )
      refused(() => loose(t.sum)(x, { axes: 1 }), 'option', 'sum: expected axes, in an array, found 1.')
      refused(() => loose(t.sumTo)(x, 2), 'option', 'sumTo: expected the dimensions of a shape, in an array, found 2.')
      refused(
        () => t.sumTo(x, [4]),
        'shape',
        'sumTo: expected a tensor of a shape to which [4] broadcasts, found [2, 2].',
      )
      refused(
        () => loose(t.reshape)(x, 4),
        'option',
        'reshape: expected the dimensions of a shape, in an array, found 4.',
      )
      refused(() => loose(t.split)(x, 0, 2), 'option', 'split: expected sizes, in an array, found 2.')
      refused(() => t.split(x, 0, [3, -1]), 'shape', /^split: expected positive sizes that add up to 2/)
      refused(() => loose(t.permute)(x, 1, 0), 'option', /^permute: expected the order of the axes, in an array/)
      refused(() => loose(t.zeros)([2, 2]), 'option', 'zeros: expected a device, found an array. zeros(device, shape)')
      refused(() => loose(t.cast)(x), 'option', 'cast: expected a data type, f32, i32, u32, found undefined.')
      refused(() => x.alias([3]), 'shape', 'alias: expected a shape of 4 elements, found [3].')
      refused(() => loose(t.splitSeed)('7'), 'option', /found "7"\.$/)
      refused(() => loose(t.cast)(x, 'f16'), 'option', 'cast: expected a data type, f32, i32, u32, found "f16".')
      refused(
        () => loose(t.conv2d)(image, image, { strides: 2 }),
        'option',
        'conv2d: unknown option "strides" (did you mean "stride"?); there are bias, residual, stride, padding.',
      )
      refused(
        () => loose(t.matmul)(x, x, { transpose: true }),
        'option',
        'matmul: unknown option "transpose" (did you mean "transposeA"?); there are transposeA, transposeB.',
      )
      refused(
        () => loose(t.maxPool2d)(image, 2),
        'option',
        'maxPool2d: expected an object of options such as { kernel: … }, found 2.',
      )
      refused(
        () => t.resizeBilinear(image, [2, 2, 2] as never),
        'shape',
        "resizeBilinear: expected a size [H', W'], found [2, 2, 2].",
      )
      refused(() => loose(t.noGrad)(() => x), 'option', 'noGrad: expected a device and a function, found a function.')
      await expect(loose(Device.request)('cpu')).rejects.toMatchObject({
        code: 'option',
        message: expect.stringMatching(
          /^Device\.request: expected an object of options such as \{ backend: … \}, found "cpu"\.$/,
        ),
      })
      await expect(loose(Device.request)({ Backend: 'cpu' })).rejects.toMatchObject({
        code: 'option',
        message: expect.stringMatching(/^Device\.request: unknown option "Backend" \(did you mean "backend"\?\)/),
      })
    },
    onCPU,
  )

  test('the operators of JavaScript', async () => {
    const device = await testDevice('cpu')
    using x = device.tensor([1, 2])
    refused(
      () => (x as never as number) * 2,
      'option',
      /operators of JavaScript do not compute with tensors\. Use functions: add\(x, y\)/,
    )
    refused(() => (x as never as number) + 1, 'option', /do not compute with tensors/)
    refused(() => (x as never as number) > 1, 'option', /do not compute with tensors/)
  })
})

describe('a forgotten await', () => {
  test('on the device: its members, and disposal', async () => {
    const promise = Device.request({ backend: 'cpu', threads: 1 })
    const device = promise as unknown as t.Device
    refused(
      () => device.tensor([1]),
      'option',
      'Device.tensor: this is still the Promise of a Device: did you forget await?',
    )
    refused(() => device.adapter?.name ?? device.scope(() => 1), 'option', /^Device\.scope: .* did you forget await\?$/)
    refused(() => device[Symbol.dispose](), 'option', /did you forget await\?$/)
    expect(inspect(promise)).toBe('Promise { <pending> }')
    const found = await promise
    expect(found).toBeInstanceOf(Device)
    expect(await promise.then((d) => d === found)).toBe(true)
    found.dispose()
  })

  test('a model that is being loaded', async () => {
    const loading = loadModel(
      await testDevice('cpu'),
      { name: 'x', tensors: new Map() },
      { config: { kind: 'unet', ...unetConfig } },
    )
    refused(
      () => (loading as unknown as UNet).forward(null as never, []),
      'option',
      'model.forward: this is still the Promise of a model: did you forget await?',
    )
    await expect(loading).rejects.toMatchObject({ code: 'weights' })
  })

  test('a path in the place of what is read from it', async () => {
    await expect(loose(openCheckpoint)('model.safetensors')).rejects.toMatchObject({
      code: 'option',
      message:
        'openCheckpoint: expected a source of bytes, found "model.safetensors". openFile(path), urlSource(url), ' +
        'blobSource(blob) and bytesSource(bytes) make one.',
    })
    refused(
      () => loose(describeModel)('model.safetensors'),
      'option',
      'describeModel: expected a checkpoint, found "model.safetensors". openCheckpoint opens one.',
    )
    await expect(loose(loadModel)(await testDevice('cpu'), { name: 'x', tensors: new Map() })).rejects.toMatchObject({
      code: 'option',
      message: /describeModel\(checkpoint\) makes one\.$/,
    })
  })

  test('a promise in the place of a tensor, a device, a checkpoint, a set of images', async () => {
    const device = await testDevice('cpu')
    using x = device.tensor([1])
    const promise = Promise.resolve() as never
    const source = { name: 'x', tensors: new Map() }
    for (const f of [
      () => t.add(x, promise),
      () => t.sum(promise),
      () => t.full(promise, [1], 0),
      () => t.noGrad(promise, () => x),
      () => describeModel(promise),
      () => new GeneratedNoise(promise, { seed: 1, samples: [0], shape: [1] }),
      () => new UNet(unetConfig, promise),
      () => new Classifier(encoderConfig, promise),
      () => imageOf(promise, [1, 1, 1, 1], 0),
      () => checkImages(promise, { size: 8 }),
      () => subset(promise, [0]),
    ])
      refused(f, 'option', /(found a Promise: did you forget await\?)$/)
    for (const f of [
      () => loadModel(promise, source, { config: { kind: 'unet', ...unetConfig } }),
      () => loadModel(device, promise, { config: { kind: 'unet', ...unetConfig } }),
      () => loadLpips(device, promise),
      () => loadFeatureNet(promise, source),
      () => openCheckpoint(promise),
      () => imageBatch(promise as ImageSet, [0], { size: 8, channels: 3 }),
    ])
      await expect(f()).rejects.toMatchObject({
        code: 'option',
        message: expect.stringMatching(/found a Promise: did you forget await\?$/),
      })
  })
})

test('steps, timesteps, labels and inputs that a process or a network does not have', async () => {
  const device = await testDevice('cpu')
  const diffusion = new GaussianDiffusion({ schedule: 'linear', diffusionSteps: 1000, respacing: 10 })
  using x = device.tensor(new Float32Array(3 * 64), [1, 3, 8, 8])
  using other = device.tensor(new Float32Array(3 * 16), [1, 3, 4, 4])
  refused(
    () => diffusion.qSample(x, 500, x),
    'option',
    'qSample: expected a step of the process, 0 to 9, found 500. It is the same for the whole batch.',
  )
  refused(() => diffusion.ddimSample(x, x, -1, 0, x), 'option', /^ddimSample: .* found -1\./)
  refused(
    () => diffusion.predictXStartFromEps(x, [3] as never, x),
    'option',
    /^predictXStartFromEps: .* found an array\./,
  )
  refused(
    () => diffusion.qSample(x, 5, other),
    'shape',
    'qSample: expected shapes that broadcast, found [1, 3, 8, 8] and [1, 3, 4, 4].',
  )
  refused(
    () => qSampleEach(diffusion, x, [5], other),
    'shape',
    /^qSampleEach: expected shapes that broadcast, found \[1, 3, 8, 8\] and \[1, 3, /,
  )
  refused(
    () => normalKl(x, x, other, other),
    'shape',
    /^normalKl: expected shapes that broadcast, found \[1, 3, 8, 8\] and \[1, 3, /,
  )
  refused(
    () => discretizedGaussianLogLikelihood(x, { means: other, logScales: x }),
    'shape',
    /^discretizedGaussianLogLikelihood: expected shapes that broadcast, found \[1, 3, 8, 8\] and \[1, 3, /,
  )
  using unet = await modelA(device)
  refused(() => unet.forward(x, [NaN]), 'option', 'forward: expected timesteps that are finite numbers, found NaN.')
  refused(() => unet.forward(x, [undefined as never]), 'option', /found undefined/)
  refused(
    () => unet.forward(x, [1], { labels: [3] } as never),
    'option',
    'UNet.forward: unknown option "labels"; there are y, lowRes, recompute, dropout.',
  )
  using classifier = await encoder(device)
  refused(() => classifier.forward(x, [1], { Y: [3] } as never), 'option', /unknown option "Y"/)
})

test('sizes that a network cannot halve are said with the multiple it takes', async () => {
  const device = await testDevice('cpu')
  using unet = await modelA(device)
  using classifier = await encoder(device)
  for (const [name, model] of [
    ['U-Net', unet],
    ['classifier', classifier],
  ] as const) {
    const down = 2 ** (model.config.channelMult.length - 1)
    using x = device.tensor(new Float32Array(3 * 5 * down * (4 * down + 1)), [1, 3, 5 * down, 4 * down + 1])
    refused(
      () => model.forward(x, [1]),
      'shape',
      `The ${name} takes [N, 3, H, W] with H and W multiples of ${down}, found [1, 3, ${5 * down}, ${4 * down + 1}].`,
    )
    refused(() => model.forward(x, 1 as never), 'shape', /multiples of/)
    using fits = device.tensor(new Float32Array(3 * 4 * down * 4 * down), [1, 3, 4 * down, 4 * down])
    refused(
      () => model.forward(fits, 1 as never),
      'option',
      'forward: expected one timestep for each of the 1 samples, in an array, found 1.',
    )
  }
})

deviceTest('a tensor and a device say what they are', async (device) => {
  const { kind } = device.backend
  const x = device.tensor(new Float32Array(6), [2, 3])
  expect(`${x}`).toBe(`Tensor(f32 [2, 3] on ${kind})`)
  expect(inspect({ x })).toBe(`{ x: Tensor(f32 [2, 3] on ${kind}) }`)
  expect(inspect(device)).toBe(`Device(${kind}, ${device.adapter.name})`)
  x.dispose()
  expect(String(x)).toBe('Tensor(f32 [2, 3], disposed)')
})
