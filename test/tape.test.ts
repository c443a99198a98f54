import { describe, expect, test } from 'vitest'
import * as t from '../src/tensor/index.ts'
import { applyOne, type Op } from '../src/tensor/op.ts'
import { mapOp, type MapParams } from '../src/tensor/ops/map.ts'
import { checkOp, deviceTest, expectClose, granularity, host, numbers } from './op.ts'

const { add, mul, silu, square, sum, tanh } = t

/** Reads and disposes. */
async function take(...tensors: t.Tensor[]): Promise<number[][]> {
  const values = await Promise.all(tensors.map((x) => x.read()))
  for (const x of tensors) x.dispose()
  return values.map((v) => [...v])
}

/** Memory of `n` floats. */
const bytes = (device: t.Device, n: number): number => Math.ceil((n * 4) / granularity(device)) * granularity(device)

const takeGrad = ({ value, gradients }: t.GradResult<t.Tensor>): Promise<number[][]> => take(value, ...gradients)

describe('composites against differences', () => {
  const silu64 = (v: number): number => v / (1 + Math.exp(-v))
  test('a chain with a branch', () =>
    checkOp('silu(x)^2 x + tanh(x y)', {
      inputs: [[3, 5], [5]],
      large: false,
      tolerance: 1e-5,
      op: (x, y) => add(mul(square(silu(x)), x), tanh(mul(x, y))),
      reference: (x, y) => ({
        shape: x.shape,
        data: x.data.map((v, i) => silu64(v) ** 2 * v + Math.tanh(v * y.data[i % 5])),
      }),
    }))
  test('softmax by hand: the maximum, a broadcast, a quotient', () =>
    checkOp('softmax', {
      inputs: [[4, 7]],
      large: false,
      op: (x) => {
        const e = t.exp(t.sub(x, t.max(x, { axes: [1], keepDims: true })))
        return t.div(e, sum(e, { axes: [1], keepDims: true }))
      },
      reference: (x) => {
        const out = host(x.shape)
        for (let row = 0; row < 4; row++) {
          const e = x.data.slice(row * 7, row * 7 + 7).map(Math.exp)
          const total = e.reduce((a, b) => a + b)
          e.forEach((v, i) => (out.data[row * 7 + i] = v / total))
        }
        return out
      },
    }))
  test('a tensor used five times', () =>
    checkOp('x x x + x - x', {
      inputs: [[6]],
      op: (x) => t.sub(add(mul(mul(x, x), x), x), x),
      reference: (x) => ({ shape: x.shape, data: x.data.map((v) => v ** 3) }),
      tolerance: 1e-5,
    }))
})

