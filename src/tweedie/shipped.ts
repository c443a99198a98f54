/**
 * The files of the shipped set in the package's folder weights: blood cells of 32 x 32 pixels, see
 * weights/bccd32-adm.md.
 */
export const bccd32 = {
  model: 'bccd32-adm.safetensors',
  minorityClassifier: 'bccd32-minority.safetensors',
  features: 'bccd32-features.safetensors',
} as const
