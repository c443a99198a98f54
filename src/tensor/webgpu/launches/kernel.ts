import type { KernelParams } from '../../kernel.ts'
import type { Launch } from '../launch.ts'

/** Texts of callers' kernels by number: a pipeline's name is short, and equal names mean equal code. */
const numbers = new Map<string, number>()

/** A kernel of the caller's (`Device.kernel`); it stands in no op table, since the CPU backend cannot run it. */
export const kernel: Launch<KernelParams> = (encoder, { wgsl, workgroups, words, targets }, inputs, outputs) => {
  const number = numbers.get(wgsl) ?? numbers.size + 1
  numbers.set(wgsl, number)
  let next = 0
  encoder.dispatch({
    key: `own ${number}`,
    code: () => wgsl,
    uniforms: words,
    read: inputs,
    write: targets.map((target) => target ?? outputs[next++]),
    grid: workgroups,
  })
}
