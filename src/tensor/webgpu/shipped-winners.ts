import type { Winners } from '../remembered.ts'

/**
 * Kernels that were measured on adapters of an architecture, by `vendor architecture` as WebGPU names them: what such
 * an adapter takes until it has been measured itself. They come from `device.winners` of users' machines; a choice
 * between kernels whose text has changed since is not taken. None has been measured on a GPU yet.
 */
export const shippedWinners: { readonly [architecture: string]: Winners } = {}
