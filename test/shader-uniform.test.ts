/** One description of a kernel's uniform gives both its WGSL and its words: they must agree on the device too. */
import { afterEach, expect, test, vi } from 'vitest'
import { uniform } from '../src/shaders/uniform.ts'
import { softmax } from '../src/tensor/index.ts'
import { launches } from '../src/tensor/webgpu/launches/index.ts'
import { backends, deviceTest, type BackendName } from './op.ts'

afterEach(() => void vi.restoreAllMocks())

const mixed = uniform({ count: 'u32', extent: 'u32[]', scale: 'f32', shift: 'i32', scalar: 'f32[]' })

test('fields in order, lists as many as the kernel says', () => {
  expect(mixed.wgsl({ extent: 2, scalar: 1 })).toBe(
    'struct Params { count: u32, extent0: u32, extent1: u32, scale: f32, shift: i32, scalar0: f32 }\n' +
      '@group(0) @binding(0) var<uniform> p: Params;',
  )
  expect(uniform({ rows: 'u32' }).wgsl()).toContain('struct Params { rows: u32 }')
  // By name, not by place.
  expect(mixed.words({ scalar: [-2], shift: -3, scale: 0.5, extent: [7, 8], count: 9 })).toEqual([
    9, 7, 8, 0x3f000000, -3, 0xc0000000,
  ])
  expect(mixed.words({ scalar: [], shift: 0, scale: 0, extent: [], count: 1 })).toEqual([1, 0, 0])
})

test('the compiler refuses a field too few, too many or misspelt, and a list that is not counted', () => {
  const rows = uniform({ rows: 'u32', length: 'u32' })
  // @ts-expect-error length is missing
  rows.words({ rows: 1 })
  // @ts-expect-error no such field
  rows.words({ rows: 1, length: 2, lengths: 3 })
  // @ts-expect-error of the list extent there is no count
  mixed.wgsl({ scalar: 1 })
  // @ts-expect-error a list
  expect(() => mixed.words({ scalar: 1, shift: 0, scale: 0, extent: [], count: 1 })).toThrow()
})

deviceTest(
  'a kernel finds every value in the field of its name',
  async (device) => {
    const fields = [
      'f32(p.count)',
      'f32(p.extent0)',
      'f32(p.extent1)',
      'p.scale',
      'f32(p.shift)',
      'p.scalar0',
      'p.scalar1',
    ]
    vi.spyOn(launches, 'softmax').mockImplementation((encoder, _, [input], [output]) =>
      encoder.dispatch({
        key: 'uniform test',
        code: () => `${mixed.wgsl({ extent: 2, scalar: 2 })}
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1)
fn main() { ${fields.map((field, i) => `y[${i}] = x[${i}] + ${field};`).join(' ')} }`,
        uniforms: mixed.words({ scalar: [1.5, -1e-3], extent: [3, 4], scale: Infinity, shift: -7, count: 2 ** 20 }),
        read: [input],
        write: [output],
        grid: [1, 1, 1],
      }),
    )
    using x = device.tensor(fields.map(() => 0))
    using y = softmax(x)
    expect([...(await y.read())]).toEqual([2 ** 20, 3, 4, Infinity, -7, 1.5, Math.fround(-1e-3)])
  },
  { on: backends.filter((name: BackendName) => name === 'webgpu') },
)
