/** `tweedie bench`: what this machine's device reaches, and how near the kernels and the networks come to it. */
import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import {
  benchKernel,
  benchNetwork,
  caseOfUser,
  checkOwn,
  checkReport,
  compareReports,
  formulaNetwork,
  kernelKinds,
  gridOf,
  headOf,
  measurePeaks,
  needOf,
  networkConfigs,
  newReport,
  ownKinds,
  passes,
  peakLines,
  plannedCases,
  readKernelText,
  rooflineSvg,
  runOwn,
  shapeGroups,
  shapeOfUser,
  stopwatchOf,
  tableOf,
  withRows,
  type BenchReport,
  type PlannedCase,
  type OwnKernel,
  type Row,
} from '../../bench/index.ts'
import { writeText } from '../../io/file.node.ts'
import { jsonText } from '../../io/json.ts'
import { verifyDevice, type Device } from '../../tensor/index.ts'
import { fail, parseArguments, type Arguments, type Command } from '../arguments.ts'
import { choice, file, flag, integer, integers, output, text } from '../option.ts'
import { deviceOptions, onDevice } from '../options/device.ts'
import { beginningOf, claimOutputs, inputsOf, jsonOf, keepsOthers } from '../outputs.ts'
import { progress, slowProgress } from '../progress.ts'
import { print } from '../print.ts'

const networkNames = Object.keys(networkConfigs) as (keyof typeof networkConfigs)[]
const groupNames = Object.keys(shapeGroups())

