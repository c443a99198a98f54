/**
 * Draws minority samples of the shipped blood cells and writes them as PNG files.
 *
 *     node examples/sample.js [steps] [folder]
 *
 * 50 steps of four cells take some seconds on two CPU cores. `method: 'ancestral'` draws the same noise without
 * guidance.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { encodePng, Tweedie } from 'tweedie'

const [steps = '50', folder = 'out/cells'] = process.argv.slice(2)
mkdirSync(folder, { recursive: true })

// A diffusion model, its minority classifier and a feature net, in weights/ of the package. Of a model
// of your own: its path.
const model = await Tweedie.load('bccd32')
console.log(`${model.device}, ${model.minorityLevels} levels of rarity`)

for await (const { images, done, total } of model.sample({
  number: 4,
  steps,
  method: 'minority-guided',
  target: 'rarest',
})) {
  console.log(`step ${done} of ${total}`)
  if (done < total) continue
  const scores = await model.score(images)
  images.forEach((image, k) => {
    const file = join(folder, `cell-${k}.png`)
    writeFileSync(file, encodePng(image))
    console.log(`${file}: minority score ${scores[k].toFixed(3)}`)
  })
}
model.dispose()
