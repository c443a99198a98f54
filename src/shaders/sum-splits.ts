import { fold } from './conv2d-shape.ts'
import { noMore, wgsl } from './template.ts'
import { uniform } from './uniform.ts'

/** What is added to the sums before they are stored. */
export interface Epilogue {
  readonly bias: boolean
  readonly residual: boolean
}

export const sumSplitsUniform = uniform({
  /** Elements of the result. */
  count: 'u32',
  splits: 'u32',
  /** Elements of a channel, and channels: element i belongs to channel i / area % channels, whose bias it is given. */
  area: 'u32',
  channels: 'u32',
})

export interface SumSplitsKeys extends Epilogue {
  /** Elements and areas are multiples of 4, and a thread has a vec4f. */
  readonly vector: boolean
}

const threads = 64

/**
 * Adds the partial sums of a kernel whose work was cut into splits, in order, then what the kernel itself would have
 * added: out[i] = Σ_split partial[split·count + i] + bias[channel of i] + residual[i].
 *
 * Parts are read four at a time, so that a thread waits for memory a quarter as often.
 *
 * Bindings: 0 the uniform, partial [splits,count], bias [channels] and residual [count] if asked for, out [count]. One
 * thread an element or a vec4f, folded over x and z.
 */
export function sumSplitsShader({ bias, residual, vector, ...rest }: SumSplitsKeys): string {
  noMore(rest)
  const step = vector ? 4 : 1
  return wgsl`
alias V = ${vector ? 'vec4f' : 'f32'};
${sumSplitsUniform.wgsl()}
@group(0) @binding(1) var<storage, read> partial: array<V>;
#if ${bias}
@group(0) @binding(2) var<storage, read> bias: array<f32>;
#endif
#if ${residual}
@group(0) @binding(${bias ? 3 : 2}) var<storage, read> residual: array<V>;
#endif
@group(0) @binding(${2 + Number(bias) + Number(residual)}) var<storage, read_write> out: array<V>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) t: u32) {
  let i = (wg.z * grid.x + wg.x) * ${threads} + t;
  let count = p.count / ${step};
  if (i >= count) { return; }
  var sum = V();
  let fours = p.splits / 4 * 4;
  for (var split = 0u; split < fours; split += 4) {
    let at = split * count + i;
    let a = partial[at];
    let b = partial[at + count];
    let c = partial[at + 2 * count];
    let d = partial[at + 3 * count];
    sum += a;
    sum += b;
    sum += c;
    sum += d;
  }
  for (var split = fours; split < p.splits; split++) { sum += partial[split * count + i]; }
#if ${bias}
  sum += bias[i * ${step} / p.area % p.channels];
#endif
#if ${residual}
  sum += residual[i];
#endif
  out[i] = sum;
}
`
}

export function sumSplitsGrid(count: number, { vector }: Pick<SumSplitsKeys, 'vector'>): [number, number, number] {
  const { x, z } = fold(Math.ceil(count / (vector ? 4 : 1) / threads))
  return [x, 1, z]
}