describe('grad', () => {
  deviceTest('value, gradients in the order of wrt, zeros where nothing depends', async (device) => {
    using x = device.tensor([1, 2, 3])
    using y = device.tensor([4, 5, 6])
    using z = device.tensor([7, 8], [2, 1])
    const found = t.grad(() => sum(mul(x, y)), [y, z, x])
    expect(found.gradients.map((g) => g.shape)).toEqual([[3], [2, 1], [3]])
    expect(await takeGrad(found)).toEqual([[32], [1, 2, 3], [0, 0], [4, 5, 6]])
  })
  deviceTest('a value that is watched itself, and one that depends on nothing', async (device) => {
    using x = device.tensor([1, 2])
    using y = device.tensor([3, 4])
    expect(await take(...t.grad(() => x, [x, y]).gradients)).toEqual([
      [1, 1],
      [0, 0],
    ])
    expect(await take(...t.grad(() => y, [x]).gradients)).toEqual([[0, 0]])
    expect([x.disposed, y.disposed]).toEqual([false, false])
  })
  deviceTest('a cotangent weighs the elements; one of another shape is an error', async (device) => {
    using x = device.tensor([1, 2, 3])
    using weights = device.tensor([10, 0, -1])
    expect(await takeGrad(t.grad(() => square(x), [x], weights))).toEqual([
      [1, 4, 9],
      [20, 0, -6],
    ])
    expect(() => t.grad(() => sum(x), [x], weights)).toThrowError(/a cotangent \[\], found \[3\]/)
  })
  deviceTest('what f makes besides its value is freed, without a scope around', async (device) => {
    using x = device.tensor([1, 2, 3])
    expect(await takeGrad(t.grad(() => sum(silu(mul(silu(x), 2))), [x]))).toHaveLength(2)
  })
  deviceTest('f that throws, before and after recording', async (device) => {
    using x = device.tensor([1, 2, 3])
    const broken = (): t.Tensor => {
      square(silu(x))
      throw new Error('mine')
    }
    expect(() => t.grad(broken, [x])).toThrowError('mine')
    expect(() => device.scope(() => t.grad(broken, [x]))).toThrowError('mine')
    expect(device.tape).toBe(null)
    expect(await takeGrad(t.grad(() => square(x), [x]))).toEqual([
      [1, 4, 9],
      [2, 4, 6],
    ])
  })
  deviceTest('a gradient rule that throws', async (device) => {
    using x = device.tensor([1, 2, 3])
    const f = (): t.Tensor =>
      mul(
        t.customGradient((v) => square(v), () => {
          throw new Error('mine')
        }, [silu(x)]),
        2,
      )
    expect(() => t.grad(f, [x])).toThrowError('mine')
  })
  deviceTest('wrt must be named, and alive', async (device) => {
    const x = device.tensor([1])
    expect(() => t.grad(() => square(x), [])).toThrowError(/at least one tensor/)
    x.dispose()
    expect(() => t.grad(() => square(x), [x])).toThrowError(
      /grad: a tensor of shape \[1\] was used after it was disposed/,
    )
  })
  deviceTest('an intermediate result may be disposed inside f: the tape holds what it needs', async (device) => {
    using x = device.tensor([1, 2, 3])
    const f = (): t.Tensor => {
      const y = square(x)
      const z = square(y)
      y.dispose()
      return z
    }
    expect((await takeGrad(t.grad(f, [x])))[1]).toEqual([4, 32, 108])
  })
  deviceTest('no gradient flows through whole numbers', async (device) => {
    using x = device.tensor([1.5, 2.5])
    expect((await takeGrad(t.grad(() => mul(t.cast(t.cast(x, 'i32'), 'f32'), x), [x])))[1]).toEqual([1, 2])
  })
})

describe('overwriting between the passes', () => {
  const ways: [string, (x: t.Tensor) => t.Tensor][] = [
    ['square', square],
    ['customGradient', (x) => t.customGradient(square, (dy, v) => [mul(dy, v)], [x])],
    ['recompute', (x) => t.recompute(square, [x])],
  ]
  for (const [name, op] of ways) {
    deviceTest(`of what the gradient of ${name} reads`, async (device) => {
      using x = device.tensor([1, 2])
      const f = (): t.Tensor => {
        const y = op(x)
        x.write([5, 6])
        return y
      }
      expect(() => t.grad(f, [x])).toThrowError(
        /a tensor of shape \[2\] was overwritten between the forward and the backward pass/,
      )
      using other = device.tensor([7, 8])
      expect(() =>
        t.grad(() => {
          const y = op(x)
          x.assign(other)
          return y
        }, [x]),
      ).toThrowError(/overwritten/)
    })
  }
  deviceTest('of what it does not read is allowed, and after the backward pass all is', async (device) => {
    using x = device.tensor([1, 2])
    const found = t.grad(() => {
      const y = mul(x, 3)
      x.write([5, 6])
      return y
    }, [x])
    x.write([7, 8])
    expect(await takeGrad(found)).toEqual([
      [3, 6],
      [3, 3],
    ])
  })
})

describe('stopGradient, noGrad', () => {
  deviceTest('the value passes, the gradient does not', async (device) => {
    using x = device.tensor([2, 3])
    expect(await takeGrad(t.grad(() => mul(t.stopGradient(square(x)), x), [x]))).toEqual([
      [8, 27],
      [4, 9],
    ])
    const quiet = (): t.Tensor =>
      mul(
        t.noGrad(device, () => square(x)),
        x,
      )
    expect(await takeGrad(t.grad(quiet, [x]))).toEqual([
      [8, 27],
      [4, 9],
    ])
    expect(t.noGrad(device, () => 5)).toBe(5)
  })
})

