/** `tweedie bench`: what this machine's device reaches, and how near the kernels and the networks come to it. */
import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import {
  benchKernel,
  benchNetwork,
  casesOf,
  checkOwn,
  checkReport,
  compareReports,
  formulaNetwork,
  gridOf,
  headOf,
  measurePeaks,
  needOf,
  networkConfigs,
  newReport,
  ownKinds,
  passes,
  peakLines,
  rooflineSvg,
  runOwn,
  shapeGroups,
  shapeOfUser,
  sideOf,
  stopwatchOf,
  tableOf,
  withRows,
  type BenchReport,
  type ConvolutionShape,
  type OwnKernel,
  type Row,
  type ShapeGroup,
} from '../../bench/index.ts'
import { writeText } from '../../io/file.node.ts'
import { jsonText } from '../../io/json.ts'
import type { Device } from '../../tensor/index.ts'
import { fail, parseArguments, type Arguments, type Command } from '../arguments.ts'
import { choice, file, flag, integer, integers, output, text } from '../option.ts'
import { deviceOptions, onDevice } from '../options/device.ts'
import { beginningOf, claimOutputs, inputsOf, jsonOf, keepsOthers } from '../outputs.ts'
import { progress } from '../progress.ts'

const networkNames = Object.keys(networkConfigs) as (keyof typeof networkConfigs)[]
const groupNames = Object.keys(shapeGroups())

const options = {
  ...deviceOptions,
  shapes: text({
    value: 'NAMES',
    help: `which shapes, with commas between: ${groupNames.join(', ')}, all, or none`,
    default: 'toy,adm-32,adm-8',
  }),
  shape: integers({ value: 'N,CIN,COUT,H,W,K', help: 'a convolution of yours instead, as in 1,192,192,64,64,3' }),
  batch: integer({
    value: 'N',
    min: 1,
    max: 64,
    help: 'images at once; the small network has 8 times it',
    default: '1',
  }),
  network: choice([...networkNames, 'all', 'none'], {
    help: 'whole passes too; adm-64 takes 1.2 GB for its weights alone, and minutes on a CPU',
    default: 'toy',
  }),
  cold: flag({ help: 'inputs take turns that are larger than any cache' }),
  samples: integer({ value: 'N', min: 3, max: 1000, help: 'samples of a figure, where there is time', default: '21' }),
  budget: integer({
    value: 'MS',
    min: 1,
    max: 600_000,
    help: 'milliseconds for the samples of a figure; it has 3 at least',
    default: '1000',
  }),
  wgsl: file({ value: 'FILE', help: 'a kernel of yours, checked, and then a row beside ours', called: 'the kernel' }),
  as: choice(ownKinds, { help: 'what it computes', default: 'conv2d-3x3' }),
  grid: text({
    value: 'X,Y,Z',
    help: 'its workgroups, of n, cin, cout, h, w and px = n h w',
    default: 'ceil(px/64),ceil(cout/64),1',
  }),
  json: output({ value: 'FILE', help: 'all figures; --compare reads it, and its winners are the fastest variants' }),
  svg: output({ value: 'FILE', help: 'the roofline' }),
  compare: file({ value: 'A.json', help: 'measures nothing: this file and a second one, B.json, side by side' }),
}

export const bench: Command<typeof options> = {
  name: 'bench',
  usage: '[options] | --compare A.json B.json',
  summary: 'measure the device, the kernels in every variant, and networks',
  options,
  positionals: [0, 1],
  notes: [
    'Every kernel is held against sums in double precision before it is timed. A figure is the median of samples ' +
      'that take turns, with its quartiles; "unsteady" marks those a tenth apart. "% of peak" is what the device, as ' +
      'measured here at the beginning, would take for the arithmetic or for the bytes, over what was taken. GPU ' +
      "kernels are timed by the GPU's clock where it has one, networks by the wall clock.",
    'A kernel of yours (--wgsl) has the entry point main, the uniform of bench/README.md at binding 0 of group 0, x ' +
      '[n, cin, h, w] and weight [cout, cin, k, k] to read at 1 and 2, and y [n, cout, h, w] to write at 3.',
    'Software adapters (lavapipe, SwiftShader) compute on the CPU: their figures are no GPU figures.',
  ],
  examples: [
    'bench --json today.json --svg roofline.svg',
    'bench --shape 1,192,192,64,64,3 --backend webgpu',
    "bench --backend webgpu --wgsl mine.wgsl --as conv2d-3x3 --grid 'ceil(px/64),ceil(cout/64),1'",
    'bench --compare before.json after.json',
  ],
  async run(argv, session) {
    const args = parseArguments(bench, argv)
    const { signal, requestDevice } = onDevice(session, args)
    const compare = args.get('compare')
    const [second] = args.positionals
    if (compare !== undefined) return showBoth(compare, second ?? fail('--compare A.json needs a second file, B.json.'))
    if (second !== undefined) fail(`"${second}" is too much: two files are compared by --compare A.json B.json.`)
    const groups = groupsOf(args)
    const wgsl = args.get('wgsl')
    if (wgsl === undefined && (args.has('as') || args.has('grid'))) fail('--as and --grid are for a kernel of --wgsl.')
    const own: OwnKernel | null = wgsl
      ? { name: basename(wgsl), wgsl: await readFile(wgsl, 'utf8'), as: args.get('as'), grid: gridOf(args.get('grid')) }
      : null
    if (own && args.get('backend') === 'cpu') fail('--wgsl runs on WebGPU: --backend cpu cannot take it.')
    const [json, svg] = [args.get('json'), args.get('svg')]
    await using _ = await claimOutputs({
      command: 'bench',
      inputs: inputsOf(args),
      files: [
        ...(json === undefined ? [] : [{ option: '--json', path: json, keeps: keepsOthers('bench') }]),
        ...(svg === undefined ? [] : [{ option: '--svg', path: svg, keeps: keepsRooflines }]),
      ],
    })
    const wanted = args.get('network')
    const networks = wanted === 'all' ? networkNames : wanted === 'none' ? [] : [wanted]
    const batch = args.get('batch')
    const needs = networks.map((name) => needOf(networkConfigs[name], batchOf(name, batch), 'training'))
    const largest = (key: 'bytes' | 'largestBuffer'): number => Math.max(2 ** 27, ...needs.map((need) => need[key]))
    using device = await requestDevice({
      ...(needs.length > 0 && { need: { bytes: largest('bytes'), largestBuffer: largest('largestBuffer') } }),
      ...(own && { backend: 'webgpu' }),
      signal,
    })
    const started = newReport(device, `Node ${process.version.slice(1)}`)
    console.log(headOf(started))
    if (own) await checkOwn(device, own, signal)
    const report = await measured(device, started, { args, groups, networks, batch, own, signal })
    if (json !== undefined) await writeText(json, `${jsonText(report, json)}\n`, signal)
    if (svg !== undefined) await writeText(svg, rooflineSvg(report) ?? fail('--svg: no row has arithmetic.'), signal)
    const wrong = report.rows.filter((row) => row.kind === 'failed' || !row.right)
    if (wrong.length > 0) fail(`${wrong.length} rows did not run or were wrong: see WRONG above.`)
  },
}

