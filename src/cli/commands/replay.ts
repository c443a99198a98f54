/** `tweedie replay`: makes the files of a run again from its run.json, and says whether they came out the same. */
import { basename, dirname, join, resolve } from 'node:path'
import { TweedieError } from '../../errors.ts'
import { exists } from '../../io/file.node.ts'
import { fail, parseArguments, type Command } from '../arguments.ts'
import { deviceOptions, onDevice } from '../options/device.ts'
import { sha256sOf } from '../files.ts'
import { file, images, output, readsPath, type AnyDefault, type Option, type OptionTable } from '../option.ts'
import { guidanceOptions } from '../options/guidance.ts'
import { upsamplerOptions } from '../options/upsampler.ts'
import { sampleOptions, type SampleOption } from '../options/sample.ts'
import { placeOf } from '../shipped.ts'
import type { RunRecord } from '../../tweedie/run-record.ts'
import { readRecord } from '../sampling/run-record.ts'
import { runSample, sample } from './sample.ts'
import { print } from '../print.ts'

/** What a run reads, its networks first. */
const reads = [
  ...new Set([
    'model',
    ...Object.keys({ ...guidanceOptions, ...upsamplerOptions, ...sampleOptions }),
  ] as SampleOption[]),
].filter((name) => readsPath(sampleOptions[name]))

/** The same as options of `replay`: where it lies now. */
const moved = Object.fromEntries(
  reads.map((name, i) => {
    const { path, called }: Option = sampleOptions[name]
    const help = i === 0 ? `where ${called} lies now, if it was moved` : `the same for ${called}`
    return [name, path === 'images' ? images({ value: 'DATA', help }) : file({ value: 'FILE', help })]
  }),
)

const options: OptionTable & AnyDefault<typeof deviceOptions> = {
  out: output({
    value: 'DIR',
    help: 'folder for the results, not that of a finished run',
    otherwise: 'that of run.json, if none of its pictures is there any more',
  }),
  ...moved,
  ...deviceOptions,
  backend: { ...deviceOptions.backend, default: undefined, otherwise: 'that of the run' },
  simd: { ...deviceOptions.simd, default: undefined, otherwise: 'that of the run, where there is a choice' },
}

export const replay: Command<typeof options> = {
  name: 'replay',
  usage: 'run.json [options]',
  summary: 'make the files of a run again, from its run.json',
  options,
  positionals: [1, 1],
  notes: [
    'The weights must be those of the run: their sha256 is compared. On the same adapter, and on any CPU without ' +
      'relaxed SIMD, the pictures are the same to the byte; elsewhere a few pixels may differ by one.',
  ],
  examples: ['replay out/sample/run.json --out out/again'],
  async run(argv, session) {
    const args = parseArguments(replay, argv)
    onDevice(session, args) // its mistakes before the files are read
    const [path] = args.positionals as [string]
    const old = (await readRecord(path)) ?? fail(`cannot read ${path}: there is no such file.`)
    const merged: Record<string, string | number | boolean> = { ...old.options }
    for (const name of reads) {
      const moved = args.text(name)
      if (moved !== undefined && merged[name] === undefined) fail(`--${name}: the run had none.`)
      if (moved !== undefined) merged[name] = moved
      const expected = old.sha256[name]
      if (merged[name] === undefined) continue
      if (expected === undefined)
        throw new TweedieError(
          'format',
          `${path}: its sha256 lacks that of --${name}, without which nobody knows what the run read. The file is ` +
            'damaged, or was made by hand: nothing is read or written.',
        )
      const place = placeOf(String(merged[name]))
      const opening = { signal: session.signal, skipBad: merged['skip-bad'] === true }
      const found = await sha256sOf(sampleOptions[name], place, opening).catch((error: NodeJS.ErrnoException) =>
        error.code === 'ENOENT'
          ? fail(`${place} is not there: --${name} FILE says where it is now. Its sha256 is ${expected}.`)
          : Promise.reject(error),
      )
      if (!found.includes(expected))
        fail(`${place} is not the file of the run: its sha256 is ${found[0]}, expected ${expected}.`)
      merged[name] = place
    }
    // Whatever is published for its network by now.
    if (merged.upsampler !== undefined) merged['upsampler-respacing'] ??= ''
    merged.out = args.text('out') ?? dirname(path)
    // A record may name any file: nothing is written outside the folder.
    for (const name of ['save', 'npz'])
      if (merged[name] !== undefined) merged[name] = join(merged.out, basename(String(merged[name])))
    await refuseFinished(path, old, merged.out)
    const unknown = Object.keys(merged).filter((name) => !Object.hasOwn(sampleOptions, name))
    if (unknown.length > 0)
      fail(`${path} was written by tweedie ${old.version}, whose option --${unknown[0]} this version does not have.`)
    // Until November 2026 models without variance head were drawn with FIXED_SMALL; others take no notice of it.
    if (merged.model !== undefined) merged['sigma-small'] ??= true
    // Then, too, self-guidance took grey images for those in [0, 1]; others take no notice of it.
    if (merged['guide-weight'] !== undefined) merged['grey-range'] ??= '0..1'
    const { backend, architecture } = old.adapter
    Object.assign(merged, {
      backend: args.text('backend') ?? backend,
      simd: args.text('simd') ?? (architecture === 'wasm-simd' ? 'plain' : 'auto'),
    })
    if (args.has('threads')) merged.threads = args.required('threads')
    const record = await runSample(
      parseArguments(
        sample,
        Object.entries(merged).map(([name, value]) => `--${name}=${String(value)}`),
      ),
      session,
      old.kernels,
    )
    const same = record.samples.filter(({ sha256 }, k) => sha256 === old.samples[k]?.sha256).length
    const elsewhere = same < old.samples.length && record.adapter.name !== old.adapter.name
    const where = elsewhere ? ` (then: ${old.adapter.name}, now: ${record.adapter.name})` : ''
    print(`${same} of ${old.samples.length} pictures are the same to the byte${where}.`)
  },
}

/** The pictures of a finished run are not drawn over: what comes out now may differ, on another machine say. */
async function refuseFinished(path: string, { samples }: RunRecord, out: string): Promise<void> {
  if (resolve(out) === resolve(dirname(path))) {
    for (const { file } of samples) {
      if (await exists(join(out, basename(file))))
        fail(`${out} holds the pictures of the run: --out DIR makes them again in another folder, and compares.`)
    }
  } else if ((await readRecord(join(out, 'run.json')))?.status === 'done') {
    fail(`${out} holds a finished run: choose another --out.`)
  }
}
