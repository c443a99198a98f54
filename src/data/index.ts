/** Images: in files, on canvases and as the values that models take; sets of them, and batches. Host arrays only. */
export { attributesOf, parseAttributes, type AttributeTable, type ImageAttributes } from './attributes.ts'
export { batchOf, checkImages, imageBatch, trainingBatch, type Batch, type BatchOptions } from './batch.ts'
export { drawImage, imageDataOf, imageFrom, type Canvas, type ImageDataOf, type Pixels } from './canvas.ts'
export { contactSheet, imagesOfSheet } from './contact-sheet.ts'
export { centerCrop, randomCrop } from './crop.ts'
export { decodeImage } from './decode.ts'
export { encodePng } from './encode-png.ts'
export { openIdx } from './idx.ts'
export { withChannels, type Image } from './image.ts'
export {
  commonSize,
  evenlySpaced,
  imageArrays,
  subset,
  type ImageArrays,
  type ImageFile,
  type ImageSet,
} from './image-set.ts'
export { joinSets } from './join.ts'
export { damagedImages, lookThrough, type DamagedImage } from './look.ts'
export type { NpyArray, NpyValues } from './npy.ts'
export { encodeNpz, npzNames, openNpy, openNpz, readNpz } from './npz.ts'
export { middle, normalized, resizeShortSide } from './preprocess.ts'
export { resize, resizeFloats } from './resize.ts'
export { sampleLinear, type SampleOptions } from './sample-linear.ts'
export {
  applySelection,
  classCounts,
  encodeSelection,
  parseSelection,
  selectImages,
  type Selection,
  type SelectOptions,
} from './selection.ts'
export { imageOf, imagesOf } from './values.ts'
