/** The start from the fitted marginal: the fit, the first state, and both commands that have to do with it. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { purposes } from '../src/tensor/purposes.ts'
import {
  encodeMarginal,
  GaussianDiffusion,
  GeneratedNoise,
  MarginalFit,
  marginalSkip,
  marginalStart,
  readMarginal,
  sampleLoop,
  type Marginal,
} from '../src/diffusion/index.ts'
import { openCheckpoint, openFile, writeFileAtomic } from '../src/io/index.node.ts'
import { hostRandomNormal, splitSeed } from '../src/tensor/index.ts'
import { temporaryFolder, tweedie } from './cli.ts'
import { npy, npz } from './data-fixtures.ts'
import { deviceTest, expectClose, onCPU } from './op.ts'
import { base, writeModel } from './small-models.ts'

const at = temporaryFolder()

/** `count` images [3, 16, 16] whose channels rise and fall together, about a mean that is another in each row. */
function images(count: number): Float32Array {
  const normal = hostRandomNormal(
    { seed: splitSeed(9), draw: 0, purpose: 99 },
    Array.from({ length: count }, (_, i) => i),
    1 + 768,
  )
  return Float32Array.from({ length: count * 768 }, (_, at) => {
    const [n, pixel] = [Math.floor(at / 768), at % 768]
    return 0.02 * (Math.floor(pixel / 16) % 16) + 0.2 * normal[n * 769] + 0.05 * normal[n * 769 + 1 + pixel]
  })
}

const fitted = (count = 400): Marginal => {
  const fit = new MarginalFit(16, 3)
  fit.add(images(count))
  return fit.result()
}

describe('the fit', () => {
  test('has the mean and the covariance of the averaged images, whatever the batches', () => {
    const all = images(300)
    const averaged = Array.from({ length: 300 }, (_, n) =>
      Array.from({ length: 192 }, (_, i) => {
        const [c, y, x] = [Math.floor(i / 64), Math.floor(i / 8) % 8, i % 8]
        const pixel = (dy: number, dx: number): number => all[n * 768 + c * 256 + (2 * y + dy) * 16 + 2 * x + dx]
        return (pixel(0, 0) + pixel(0, 1) + pixel(1, 0) + pixel(1, 1)) / 4
      }),
    )
    const mean = averaged[0].map((_, i) => averaged.reduce((sum, row) => sum + row[i], 0) / 300)
    const fit = new MarginalFit(16, 3)
    for (const [from, to] of [
      [0, 1],
      [1, 130],
      [130, 300],
    ] as const)
      fit.add(all.subarray(from * 768, to * 768))
    const marginal = fit.result()
    expect([marginal.side, marginal.channels, marginal.imageSize]).toEqual([8, 3, 16])
    expectClose(marginal.mean, mean, 1e-6, 'mean')
    const { factor } = marginal
    for (const [i, j] of [
      [0, 0],
      [5, 5],
      [191, 191],
      [17, 3],
      [191, 0],
      [100, 64],
    ] as const) {
      const covariance =
        averaged.reduce((sum, row) => sum + (row[i] - mean[i]) * (row[j] - mean[j]), 0) / 300 + (i === j ? 1e-4 : 0)
      let product = 0
      for (let k = 0; k < 192; k++) product += factor[i * 192 + k] * factor[j * 192 + k]
      expect(Math.abs(product - covariance)).toBeLessThan(1e-7)
    }
    expect(factor[3]).toBe(0)
  })

  test('of fewer images than directions is one all the same; of none, or of parts of images, it is an error', () => {
    expect(fitted(2).factor.every(Number.isFinite)).toBe(true)
    expect(() => new MarginalFit(16, 3).result()).toThrow(/one image at least/)
    expect(() => new MarginalFit(16, 3).add(new Float32Array(767))).toThrow(/whole images of 768/)
  })

  test('28 pixels are averaged down to 7', () => {
    expect(
      new Set(
        [8, 28, 30, 32, 31, 64].map((size) => {
          const fit = new MarginalFit(size, 1)
          fit.add(new Float32Array(size * size))
          return fit.result().side
        }),
      ),
    ).toEqual(new Set([8, 7, 6, 1]))
  })
})