describe('customGradient', () => {
  deviceTest('its rule is used, null gives zeros, only the inputs are kept', async (device) => {
    using x = device.tensor([1, 2])
    using y = device.tensor([3, 4])
    const f = (): t.Tensor =>
      t.customGradient(
        (a, b) => silu(silu(mul(a, b))),
        (dy, a) => [mul(mul(dy, a), 100), null],
        [mul(x, 1), y],
      )
    const found = t.grad(f, [x, y])
    expect(found.savedBytes, 'the product with 1, rounded up').toBe(granularity(device))
    expect((await takeGrad(found)).slice(1)).toEqual([
      [100, 200],
      [0, 0],
    ])
  })
  deviceTest('identity with another gradient', async (device) => {
    using x = device.tensor([1, -2])
    const flip = (v: t.Tensor): t.Tensor =>
      t.customGradient(
        (a) => a,
        (dy) => [t.neg(dy)],
        [v],
      )
    expect(await takeGrad(t.grad(() => square(flip(x)), [x]))).toEqual([
      [1, 4],
      [-2, 4],
    ])
    // The input itself is used beside it.
    expect(
      await takeGrad(
        t.grad(() => {
          const y = square(x)
          return add(flip(y), mul(y, 3))
        }, [x]),
      ),
    ).toEqual([
      [4, 16],
      [4, -8],
    ])
    expect(x.disposed).toBe(false)
  })
  deviceTest('without a tape it is f', async (device) => {
    using x = device.tensor([3])
    expect(
      await take(
        t.customGradient(
          (a) => mul(silu(mul(a, 0)), 2),
          () => [null],
          [x],
        ),
      ),
    ).toEqual([[0]])
  })
})

describe("a gradient is summed to its input's shape by the tape", () => {
  const rows = (x: t.Tensor, bias: t.Tensor): t.Tensor =>
    t.customGradient(
      (a, b) => add(a, b),
      (dy) => [dy, dy],
      [x, bias],
    )
  deviceTest(
    'where the rule gives that of the broadcast shape, by one kernel; none where shapes agree or nobody asks',
    async (device) => {
      using x = device.tensor([1, 2, 3, 4, 5, 6], [2, 3])
      using weights = device.tensor([1, 2, 3, 10, 20, 30], [2, 3])
      using bias = device.tensor([7, 8, 9])
      const kernels = async (...wrt: t.Tensor[]): Promise<[number, number[][]]> => {
        const before = device.stats.dispatches
        const { value, gradients } = t.grad(() => rows(x, bias), wrt, weights)
        const spent = device.stats.dispatches - before
        expect(gradients.map((g) => g.shape)).toEqual(wrt.map((w) => w.shape))
        value.dispose()
        return [spent, await take(...gradients)]
      }
      expect(await kernels(x)).toEqual([1, [[1, 2, 3, 10, 20, 30]]])
      expect(await kernels(bias)).toEqual([2, [[11, 22, 33]]])
      expect(await kernels(x, bias)).toEqual([
        2,
        [
          [1, 2, 3, 10, 20, 30],
          [11, 22, 33],
        ],
      ])
      using column = device.tensor([7, 8], [2, 1])
      const found = t.grad(() => rows(x, column), [column], weights)
      expect(found.gradients[0].shape).toEqual([2, 1])
      expect((await takeGrad(found))[1]).toEqual([6, 60])
    },
  )
  deviceTest('before it is added to what came by another way', async (device) => {
    using x = device.tensor([1, 2, 3, 4, 5, 6], [2, 3])
    using bias = device.tensor([7, 8, 9])
    expect((await takeGrad(t.grad(() => rows(rows(mul(bias, 3), bias), bias), [bias])))[1]).toEqual([5, 5, 5])
    expect((await takeGrad(t.grad(() => mul(rows(x, bias), bias), [bias])))[1]).toEqual([
      1 + 4 + 4 * 7,
      2 + 5 + 4 * 8,
      3 + 6 + 4 * 9,
    ])
    expect((await takeGrad(t.grad(() => t.recompute((b) => rows(x, b), [bias]), [bias])))[1]).toEqual([2, 2, 2])
  })
  deviceTest('one that cannot be is an error that names the op', async (device) => {
    using x = device.tensor([1, 2, 3, 4, 5, 6], [2, 3])
    for (const shape of [[3, 2], [3], [1, 3], [2, 4], [6], []]) {
      const f = (): t.Tensor => t.customGradient(square, () => [t.zeros(device, shape)], [x])
      const message =
        "customGradient: expected a gradient of its input's shape [2, 3], or of one to which that broadcasts, " +
        `found [${shape.join(', ')}].`
      expect(() => t.grad(f, [x])).toThrowError(expect.objectContaining({ code: 'shape', message }))
    }
    const wrong: Op<MapParams> = { ...mapOp, gradient: () => [t.zeros(device, [2, 2])] }
    const double: MapParams = { expression: t.expression(1, 0, ([v]) => t.f.add(v, v)), scalars: [], dtype: 'f32' }
    expect(() => t.grad(() => applyOne(wrong, double, [x], 'double'), [x])).toThrowError(
      /^double: expected a gradient of its input's shape \[2, 3\].*, found \[2, 2\]\.$/,
    )
  })
  deviceTest('nor is one of integers taken, or too few or too many', async (device) => {
    using x = device.tensor([1, 2])
    const by =
      (...gradients: unknown[]) =>
      () =>
        t.grad(() => t.customGradient(square, () => gradients as t.Tensor[], [x]), [x])
    using whole = device.tensor([1, 2], [2], 'i32')
    expect(by(whole)).toThrowError(/^customGradient: expected a tensor of type f32, found \[2\] of type i32/)
    expect(by(5)).toThrowError(/^customGradient: expected a tensor, found 5/)
    expect(by()).toThrowError('customGradient: expected a gradient or null for each of its 1 inputs, found 0.')
    expect(by(null, null)).toThrowError(
      'customGradient: expected a gradient or null for each of its 1 inputs, found 2.',
    )
  })
})

