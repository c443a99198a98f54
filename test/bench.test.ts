/**
 * The bench's own arithmetic, by clocks that are told what to say, and its kernels' references by ops; that a kernel
 * which is wrong is found. No time is tested.
 */
import { deflateRawSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import {
  benchKernel,
  casesOf,
  caseOfUser,
  kernelKinds,
  readKernelText,
  compareReports,
  decodeReport,
  encodeReport,
  checkReport,
  floorOf,
  launchBound,
  measurePeaks,
  newReport,
  rooflineSvg,
  shapeGroups,
  shapeOfUser,
  spreadOf,
  stopwatchOf,
  tableOf,
  timeRuns,
  tinyShapes,
  type BenchReport,
  type KernelRow,
  type Peaks,
} from '../src/bench/index.ts'
import { deviceTest } from './op.ts'

describe('timing', () => {
  test('median and quartiles', () => {
    expect(spreadOf([5, 1, 4, 2, 3])).toEqual({ ms: 3, low: 2, high: 4, samples: 5, unsteady: true })
    expect(spreadOf([10, 10.5])).toEqual({ ms: 10.25, low: 10.125, high: 10.375, samples: 2, unsteady: false })
    expect(spreadOf([7])).toMatchObject({ ms: 7, low: 7, high: 7 })
  })

  test('a run is repeated until a sample is long enough, what warms up does not count, pieces take turns', async () => {
    const order: string[] = []
    // a takes 1 ms once it is warm, and 100 ms when it is compiled; b takes 20.
    let calls = 0
    const clock = async (run: () => void, times: number): Promise<number> => {
      run()
      const slow = order.at(-1) === 'b'
      return slow ? 20 * times : calls++ === 0 ? 100 : times
    }
    const runs = [() => void order.push('a'), () => void order.push('b')]
    const [a, b] = await timeRuns(runs, clock, { samples: 5, sampleMs: 5 })
    expect(a).toMatchObject({ ms: 1, low: 1, high: 1, samples: 5, unsteady: false })
    expect(a.chained).toBeGreaterThanOrEqual(5)
    expect(b).toMatchObject({ ms: 20, chained: 1, samples: 5 })
    expect(order.slice(-10).join('')).toBe('ababababab')
  })

  test('what is long has fewer samples, but three; an abort ends it', async () => {
    const [row] = await timeRuns([() => {}], async (_, times) => 1000 * times, { budgetMs: 10 })
    expect(row).toMatchObject({ ms: 1000, samples: 3, chained: 1 })
    const reason = new Error('enough')
    const controller = new AbortController()
    const onProgress = (done: number): void => (done === 2 ? controller.abort(reason) : undefined)
    const timed = timeRuns([() => {}], async () => 10, { signal: controller.signal, onProgress })
    await expect(timed).rejects.toBe(reason)
  })
})

const peaks: Peaks = {
  flops: 1e12,
  halfFlops: null,
  read: 1e11,
  copy: 1e11,
  workgroupRead: null,
  dispatchMicroseconds: 1,
  barrierMicroseconds: 3,
  hostMicroseconds: 2,
  submitMicroseconds: null,
  waitMilliseconds: 0.1,
  readMilliseconds: 0.2,
}
const row = (variant: string, ms: number): KernelRow => ({
  kind: 'kernel',
  group: 'g',
  op: 'conv2d 3x3',
  shape: '1 x 2>3, 4x4',
  variant,
  isDefault: variant === 'a',
  isTuned: false,
  isBest: variant === 'b',
  recorded: false,
  hostMs: 0.003,
  flops: 2e9,
  bytes: 1e6,
  dispatches: 1,
  choice: 'key',
  error: 1e-7,
  right: true,
  ms,
  low: ms * 0.99,
  high: ms * 1.01,
  samples: 21,
  chained: 4,
  unsteady: false,
})
const report = (rows: KernelRow[], adapter = 'X'): BenchReport => ({
  program: 'tweedie',
  kind: 'bench',
  version: 1,
  tweedie: '0',
  date: '2026-11-27T00:00:00Z',
  backend: 'webgpu',
  adapter,
  vendor: '',
  architecture: '',
  software: true,
  features: [],
  limits: {},
  host: 'Node',
  peaks,
  rows,
  winners: {},
})

describe('reports', () => {
  test('the floor is that of arithmetic or of bytes; a table and a roofline say it', () => {
    expect(floorOf(row('a', 4), peaks)).toBeCloseTo(2)
    expect(floorOf({ flops: 0, bytes: 1e9 }, peaks)).toBeCloseTo(10)
    const lines = tableOf([row('a', 4), row('b', 2.5)], peaks)
    expect(lines[1]).toMatch(
      /^conv2d 3x3, 1 x 2>3, 4x4: a +4\.000 +3\.960-4\.040 +500\.0 +0\.3 +50\.0 +1e-7 +default, host 3\.0 µs$/,
    )
    expect(lines[2]).toMatch(/80\.0 .*fastest, host/)
    const svg = rooflineSvg(report([row('a', 4)])) as string
    expect(svg).toMatch(/SOFTWARE/)
    expect(svg).toContain('<title>conv2d 3x3, 1 x 2&#62;3, 4x4: a: 500.0 GFLOP/s</title>')
    expect(svg).not.toMatch(/NaN|Infinity/)
    expect(rooflineSvg(report([]))).toBeNull()
    expect(rooflineSvg(report([{ ...row('a', 1e-300), flops: 1e300 }]))).toMatch(/^<svg/)
    expect(rooflineSvg(report([{ ...row('a', 4), flops: -1 }]))).toBeNull()
  })

  test('what takes no longer than its dispatches is launch-bound, in the table and in the roofline', () => {
    const short = { ...row('a', 0.0019), flops: 2e6, bytes: 1e4 }
    expect(launchBound(short, peaks)).toBe(true)
    expect(launchBound({ ...short, dispatches: 0 }, peaks)).toBe(false)
    expect(launchBound(row('a', 4), peaks)).toBe(false)
    expect(tableOf([short], peaks)[1]).toMatch(/launch-bound/)
    const svg = rooflineSvg(report([short, row('b', 4)])) as string
    // 10 kB in a microsecond: 2 GFLOP/s at 0.2 FLOP a byte.
    expect(svg).toContain('10 kB in one empty dispatch of 1 µs')
    expect(svg.match(/class="other bound"/g)).toHaveLength(1)
  })

  test('two are compared row by row; devices that differ are told', () => {
    const lines = compareReports(report([row('a', 4), row('b', 2)]), report([row('a', 2), row('c', 1)], 'Y'))
    expect(lines).toContainEqual(expect.stringMatching(/: a +4\.000 +2\.000 +0\.50$/))
    expect(lines.at(-1)).toMatch(/Only in A: 1 rows; only in B: 1\.$/)
    expect(lines).toContain('These are two devices: the ratio says nothing about the program.')
    expect(compareReports(report([row('a', 4)]), report([row('a', 4.01)]))).toContainEqual(
      expect.stringMatching(/1\.00 ~$/),
    )
  })

  test('another file is refused, and a later version', () => {
    expect(checkReport(JSON.parse(JSON.stringify(report([]))), 'a.json')).toEqual(report([]))
    expect(() => checkReport({ rows: [] }, 'a.json')).toThrow(/^a\.json: this is no report.*program: expected/)
    expect(() => checkReport({ ...report([]), version: 2 }, 'a.json')).toThrow(/version: expected 1, found 2/)
    const broken = { ...report([]), rows: [{ ...row('a', 4), ms: '<b>' }] }
    expect(() => checkReport(broken, 'a.json')).toThrow(/rows\[0\]\.ms: expected a number, found "<b>"/)
  })

  test('a link holds a report, but none of a software adapter, nor more than a link may', async () => {
    const shared = { ...report([row('a', 4)]), software: false, winners: { key: 'a' } }
    const text = await encodeReport(shared)
    expect(text).toMatch(/^[\w-]{100,1500}$/)
    expect(await decodeReport(text)).toEqual({ ...shared, winners: {} })
    await expect(encodeReport({ ...shared, software: true })).rejects.toThrow(/X is a software adapter/)
    await expect(encodeReport({ ...shared, backend: 'cpu', software: true })).resolves.toMatch(/^[\w-]+$/)
    const many = Array.from({ length: 3000 }, (_, i) => row(String(Math.sin(i)), 1 + Math.cos(i) ** 2))
    await expect(encodeReport({ ...shared, rows: many })).rejects.toThrow(/measure fewer/)
    for (const broken of ['', 'a b', text.slice(0, -9), 'A'.repeat(40_000), text.replace(/./, 'z')])
      await expect(decodeReport(broken), broken.slice(0, 20)).rejects.toThrow(/holds no report/)
  })

  test('a link that inflates to more than its bound, or to what is no report, is refused', async () => {
    const packed = (text: string): string => deflateRawSync(text).toString('base64url')
    await expect(decodeReport(packed(' '.repeat(600_000)))).rejects.toThrow(/holds no report/)
    await expect(decodeReport(packed('{"program":"tweedie"}'))).rejects.toThrow(/kind: expected/)
    await expect(decodeReport(packed(JSON.stringify(report([]))))).rejects.toThrow(/a software adapter: no GPU's/)
  })

  test('shapes: every group by its name, and one of the user', () => {
    for (const group of Object.values(shapeGroups(2))) expect(group.convolutions[0].n % 2).toBe(0)
    expect(shapeOfUser([1, 2, 3, 4, 5, 3]).convolutions).toEqual([{ n: 1, cin: 2, cout: 3, h: 4, w: 5, k: 3 }])
    for (const wrong of [
      [1, 2, 3, 4, 5],
      [1, 2, 3, 4, 5, 2],
      [0, 2, 3, 4, 5, 3],
      [1, 2, 3, 4, 5, 1.5],
    ])
      expect(() => shapeOfUser(wrong)).toThrow(/n,cin,cout,h,w,k/)
  })
})

test('the sizes of --as are as many as it has, and a user kernel is checked at some', () => {
  for (const { as, sizes, checked, at } of Object.values(kernelKinds))
    for (const numbers of checked) {
      expect(caseOfUser(as, numbers)).toMatchObject({
        as,
        sizes: Object.fromEntries(sizes.map((n, i) => [n, numbers[i]])),
      })
      const { uniforms, inputs } = at(numbers)
      expect(uniforms.length).toBeLessThanOrEqual(64)
      expect(inputs.length).toBeLessThanOrEqual(7)
    }
  expect(() => caseOfUser('matmul', [2, 3])).toThrow(/m,n,k: 3 whole numbers/)
  expect(() => caseOfUser('group-norm', [1, 6, 2, 2, 4])).toThrow(/divisor of c/)
})

test('what the text of a kernel says; null for what nobody understands', () => {
  const kernel = (memory: string, size: string): string =>
    `const tile = 16; const lanes: u32 = tile * 2u;
     @binding(0) @group(0) var<uniform> p: P; @group(0) @binding(1) var<storage, read> x: array<f32>;
     ${memory} @compute @workgroup_size(${size}) fn main() {}`
  const shared = 'var<workgroup> a: array<array<vec3<f16>, tile>, 2>; var<workgroup> b: array<vec4f, (lanes + 1)>;'
  expect(readKernelText(kernel(shared, 'tile, 4,'))).toEqual({
    storageBuffers: 1,
    uniformBuffers: 0,
    workgroupBytes: 2 * 16 * 8 + 33 * 16,
    threads: 64,
  })
  expect(readKernelText(kernel('var<workgroup> a: Mine;', 'given'))).toMatchObject({
    workgroupBytes: null,
    threads: null,
  })
})

/** Every run takes a millisecond, and none is made. */
const still = async (): Promise<number> => 1

deviceTest('every kernel in every variant is what the sums in double precision say', async (device) => {
  for (const one of casesOf({ ...tinyShapes, convolutions: tinyShapes.convolutions.slice(2) })) {
    const alive = device.stats.liveBuffers
    const rows = await benchKernel(device, 'odd', one, still)
    expect(rows.filter((found) => found.kind === 'kernel' && found.recorded)).toHaveLength(device.backend.gpu ? 1 : 0)
    for (const found of rows) expect(found, JSON.stringify(found)).toMatchObject({ kind: 'kernel', right: true })
    expect(rows.filter((found) => found.kind === 'kernel' && found.isDefault && !found.recorded)).toHaveLength(1)
    expect(device.stats.liveBuffers).toBe(alive)
  }
})

deviceTest('one that is wrong is found, at its edge too, and one that throws is told', async (device) => {
  const [good] = casesOf(tinyShapes)
  const last = { ...good, exact: (i: number) => (i === 2 * 11 * 9 * 13 - 1 ? { value: 9, scale: 1 } : good.exact(i)) }
  expect(await benchKernel(device, 'odd', last, still)).toContainEqual(expect.objectContaining({ right: false }))
  const thrown = {
    ...good,
    run: () => {
      throw new Error('no such thing')
    },
  }
  await expect(benchKernel(device, 'odd', thrown, still)).rejects.toThrow('no such thing')
})

deviceTest('peaks are measured, all above nothing', async (device) => {
  const { halfFlops, submitMicroseconds, workgroupRead, ...found } = await measurePeaks(
    device,
    await stopwatchOf(device),
    {
      bytes: 2 ** 18,
      workgroups: 4,
      samples: 3,
      sampleMs: 0,
      budgetMs: 1,
    },
  )
  for (const [name, value] of Object.entries(found)) expect(value, name).toBeGreaterThan(0)
  expect(halfFlops === null || halfFlops > 0).toBe(true)
  for (const one of [submitMicroseconds, workgroupRead]) expect(one !== null && one > 0).toBe(!!device.backend.gpu)
  expect(newReport(device, 'here')).toMatchObject({ backend: device.backend.kind, version: 1 })
})
