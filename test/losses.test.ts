/** The losses of spec C.8: the values of spec K. */
import {
  approxStandardNormalCdf, discretizedGaussianLogLikelihood, GaussianDiffusion, normalKl, trainingLosses, type Denoiser,
} from '../src/diffusion/index.ts'
import { clamp, type Tensor } from '../src/tensor/index.ts'
import { waves } from './formula.ts'
import { deviceTest, expectClose, onCPU } from './op.ts'
import { inputX, modelA } from './spec-models.ts'

const shape = [2, 3, 8, 8]
const cosine10 = { schedule: 'cosine', diffusionSteps: 1000, respacing: '10' } as const

async function readAll(losses: object): Promise<Record<string, Float32Array>> {
  const found: Record<string, Float32Array> = {}
  for (const [name, tensor] of Object.entries(losses) as [string, Tensor][]) found[name] = await tensor.read()
  for (const tensor of Object.values(losses) as Tensor[]) tensor.dispose()
  return found
}

deviceTest('K: the losses of model A', async (device) => {
  const model = await modelA(device)
  const denoiser: Denoiser = (x, timesteps) => model.forward(x, timesteps)
  const xStart = device.scope(() => clamp(inputX(device), -1, 1))
  const eps = device.tensor(waves(shape, 0.23, 0.1, Math.cos), shape)
  const diffusion = new GaussianDiffusion(cosine10)
  const losses = (lossType: 'mse' | 'rescaledMse' | 'kl' | 'rescaledKl') =>
    readAll(trainingLosses(diffusion, denoiser, xStart, [0, 7], eps, { lossType }))
  const [mse, vb] = [[0.6889649, 0.6825905], [1.5324464, 0.7055683]]
  const plain = await losses('mse')
  expectClose(plain.mse, mse, 1e-5, 'mse')
  expectClose(plain.vb, vb, 1e-5, 'vb')
  expectClose(plain.loss, mse.map((v, n) => v + vb[n]), 1e-5, 'loss')
  const rescaled = await losses('rescaledMse')
  expectClose(rescaled.vb, vb.map((v) => v / 100), 1e-5, 'rescaled vb')
  expectClose(rescaled.loss, mse.map((v, n) => v + vb[n] / 100), 1e-5, 'rescaled loss')
  expectClose((await losses('kl')).loss, vb, 1e-5, 'KL')
  expectClose((await losses('rescaledKl')).loss, [15.324464, 7.0556827], 1e-5, 'rescaled KL')
  for (const owned of [xStart, eps, model]) owned.dispose()
}, onCPU)

deviceTest('K: divergence, CDF and likelihood', async (device) => {
  const tensor = (...values: number[]): Tensor => device.tensor(values, [values.length])
  const read = async (f: () => Tensor): Promise<Float32Array> => {
    using made = device.scope(f)
    return made.read()
  }
  expectClose(await read(() => normalKl(tensor(0.1), tensor(-1), tensor(0.3), tensor(-0.5))), [0.08623976], 1e-6, 'normal_kl')
  expectClose(await read(() => approxStandardNormalCdf(tensor(-2, -0.5, 0, 1))), [0.0227011, 0.3085720, 0.5, 0.8411920], 1e-6, 'CDF')
  const likelihood = await read(() => discretizedGaussianLogLikelihood(tensor(-1, -0.9921569, 0, 0.0039216, 0.9921569, 1), {
    means: tensor(-0.9, -0.9, 0.1, 0, 0.9, 0.9), logScales: tensor(-2, -3, -1, -5, -2.5, -3),
  }))
  expectClose(likelihood, [-1.4314775, -4.4717278, -4.804193, -0.9738769, -3.8977027, -3.6194632], 1e-6, 'log-likelihood')
})