describe('recompute', () => {
  const values = [...numbers(600, 3)]
  const block =
    (w: t.Tensor) =>
    (x: t.Tensor): t.Tensor =>
      add(silu(mul(silu(square(mul(x, w))), w)), x)
  deviceTest('the same gradients from fewer bytes, also by what the closure captured', async (device) => {
    using x = device.tensor(values, [2, 300])
    using w = device.tensor(values.slice(0, 300))
    const plain = t.grad(() => block(w)(block(w)(mul(x, 2))), [x, w])
    const kept = t.grad(() => t.recompute(block(w), [t.recompute(block(w), [mul(x, 2)])]), [x, w])
    // The two inputs of the blocks.
    expect(kept.savedBytes).toBe(2 * bytes(device, 600))
    expect(plain.savedBytes).toBeGreaterThan(2 * kept.savedBytes)
    const [a, b] = [await takeGrad(plain), await takeGrad(kept)]
    for (const i of [0, 1, 2]) expectClose(b[i], a[i], 1e-6, `result ${i}`)
  })
  deviceTest(
    'an intermediate result that the closure captured: told to name it, unless it is still alive',
    async (device) => {
      using x = device.tensor([1, 2])
      const f = (y: t.Tensor): t.Tensor => t.recompute((v) => mul(v, y), [mul(x, 2)])
      expect(() => t.grad(() => f(square(x)), [x])).toThrowError(/recompute: .*name it among the inputs/)
      let kept: t.Tensor | null = null
      // 2 x^3
      expect((await takeGrad(t.grad(() => f((kept = device.keep(square(x)))), [x])))[1]).toEqual([6, 24])
      ;(kept as t.Tensor | null)?.dispose()
    },
  )
  deviceTest('one inside another, and one that returns its input', async (device) => {
    using x = device.tensor([1, 2])
    const cube = (v: t.Tensor): t.Tensor => mul(t.recompute(square, [v]), v)
    expect((await takeGrad(t.grad(() => t.recompute(cube, [square(x)]), [x])))[1]).toEqual([6, 192])
    expect(
      (
        await takeGrad(
          t.grad(() => {
            const y = square(x)
            return add(
              t.recompute((v) => v, [y]),
              y,
            )
          }, [x]),
        )
      )[1],
    ).toEqual([4, 8])
  })
  deviceTest('nothing is kept or computed twice for a block without a watched ancestor', async (device) => {
    using x = device.tensor([1, 2])
    using c = device.tensor([3, 4])
    const before = device.stats.dispatches
    const found = t.grad(
      () =>
        mul(
          x,
          t.recompute((v) => square(silu(v)), [square(c)]),
        ),
      [x],
    )
    // Forward: square, silu, square, product; backward: the ones, the gradient.
    expect(device.stats.dispatches - before).toBe(6)
    expect(found.savedBytes, 'the factor of x').toBe(granularity(device))
    await takeGrad(found)
  })
  deviceTest('f that throws, the first time and the second', async (device) => {
    using x = device.tensor([1, 2])
    for (const bad of [1, 2]) {
      let calls = 0
      const f = (v: t.Tensor): t.Tensor => {
        const y = silu(square(v))
        if (++calls === bad) throw new Error(`call ${bad}`)
        return y
      }
      expect(() => t.grad(() => t.recompute(f, [square(x)]), [x])).toThrowError(`call ${bad}`)
    }
    expect(device.tape).toBe(null)
  })
})