describe('the start', () => {
  test('is at the noisiest index of log-SNR -3 or more', () => {
    const at = (schedule: 'linear' | 'cosine', respacing?: string): number => {
      const diffusion = new GaussianDiffusion({ schedule, diffusionSteps: 1000, respacing })
      return diffusion.process.timestepMap[diffusion.steps - 1 - marginalSkip(diffusion)]
    }
    expect([at('cosine'), at('linear'), at('cosine', '50')]).toEqual([858, 546, 856])
  })

  deviceTest('is sqrt(abar) (mean + L z) + sqrt(1 - abar) epsilon', async (device) => {
    const marginal = fitted()
    const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '50' })
    using generated = new GeneratedNoise(device, { seed: 4, samples: [7, 2], shape: [3, 16, 16] })
    const { noise, skip } = marginalStart(device, diffusion, marginal, generated)
    expect(skip).toBe(7)
    const x = noise.initial()
    const stream = { seed: splitSeed(4), draw: 0 }
    const z = hostRandomNormal({ ...stream, purpose: purposes.marginal }, [7, 2], 192)
    const epsilon = hostRandomNormal({ ...stream, purpose: purposes.initial }, [7, 2], 768)
    const { sqrtAlphaBar, sqrtOneMinusAlphaBar } = diffusion.process.tables
    const expected = Float64Array.from(epsilon, (e, at) => {
      const [n, c, y, px] = [Math.floor(at / 768), Math.floor(at / 256) % 3, Math.floor(at / 16) % 16, at % 16]
      const i = c * 64 + Math.floor(y / 2) * 8 + Math.floor(px / 2)
      let sum = marginal.mean[i]
      for (let k = 0; k < 192; k++) sum += marginal.factor[i * 192 + k] * z[n * 192 + k]
      return sqrtAlphaBar[42] * sum + sqrtOneMinusAlphaBar[42] * e
    })
    expectClose(await x.read(), expected, 1e-5, 'x_s')
    x.dispose()
    // The steps that follow take the same noise as without.
    const [own, plain] = [noise.step(3), generated.step(3)]
    expect(await own.read()).toEqual(await plain.read())
    for (const tensor of [own, plain]) tensor.dispose()
  })

  deviceTest(
    'leaves out the steps before it, and refuses images of another size',
    async (device) => {
      const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '10' })
      using noise = new GeneratedNoise(device, { seed: 0, samples: [0], shape: [3, 16, 16] })
      const indices: number[] = []
      const options = marginalStart(device, diffusion, fitted(), noise)
      // A network that finds no noise anywhere.
      for await (const { t } of sampleLoop(
        diffusion,
        (x) => device.tensor(new Float32Array(6 * 256), [x.shape[0], 6, 16, 16]),
        options,
      ))
        indices.push(t)
      expect(indices).toEqual([7, 6, 5, 4, 3, 2, 1, 0])
      using small = new GeneratedNoise(device, { seed: 0, samples: [0], shape: [3, 8, 8] })
      expect(() => marginalStart(device, diffusion, fitted(), small).noise.initial()).toThrow(
        /\[3, 16, 16\].*\[3, 8, 8\]/,
      )
    },
    onCPU,
  )
})

test('its file is read as it was written, and every other file is refused', async () => {
  const marginal = fitted()
  await writeFileAtomic(at('marginal.safetensors'), encodeMarginal(marginal))
  const read = async (path: string): Promise<Marginal> => {
    const file = await openCheckpoint(await openFile(path))
    try {
      return await readMarginal(file)
    } finally {
      await file.close()
    }
  }
  expect(await read(at('marginal.safetensors'))).toEqual(marginal)
  await writeFileAtomic(at('nan.safetensors'), encodeMarginal({ ...marginal, mean: marginal.mean.map(() => NaN) }))
  await expect(read(at('nan.safetensors'))).rejects.toMatchObject({ code: 'non-finite' })
  await writeFileAtomic(at('odd.safetensors'), encodeMarginal({ ...marginal, imageSize: 17 }))
  await expect(read(at('odd.safetensors'))).rejects.toMatchObject({ code: 'format' })
  await expect(read(await writeModel(at('model.safetensors'), base))).rejects.toThrow(/expected a marginal/)
})

describe('the commands', () => {
  test('train diffusion writes it beside the model, and sample starts from it', async () => {
    writeFileSync(
      at('data.npz'),
      npz({
        images: npy(
          '|u1',
          [6, 8, 8, 3],
          Uint8Array.from({ length: 6 * 192 }, (_, i) => 120 + 40 * Math.sin(i)),
        ),
      }),
    )
    const out = at('run')
    const train = (images: number, ...more: string[]) =>
      tweedie([
        'train',
        'diffusion',
        '--data',
        at('data.npz'),
        '--out',
        out,
        '--num-channels',
        '32',
        '--channel-mult',
        '1',
        '--attention-resolutions',
        '8',
        '--images',
        String(images),
        '--batch',
        '4',
        '--samples',
        '0',
        '--evaluate-on',
        '0',
        '--backend',
        'cpu',
        ...more,
      ])
    const trained = await train(4)
    expect(trained.code, trained.err.join('\n')).toBe(0)
    const file = join(out, 'marginal.safetensors')
    expect(existsSync(file)).toBe(true)
    const draw = (...more: string[]) =>
      tweedie([
        'sample',
        '--model',
        join(out, 'model.safetensors'),
        '--respacing',
        '10',
        '--number',
        '2',
        '--backend',
        'cpu',
        ...more,
      ])
    const drawn = await draw('--marginal', file, '--out', at('drawn'))
    expect(drawn.code, drawn.err.join('\n')).toBe(0)
    const record = JSON.parse(readFileSync(join(at('drawn'), 'run.json'), 'utf8')) as {
      options: Record<string, unknown>
      sha256: Record<string, string>
    }
    expect(record.options.marginal).toBe(file)
    expect(record.sha256.marginal).toMatch(/^[0-9a-f]{64}$/)

    const refusals: [string[], RegExp][] = [
      [['--method', 'boost-and-skip'], /--marginal and Boost-and-Skip/],
      [['--skip', '2'], /--marginal and Boost-and-Skip/],
      [['--marginal', join(out, 'model.safetensors')], /expected a marginal/],
    ]
    for (const [more, message] of refusals) {
      const { code, err } = await draw(
        ...(more.includes('--marginal') ? [] : ['--marginal', file]),
        '--out',
        at('refused'),
        ...more,
      )
      expect(code).toBe(1)
      expect(err.join('\n')).toMatch(message)
    }
    expect(existsSync(at('refused'))).toBe(false)

    const first = readFileSync(file)
    expect((await train(8, '--resume')).code).toBe(0)
    expect(readFileSync(file).equals(first), 'the same images').toBe(true)
    writeFileSync(
      at('data.npz'),
      npz({
        images: npy(
          '|u1',
          [6, 8, 8, 3],
          Uint8Array.from({ length: 6 * 192 }, (_, i) => 90 + 40 * Math.sin(i)),
        ),
      }),
    )
    expect((await train(12, '--resume', '--data-changed')).code).toBe(0)
    expect(readFileSync(file).equals(first), 'other images').toBe(false)
  })
})
