/** Images: sets of them, and batches for a model. Host arrays only. */
export { checkImages, imageBatch, trainingBatch, type Batch, type BatchOptions } from './batch.ts'
export { centerCrop, randomCrop } from './crop.ts'
export { withChannels, type Image } from './image.ts'
export { imageArrays, subset, type ImageArrays, type ImageSet } from './image-set.ts'
export { openNpz } from './npz.ts'
export { resize } from './resize.ts'
