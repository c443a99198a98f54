/** What the tape may keep of a U-Net for the gradient by its input, from the layout alone. */
import { memoryOf, type UNet } from '../src/nn/index.ts'
import type { Device } from '../src/tensor/index.ts'
import { granularity } from './op.ts'

/**
 * The inputs of the norms and attention's tensors as `memoryOf` counts them, and what it leaves out: mean and deviation
 * [N, 32, 2] of every norm, and scale and shift [N, 2C] of every norm that has them. No convolution's input: of those
 * the gradient needs the weights only, which are no intermediate results.
 */
export function savedBytesOf(device: Device, { config, plan }: UNet, batch: number): number {
  const grain = granularity(device)
  const rounded = (floats: number): number => Math.ceil((4 * floats) / grain) * grain
  const { savedNorms, savedAttention } = memoryOf({ ...config, kind: 'unet' }, { batch, gradient: true })
  const statistics = rounded(batch * 32 * 2)
  const small = [...plan.inputBlocks, plan.middleBlock, ...plan.outputBlocks].flat().map((layer) => {
    if (layer.type === 'attention') return statistics
    return layer.type === 'resblock'
      ? 2 * statistics + (layer.scaleShift ? rounded(batch * 2 * layer.outChannels) : 0)
      : 0
  })
  return savedNorms + savedAttention + statistics + small.reduce((sum, bytes) => sum + bytes, 0)
}
