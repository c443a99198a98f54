/**
 * What the group-norm kernels share. A row is the positions of one sample and channel, contiguous in memory, and so is
 * a group (its channels are neighbours). `lanes` threads walk a row, `lanes` apart, so that neighbouring threads touch
 * neighbouring memory; what is constant along a row (statistics, weight, bias, scale, shift: up to six loads) a thread
 * loads once. With `vector` a step is a vec4f, which needs a row length divisible by 4; `width` counts such steps.
 *
 * x − mean is formed first and multiplied then: folding the mean into the shift would cancel at large means.
 */
import { uniform } from './uniform.ts'

export interface GroupNormKeys {
  readonly vector: boolean
  readonly scaleShift: boolean
  readonly silu: boolean
}

export const groupNormThreads = 64

/** `width` steps a row. */
export const groupNormUniform = uniform({ rows: 'u32', channels: 'u32', groups: 'u32', width: 'u32', lanes: 'u32' })

/** `alias V` is what a thread moves at once; `total` adds up its components. */
export const elementType = (vector: boolean): string =>
  vector
    ? 'alias V = vec4<f32>;\nfn total(v: V) -> f32 { return (v.x + v.y) + (v.z + v.w); }'
    : 'alias V = f32;\nfn total(v: V) -> f32 { return v; }'

/**
 * The uniform, the inputs by name, each at the next binding (`x`, `dy` and the results named with a `+` in front are
 * arrays of V), and `rowOf`, which gathers what is constant along row i = n·C + c.
 */
export function groupNormRow({ vector, scaleShift }: GroupNormKeys, bindings: readonly string[]): string {
  const names = bindings.filter((name) => scaleShift || name !== 'scaleShift')
  const declared = names.map((name, i) => {
    const type = ['x', 'dy', '+y', '+dx'].includes(name) ? 'V' : 'f32'
    return (
      `@group(0) @binding(${i + 1}) var<storage, ${name.startsWith('+') ? 'read_write' : 'read'}> ` +
      `${name.replace('+', '')}: array<${type}>;`
    )
  })
  return `
${groupNormUniform.wgsl()}
${elementType(vector)}
${declared.join('\n')}

struct Row { mean: f32, inverse: f32, weight: f32, bias: f32, scale: f32, shift: f32, group: u32 }

fn rowOf(i: u32) -> Row {
  let n = i / p.channels;
  let c = i % p.channels;
  let group = n * p.groups + c / (p.channels / p.groups);
  ${
    scaleShift
      ? 'let at = 2 * n * p.channels + c;\n  let scale = 1 + scaleShift[at];\n  let shift = scaleShift[at + p.channels];'
      : 'let scale = 1f;\n  let shift = 0f;'
  }
  return Row(statistics[2 * group], statistics[2 * group + 1], weight[c], bias[c], scale, shift, group);
}
`
}

/**
 * Logistic function of `v`; the exponent is bounded, because WGSL does not promise what follows from an infinite one.
 */
export const sigmoidOf = (v: string): string => `1 / (1 + exp(min(-${v}, V(87))))`

/** The gradient by v of the row's element, given `xhat` and `g` = dy: recomputes v where SiLU needs it. */
export const throughActivation = (silu: boolean): string =>
  silu
    ? `let v = (xhat * r.weight + r.bias) * r.scale + r.shift;
    let s = ${sigmoidOf('v')};
    let dv = g * s * (1 + v * (1 - s));`
    : 'let dv = g;'