describe('what is saved', () => {
  deviceTest('nothing for ops without a watched ancestor, nor for linear ones', async (device) => {
    using x = device.tensor(numbers(100, 1))
    using c = device.tensor(numbers(100, 2))
    const found = t.grad(() => sum(mul(add(x, silu(silu(c))), 2)), [x])
    expect(found.savedBytes).toBe(0)
    await takeGrad(found)
  })
  deviceTest('what was there before is borrowed, not saved', async (device) => {
    using x = device.tensor(numbers(100, 1))
    const found = t.grad(() => sum(square(x)), [x])
    expect(found.savedBytes).toBe(0)
    await takeGrad(found)
  })
  deviceTest('one piece of memory counts once, however it is seen', async (device) => {
    using x = device.tensor(numbers(100, 1))
    const f = (): t.Tensor => {
      const y = mul(x, 2)
      return sum(add(square(y), t.reshape(square(t.reshape(y, [10, 10])), [100])))
    }
    const found = t.grad(f, [x])
    expect(found.savedBytes).toBe(bytes(device, 100))
    await takeGrad(found)
  })
  deviceTest('no convolution input where the gradient by the image alone is wanted', async (device) => {
    using x = device.tensor(numbers(2 * 3 * 7 * 5, 1), [2, 3, 7, 5])
    using w1 = device.tensor(numbers(8 * 3 * 9, 2), [8, 3, 3, 3])
    using w2 = device.tensor(numbers(8 * 8 * 9, 3), [8, 8, 3, 3])
    using w3 = device.tensor(numbers(4 * 8, 4), [4, 8, 1, 1])
    using bias = device.tensor(numbers(8, 5))
    // conv → silu → conv → silu → conv: each silu needs its input, the outputs of the first two convolutions.
    const f = (): t.Tensor => {
      const h = silu(t.conv2d(x, w1, { bias, padding: 1 }))
      return t.conv2d(silu(t.conv2d(h, w2, { bias, padding: 1 })), w3)
    }
    const map = bytes(device, 2 * 8 * 7 * 5)
    const byImage = t.grad(f, [x])
    expect(byImage.savedBytes).toBe(2 * map)
    // The weights' gradients need the convolutions' inputs, too: the outputs of the two silus. x was there before.
    const byAll = t.grad(f, [x, w1, w2, w3])
    expect(byAll.savedBytes).toBe(4 * map)
    // The last convolution's weight alone: its input, and nothing of what led to it.
    const byLast = t.grad(f, [w3])
    expect(byLast.savedBytes).toBe(map)
    const [[, a], [, b]] = [await takeGrad(byImage), await takeGrad(byAll)]
    expect(a).toEqual(b)
    await takeGrad(byLast)
  })
})

describe('grad within grad', () => {
  deviceTest('is refused where the outer one would have to see it', async (device) => {
    using x = device.tensor([1, 2])
    const inner = (): t.Tensor => t.grad(() => mul(square(x), x), [x]).gradients[0]
    expect(() => t.grad(() => sum(inner()), [x])).toThrowError(/second derivatives are not implemented/)
    const through = (): t.Tensor => {
      const y = t.reshape(x, [2, 1])
      return t.grad(() => square(y), [y]).gradients[0]
    }
    expect(() => t.grad(through, [x])).toThrowError(/noGrad/)
    expect(device.tape).toBe(null)
  })
  deviceTest('in noGrad its results are constants', async (device) => {
    using x = device.tensor([1, 2])
    const f = (): t.Tensor =>
      mul(
        t.noGrad(device, () => t.grad(() => square(x), [x]).gradients[0]),
        x,
      )
    expect(await takeGrad(t.grad(f, [x]))).toEqual([
      [2, 8],
      [2, 4],
    ])
  })
  deviceTest('of tensors the outer one does not watch it is ordinary', async (device) => {
    using x = device.tensor([1, 2])
    using y = device.tensor([3, 4])
    const f = (): t.Tensor => mul(t.grad(() => square(y), [y]).gradients[0], x)
    expect(await takeGrad(t.grad(f, [x]))).toEqual([
      [6, 16],
      [6, 8],
    ])
  })
  deviceTest('in a gradient rule it is ordinary', async (device) => {
    using x = device.tensor([1, 2])
    const f = (v: t.Tensor): t.Tensor =>
      t.customGradient(square, (dy, u) => [mul(dy, t.grad(() => square(u), [u]).gradients[0])], [v])
    expect((await takeGrad(t.grad(() => f(mul(x, 3)), [x])))[1]).toEqual([18, 36])
  })
})
