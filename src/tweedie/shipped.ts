/**
 * The files of the shipped set in the package's folder weights: blood cells of 32 x 32 pixels, see
 * weights/bccd32-adm.md.
 */
export const bccd32 = {
  model: 'bccd32-adm.safetensors',
  minorityClassifier: 'bccd32-minority.safetensors',
  features: 'bccd32-features.safetensors',
} as const

/** Their SHA-256: what a page keeps is checked by it. */
export const shippedHashes: Readonly<Record<string, string>> = {
  'bccd32-adm.safetensors': 'e111fe7291782eb416eef09d09b8e272c3b7a5fa224490aa03c50c80a9b7f41c',
  'bccd32-minority.safetensors': '4e7189915473e9c4b2a04e1ac78735e7a143a89a14e261d531520dee395555a0',
  'bccd32-features.safetensors': '7b368d9c6be78fa644263cf2142a7d1763e7f97b55253c00f619dcea1a2e7e5b',
}
