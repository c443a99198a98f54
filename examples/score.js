/**
 * Scores the images of a folder and lists them, the rarest first.
 *
 *     node examples/score.js [folder] [draws]
 *
 * By default of the cells that examples/sample.js draws. How far an image lands from itself when it is noised and
 * denoised is measured in the features of the shipped net; with `distance: { lpips: 'lpips-alex.pt' }` it is LPIPS, as
 * in the paper (Um et al., ICLR 2024, Eq. 7). Scores by two distances cannot be compared, nor those of two models.
 */
import { openImages, Tweedie } from 'tweedie'

const [folder = 'out/cells', draws = '4'] = process.argv.slice(2)

const files = await openImages(folder) // PNG and JPEG files of any size; an .npz or IDX file, too
const images = await Promise.all(Array.from({ length: files.length }, (_, k) => files.read(k)))

const model = await Tweedie.load('bccd32', { distance: 'features' })
const scores = await model.score(images, {
  draws: Number(draws), // of the noise, averaged
  onProgress: (done, total) => console.error(`${done} of ${total} scored`),
})
model.dispose()

const rarestFirst = [...scores.keys()].sort((a, b) => scores[b] - scores[a])
for (const k of rarestFirst) console.log(`${scores[k].toFixed(3)}  ${files.imageName(k)}`)
