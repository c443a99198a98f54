/**
 * A guidance of your own, added to a shipped one: cells that are rare and whose mean colour is violet.
 *
 *     node examples/guidance.js [steps] [folder]
 *
 * A guidance is a term of the score, the gradient of a log density by x. Samplers add up the terms of all guidances, so
 * yours needs to know nothing of the others. The same seed is drawn without it and with it.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { encodePng, logDensityGuidance, mean, square, sub, sum, Tweedie } from 'tweedie'

const [steps = '50', folder = 'out/violet'] = process.argv.slice(2)
mkdirSync(folder, { recursive: true })

const model = await Tweedie.load('bccd32')
const violet = model.device.tensor([0.2, -0.2, 0.5]) // red, green and blue from -1 to 1

// log p of each image x [N, 3, H, W] is minus the squared distance of its mean colour, times a scale: a Gaussian
// about violet. The engine differentiates it. Of a gradient that you have by another way, a guidance is the function
// itself: (x, t) => gradient.
const guidance = logDensityGuidance((x) => {
  const colour = mean(x, { axes: [2, 3] }) // [N, 3]
  return sum(square(sub(violet, colour)), { axes: [1] })
}, -500)

for (const [name, guidances] of [
  ['plain', []],
  ['violet', [guidance]],
]) {
  for await (const { images, done, total, values } of model.sample({
    number: 4,
    steps,
    method: 'minority-guided',
    guidances: () => guidances,
  })) {
    if (done < total) continue
    images.forEach((image, k) => writeFileSync(join(folder, `${name}-${k}.png`), encodePng(image)))
    const colours = await mean(model.device.tensor(values, [4, 3, 32, 32]), { axes: [0, 2, 3] }).read()
    console.log(`${name}: mean red, green, blue ${[...colours].map((value) => value.toFixed(2)).join(', ')}`)
  }
}
model.dispose()
