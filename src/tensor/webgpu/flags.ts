/**
 * WebGPU's flags, by the numbers of its specification. A browser has globals that name them; Node has not, where a
 * caller made the device and kept the globals of the package `webgpu` to himself.
 */
export const bufferUsage = {
  mapRead: 0x01,
  copySource: 0x04,
  copyTarget: 0x08,
  uniform: 0x40,
  storage: 0x80,
  queryResolve: 0x200,
} as const
/** GPUMapMode.READ */
export const mapRead = 0x01
/** GPUShaderStage.COMPUTE */
export const computeStage = 0x04
