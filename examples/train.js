/**
 * Trains a small diffusion model, goes on where it was stopped, and draws from it.
 *
 *     node examples/train.js [steps] [folder]
 *
 * The images are made here: red discs of 16 x 16 pixels, one in ten of them blue. 400 steps take 15 seconds on two idle
 * cores. Ctrl-C saves and ends; the same command goes on, to the same bits as without the stop, and more steps make the
 * run longer. docs/training.md has the `load` of a folder of images.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  configMetadata,
  Device,
  diffusionOf,
  diffusionTask,
  encodeModel,
  encodePng,
  encodeState,
  initializeParameters,
  openCheckpoint,
  openFile,
  planOf,
  preset,
  restoreState,
  Trainer,
  Tweedie,
  UNet,
  writeFileAtomic,
} from 'tweedie'

const [steps = '400', folder = 'out/discs'] = process.argv.slice(2)
mkdirSync(folder, { recursive: true })
const [state, file] = ['state.safetensors', 'model.safetensors'].map((name) => join(folder, name))

/**
 * Value i of [3, 16, 16] of image k, from -1 to 1. Images are functions of their number, so that a run can go on at
 * any.
 */
function disc(k, i) {
  const [channel, y, x] = [i >> 8, (i >> 4) % 16, i % 16]
  const inside = Math.hypot(x - 5 - (k % 7), y - 5 - (k % 6)) < 3 + (k % 3)
  return inside && channel !== (k % 10 === 0 ? 2 : 0) ? -1 : 1
}
const load = async (first, count) => ({
  images: Float32Array.from({ length: count * 768 }, (_, i) => disc(first + Math.floor(i / 768), i % 768)),
})

// A published network made small, with its process; but it predicts v, from which colours are learned sooner
// than from the noise.
const published = preset('celeba64_uncond')
const config = {
  ...published.config,
  imageSize: 16,
  modelChannels: 32,
  channelMult: [1, 1],
  numResBlocks: 1,
  attentionResolutions: [2],
  numHeadChannels: 32,
  dropout: 0,
}
const diffusion = { ...published.diffusion, meanType: 'v' }

const device = await Device.request()
const model = new UNet(config, initializeParameters(device, planOf(config), 0))
const task = diffusionTask(device, { model, diffusion: diffusionOf({ config, diffusion }), load, seed: 0 })
const trainer = new Trainer(device, task, { batch: 16, steps: Number(steps), lr: 1e-3, emaRates: [0.99] })

const run = { images: 'discs', batch: 16, lr: 1e-3 } // a state of another run is refused
if (existsSync(state)) {
  const saved = await openCheckpoint(await openFile(state))
  await restoreState(trainer, saved, run)
  await saved.close()
}

const stop = new AbortController()
process.once('SIGINT', () => stop.abort())
console.log(`${device}: from step ${trainer.step} to ${steps}; Ctrl-C stops.`)
try {
  for await (const { step, loss } of trainer.run(stop.signal))
    if (step % 50 === 0) console.log(`step ${step}: loss ${loss.toFixed(4)}`)
} catch (error) {
  if (error !== stop.signal.reason) throw error
}
await writeFileAtomic(state, await encodeState(trainer, run))
await writeFileAtomic(file, await encodeModel(trainer.optimizer.emas[0], configMetadata(config, diffusion)))
console.log(`${file} is the model after step ${trainer.step}.`)

if (trainer.done) {
  const trained = await Tweedie.load(file, { device })
  for await (const { images, done, total } of trained.sample({ number: 8, steps: 50 })) {
    if (done === total) images.forEach((image, k) => writeFileSync(join(folder, `disc-${k}.png`), encodePng(image)))
  }
}
device.dispose()
