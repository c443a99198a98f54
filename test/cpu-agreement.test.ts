/** On the CPU the shipped model draws the same pictures, to the bit, in any batch. */
import { deviceTest, expectSameBits, onCPU } from './op.ts'
import { draw, kinds } from './shipped-samples.ts'

deviceTest(
  'a sample is the same picture in any batch, bit for bit',
  async (device) => {
    for (const [kind, options] of Object.entries(kinds)) {
      const together = await draw(device, [4, 11, 2], 5, options)
      for (const [i, sample] of [4, 11, 2].entries())
        expectSameBits(
          await draw(device, [sample], 5, options),
          together.subarray(i * 3072, (i + 1) * 3072),
          `${kind}, sample ${sample}`,
        )
    }
  },
  onCPU,
)