const options = {
  ...deviceOptions,
  shapes: text({
    value: 'NAMES',
    help: `which shapes, with commas between: ${groupNames.join(', ')}, all, or none`,
    default: 'toy,adm-32,adm-8',
  }),
  shape: integers({
    value: 'N,CIN,COUT,H,W,K',
    help: 'a convolution of yours instead, as in 1,192,192,64,64,3; with --as the sizes of that',
  }),
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
  verify: flag({
    help: 'hold every kernel in every variant against the CPU first; on a GPU that is always done, once a version',
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
  as: choice(ownKinds, { help: 'only this: what the kernel of --wgsl computes, or what --shape is of' }),
  grid: text({
    value: 'X,Y,Z',
    help: 'its workgroups, of the sizes of --as (n, cin, cout, h, w) and px = n h w; a convolution has a default',
    otherwise: 'ceil(px/64),ceil(cout/64),1',
  }),
  winners: file({
    value: 'FILE',
    help: 'an earlier --json: its fastest variants compute the networks; else those that device.tune remembered here',
    called: 'the report',
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
    'A kernel of yours (--wgsl) has the entry point main, a uniform with the sizes at binding 0 of group 0, then ' +
      'what it reads, then what it writes. Sizes, by --as, in the order of --shape: ' +
      `${Object.entries(kernelKinds)
        .filter(([name]) => !/^conv.*(1x1|gradient)/.test(name))
        .map(([name, { sizes }]) => `${name} ${sizes.join(',')}`)
        .join('; ')}. bench/README.md has the bindings of each.`,
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
    const own = wgsl === undefined ? null : await ownOf(args, wgsl)
    if (!own && args.has('grid')) fail('--grid is for a kernel of --wgsl.')
    const winners = args.get('winners') === undefined ? null : await reportOf(args.get('winners') as string)
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
    print(headOf(started))
    if (winners && winners.adapter !== device.adapter.name)
      fail(`--winners: those are of ${winners.adapter}, and this is ${device.adapter.name}.`)
    for (const [key, variant] of Object.entries(winners?.winners ?? {})) device.kernels.set(key, variant)
    if (own) {
      print(factsOf(own))
      await checkOwn(device, own, signal)
    }
    const trusted = device.adapter.software || device.backend.kind === 'cpu'
    const asked = args.get('verify') ?? false
    const faults = asked || !trusted ? await faultsOf(device, asked, signal) : 0
    const report = await measured(device, started, { args, groups, networks, batch, own, signal })
    if (json !== undefined) await writeText(json, `${jsonText(report, json)}\n`, signal)
    if (svg !== undefined) await writeText(svg, rooflineSvg(report) ?? fail('--svg: no row has arithmetic.'), signal)
    const wrong = report.rows.filter((row) => row.kind === 'failed' || !row.right)
    if (wrong.length > 0) fail(`${wrong.length} rows did not run or were wrong: see WRONG above.`)
    if (faults > 0) fail(`This device computed otherwise than the CPU in ${faults} cases: see WRONG above.`)
  },
}

/** How often the device computed something else than the CPU, each of which is told. */
async function faultsOf(device: Device, again: boolean, signal: AbortSignal): Promise<number> {
  const bar = slowProgress('Verifying', 'kernels')
  try {
    const { kernels, faults } = await verifyDevice(device, { again, signal, onProgress: bar.update })
    bar.stop()
    for (const { kernel, run, error } of faults)
      print(`WRONG: ${kernel}, run ${run}: off by ${error.toPrecision(2)} of the largest value`)
    if (faults.length === 0) print(`${kernels} kernels and variants compute what the CPU does, again and again.\n`)
    return faults.length
  } finally {
    bar.stop()
  }
}

interface Group {
  readonly key: string
  readonly name: string
  readonly cases: readonly PlannedCase[]
}

interface Wanted {
  readonly args: Arguments<typeof options>
  readonly groups: readonly Group[]
  readonly networks: readonly (keyof typeof networkConfigs)[]
  readonly batch: number
  readonly own: OwnKernel | null
  readonly signal: AbortSignal
}

const batchOf = (name: string, batch: number): number => (name === 'toy' ? 8 * batch : batch)

async function ownOf(args: Arguments<typeof options>, path: string): Promise<OwnKernel> {
  const as = args.get('as') ?? 'conv2d-3x3'
  const grid = args.get('grid') ?? (kernelKinds[as].sizes.includes('cout') ? 'ceil(px/64),ceil(cout/64),1' : undefined)
  return {
    name: basename(path),
    wgsl: await readFile(path, 'utf8'),
    as,
    grid: gridOf(grid ?? fail(`--as ${as} needs --grid, of ${kernelKinds[as].sizes.join(', ')}.`), as),
  }
}

/** What is known of it before it runs. */
function factsOf({ name, wgsl, as }: OwnKernel): string {
  const { threads, workgroupBytes, storageBuffers } = readKernelText(wgsl)
  const said = (n: number | null, words: string): string => `${n ?? 'an unknown number of'} ${words}`
  return `${name} as ${as}: ${[
    said(threads, 'threads in a workgroup'),
    said(workgroupBytes, 'bytes of workgroup memory'),
    said(storageBuffers, 'storage buffers'),
  ].join(', ')}`
}

async function measured(
  device: Device,
  report: BenchReport,
  { args, groups, networks, batch, own, signal }: Wanted,
): Promise<BenchReport> {
  const stopwatch = await stopwatchOf(device)
  const timing = { samples: args.get('samples'), budgetMs: args.get('budget'), signal }
  const small = device.adapter.software ? { bytes: 2 ** 25, workgroups: 256 } : {}
  const peaks = await measurePeaks(device, stopwatch, { ...timing, ...small })
  print(`${peakLines(peaks, report.features).join('\n')}\n`)
  const rows: Row[] = []
  const shown = (found: readonly Row[]): void => {
    rows.push(...found)
    print(`${tableOf(found, peaks).join('\n')}\n`)
  }
  const total = groups.reduce((sum, { cases }) => sum + cases.length, 0) + networks.length * passes.length
  const bar = progress('Measuring', total, 'kernels and passes')
  let done = 0
  try {
    for (const { key, name, cases } of groups) {
      const found: Row[] = []
      for (const { make } of cases) {
        const one = make()
        const yours = own?.as === one.as && {
          own: { name: own.name, run: (inputs: Parameters<typeof one.run>[0]) => runOwn(device, own, one, inputs) },
        }
        const cold = args.get('cold') ?? false
        found.push(...(await benchKernel(device, key, one, stopwatch, { ...timing, cold, ...yours })))
        bar.update(++done)
      }
      if (found.length > 0) {
        print(name)
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
      print('whole passes')
      shown(found)
    }
  } finally {
    bar.stop()
  }
  return withRows({ ...report, peaks }, rows)
}

function groupsOf(args: Arguments<typeof options>): Group[] {
  const [yours, as] = [args.get('shape'), args.get('as') ?? (args.has('wgsl') ? 'conv2d-3x3' : undefined)]
  const wanted = (list: readonly PlannedCase[]): PlannedCase[] => list.filter((one) => !as || one.as === as)
  if (yours) {
    if (args.has('shapes')) fail('--shapes and --shape: give one of them.')
    const group = { key: 'yours', name: 'your shape' }
    // Six numbers are a convolution's, the last of them its side, whatever part of it --as names.
    if (!as || (as.startsWith('conv') && yours.length === 6)) {
      const cases = wanted(plannedCases(shapeOfUser(yours)))
      return cases.length > 0 ? [{ ...group, cases }] : fail(`--as ${as}: the last number of --shape says otherwise.`)
    }
    const one = caseOfUser(as, yours)
    return [{ ...group, cases: [{ as, make: () => one }] }]
  }
  const groups = shapeGroups(args.get('batch'))
  const names = args.get('shapes')
  const chosen = names === 'all' ? groupNames : names === 'none' ? [] : names.split(',')
  const found = chosen.map((key) => {
    const group =
      groups[key] ?? fail(`--shapes: expected some of ${groupNames.join(', ')}, all or none, found "${key}".`)
    return { key, name: group.name, cases: wanted(plannedCases(group)) }
  })
  if (chosen.length > 0 && found.every(({ cases }) => cases.length === 0))
    fail(`--as ${as}: no shape of ${names} has that; --shape gives one.`)
  return found
}

/** The words with which a roofline begins. */
const keepsRooflines = async (path: string): Promise<string | null> =>
  (await beginningOf(path, 400)).includes('aria-label="Roofline')
    ? null
    : 'holds no roofline, and nothing else is replaced'

const reportOf = async (path: string): Promise<BenchReport> =>
  checkReport((await jsonOf(path)) ?? fail(`${path}: no report is there.`), path)

async function showBoth(first: string, second: string): Promise<void> {
  const [a, b] = await Promise.all([first, second].map(reportOf))
  print(compareReports(a, b).join('\n'))
}
