/** The worker of worker.html: takes the options of `sample`, or 'stop', and sends pictures back after every step. */
import { imageDataOf, Tweedie } from '../dist/browser/tweedie.min.js'

let model = null
let controller = new AbortController()

self.onmessage = async ({ data: options }) => {
  controller.abort() // a new request ends the one before
  if (options === 'stop') return
  const { signal } = (controller = new AbortController())
  try {
    postMessage({ text: 'Loading …' })
    model ??= await Tweedie.load('bccd32', { weights: '../weights/', signal })
    for await (const { images, done, total } of model.sample({ ...options, signal })) {
      postMessage({
        text: `Step ${done} of ${total} on ${model.device.adapter.name}.`,
        done,
        total,
        images: images.map(imageDataOf),
      })
    }
    postMessage({ text: 'Done.' })
  } catch (error) {
    postMessage({ text: signal.aborted ? 'Stopped.' : String(error) }) // its messages say what to do
  }
}
