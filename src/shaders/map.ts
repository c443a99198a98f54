import { erfWgsl } from './erf.ts'
import { noMore, wgsl } from './template.ts'
import { uniform } from './uniform.ts'

export type MapAccess = 'dense' | 'single' | 'strided'

export interface MapInput {
  readonly access: MapAccess
  readonly type: 'f32' | 'i32' | 'u32'
  /** For a strided input: whether its innermost stride is 1 (and not 0). */
  readonly inner: boolean
}

export interface MapKeys {
  readonly inputs: readonly MapInput[]
  readonly outputType: 'f32' | 'i32' | 'u32'
  readonly rank: number
  readonly scalars: number
  readonly vec4: boolean
  /** WGSL statements that compute with `x0..` (inputs as f32), `s0..` (scalars) and `number(bits)`, in the type `V`. */
  readonly body: string
  /** The WGSL expression of the result. */
  readonly result: string
}

export const mapUniform = uniform({
  lanes: 'u32',
  /** With `rank` > 1, of the axes; of the innermost in lanes. */
  extent: 'u32[]',
  /** Of every strided input, along the axes. */
  stride: 'u32[]',
  scalar: 'f32[]',
})

/**
 * Elementwise arithmetic: one output element a lane, or four where the innermost axis allows it (a dispatch's cost on
 * software adapters is subgroup starts and load sites, both of which vec4 divides by four). The arithmetic itself is
 * pasted in by the launch, which renders it from an expression.
 *
 * Bindings: 0 the uniform, 1.. the inputs, then the output.
 * Inputs are `dense` (walked as the output is), `single` (one value) or `strided`. The launch drops axes that no
 * operand needs (`collapse`), so most kernels have rank 1 and no index arithmetic at all.
 */
export function mapShader({ inputs, outputType, rank, scalars, vec4, body, result, ...rest }: MapKeys): string {
  noMore(rest)
  const lane = (type: string): string => (vec4 ? `vec4<${type}>` : type)
  const axes = Array.from({ length: rank > 1 ? rank : 0 }, (_, a) => a)
  const strided = inputs.flatMap(({ access }, k) => (access === 'strided' ? [k] : []))
  const isWide = (k: number): boolean =>
    vec4 && (inputs[k].access === 'dense' || (inputs[k].access === 'strided' && inputs[k].inner))
  const declarations = inputs.map(
    ({ type }, k) => `@group(0) @binding(${k + 1}) var<storage, read> in${k}: array<${isWide(k) ? lane(type) : type}>;`,
  )
  const unflatten = [...axes]
    .reverse()
    .map((a) => (a === 0 ? 'let i0 = rest;' : `let i${a} = rest % p.extent${a}; rest = rest / p.extent${a};`))
  const loads = inputs.map(({ access, type }, k) => {
    const element =
      access === 'dense'
        ? 'i'
        : access === 'single'
          ? '0u'
          : axes.map((a) => `i${a} * p.stride${strided.indexOf(k) * rank + a}`).join(' + ')
    const value = `in${k}[${element}]`
    // A vector that repeats one value takes it in its own type only.
    return `let x${k} = V(${type === 'f32' || isWide(k) ? value : `f32(${value})`});`
  })
  return wgsl`
${mapUniform.wgsl({ extent: axes.length, stride: strided.length * axes.length, scalar: scalars })}
${declarations.join('\n')}
@group(0) @binding(${inputs.length + 1}) var<storage, read_write> out: array<${lane(outputType)}>;

alias V = ${lane('f32')};

// A number written into the expression, by its bits. A call is no constant expression, in which WGSL allows no infinity.
fn number(bits: u32) -> V { return V(bitcast<f32>(bits)); }

// WGSL's exp may assume that nothing overflows; beyond +-88 a sigmoid is 1 or denormal.
fn sigmoid(x: V) -> V { return V(1.0) / (V(1.0) + exp(-clamp(x, V(-88.0), V(88.0)))); }

// tanh may be computed from exp; beyond +-15 it is +-1 in f32.
fn bounded_tanh(x: V) -> V { return tanh(clamp(x, V(-15.0), V(15.0))); }

${erfWgsl}
// WGSL's pow is undefined for a negative base and only good to log2's error times the exponent: whole exponents up to 3
// and the square root are exact here, a negative base works with whole exponents, any other exponent of it gives NaN.
fn power(a: V, b: V) -> V {
  let whole = floor(b) == b;
  let odd = floor(b * 0.5) * 2.0 != b;
  let size = pow(abs(a), b);
  var r = select(size, -size, (a < V(0.0)) & whole & odd);
  r = select(r, sqrt(-abs(a) - V(1.0)), (a < V(0.0)) & !whole);
  r = select(r, sqrt(a), b == V(0.5));
  r = select(r, a * a * a, b == V(3.0));
  r = select(r, a * a, b == V(2.0));
  r = select(r, a, b == V(1.0));
  r = select(r, V(1.0) / a, b == V(-1.0));
  return select(r, V(1.0), b == V(0.0));
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.x + id.y * groups.x * 64u;
  if (i >= p.lanes) { return; }
  ${axes.length > 0 ? 'var rest = i;' : ''}
  ${unflatten.join('\n  ')}
  ${Array.from({ length: scalars }, (_, k) => `let s${k} = V(p.scalar${k});`).join('\n  ')}
  ${loads.join('\n  ')}
  ${body}
  out[i] = ${lane(outputType)}(${result});
}
`
}