interface Wanted {
  readonly args: Arguments<typeof options>
  readonly groups: readonly (readonly [string, ShapeGroup])[]
  readonly networks: readonly (keyof typeof networkConfigs)[]
  readonly batch: number
  readonly own: OwnKernel | null
  readonly signal: AbortSignal
}

const batchOf = (name: string, batch: number): number => (name === 'toy' ? 8 * batch : batch)

async function measured(
  device: Device,
  report: BenchReport,
  { args, groups, networks, batch, own, signal }: Wanted,
): Promise<BenchReport> {
  const stopwatch = await stopwatchOf(device)
  const timing = { samples: args.get('samples'), budgetMs: args.get('budget'), signal }
  const small = device.adapter.software ? { bytes: 2 ** 25, workgroups: 256 } : {}
  const peaks = await measurePeaks(device, stopwatch, { ...timing, ...small })
  console.log(`${peakLines(peaks).join('\n')}\n`)
  const rows: Row[] = []
  const shown = (found: readonly Row[]): void => {
    rows.push(...found)
    console.log(`${tableOf(found, peaks).join('\n')}\n`)
  }
  const cases = groups.map(([name, group]) => ({ name, group, list: [...casesOf(group)] }))
  const total = cases.reduce((sum, { list }) => sum + list.length, 0) + networks.length * passes.length
  const bar = progress('Measuring', total, 'kernels and passes')
  let done = 0
  try {
    for (const { name, group, list } of cases) {
      const found: Row[] = []
      for (const one of list) {
        const shape = own && convolutionOf(own, group, one.op)
        const options_ = { ...timing, cold: args.get('cold') ?? false }
        const yours = shape && {
          own: { name: own.name, run: (inputs: Parameters<typeof one.run>[0]) => runOwn(device, own, shape, inputs) },
        }
        found.push(...(await benchKernel(device, name, one, stopwatch, { ...options_, ...yours })))
        bar.update(++done)
      }
      if (found.length > 0) {
        console.log(group.name)
        shown(found)
      }
    }
    for (const name of networks) {
      using model = await formulaNetwork(device, networkConfigs[name], signal)
      const found: Row[] = []
      for (const pass of passes) {
        found.push(...(await benchNetwork(device, name, model, pass, batchOf(name, batch), timing)))
        bar.update(++done)
      }
      console.log('whole passes')
      shown(found)
    }
  } finally {
    bar.stop()
  }
  return withRows({ ...report, peaks }, rows)
}

/** The convolution of `group` that the kernel stands for, if this row is one. */
const convolutionOf = ({ as }: OwnKernel, group: ShapeGroup, op: string): ConvolutionShape | null =>
  op === `conv2d ${sideOf(as)}x${sideOf(as)}` ? (group.convolutions.find(({ k }) => k === sideOf(as)) ?? null) : null

function groupsOf(args: Arguments<typeof options>): [string, ShapeGroup][] {
  const yours = args.get('shape')
  if (yours) {
    if (args.has('shapes')) fail('--shapes and --shape: give one of them.')
    return [['yours', shapeOfUser(yours)]]
  }
  const groups = shapeGroups(args.get('batch'))
  const names = args.get('shapes')
  const chosen = names === 'all' ? groupNames : names === 'none' ? [] : names.split(',')
  return chosen.map((name) => [
    name,
    groups[name] ?? fail(`--shapes: expected some of ${groupNames.join(', ')}, all or none, found "${name}".`),
  ])
}

/** The words with which a roofline begins. */
const keepsRooflines = async (path: string): Promise<string | null> =>
  (await beginningOf(path, 400)).includes('aria-label="Roofline')
    ? null
    : 'holds no roofline, and nothing else is replaced'

async function showBoth(first: string, second: string): Promise<void> {
  const [a, b] = await Promise.all(
    [first, second].map(async (path) =>
      checkReport((await jsonOf(path)) ?? fail(`${path}: no report is there.`), path),
    ),
  )
  console.log(compareReports(a, b).join('\n'))
}
