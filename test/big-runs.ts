/** Runs whose thousands of pictures are drawn already, all the same file: what is left is to finish them. */
import { createHash } from 'node:crypto'
import { linkSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { encode } from 'fast-png'
import { sampleFile, type RunRecord } from '../src/tweedie/run-record.ts'

const fixture = (name: string): string => join(fileURLToPath(new URL('fixtures/first-formats/', import.meta.url)), name)

/** A picture of noise, which no PNG makes smaller. */
function noise(side: number): Uint8Array {
  let state = 1
  const data = Uint8Array.from(
    { length: 3 * side * side },
    () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24,
  )
  return encode({ width: side, height: side, channels: 3, depth: 8, data })
}

/**
 * Makes the folder of a run of `number` samples of `side` x `side` that lacks only its report; the
 * arguments that finish it.
 */
export function drawnAlready(folder: string, number: number, side: number): string[] {
  mkdirSync(folder)
  const png = noise(side)
  const sha256 = createHash('sha256').update(png).digest('hex')
  let source = ''
  const samples = Array.from({ length: number }, (_, k) => {
    const file = sampleFile(k, number)
    // A file system gives a file some 65,000 names at most.
    if (k % 60_000 === 0) writeFileSync((source = join(folder, file)), png)
    else linkSync(source, join(folder, file))
    return { file, sha256, score: (k * 7919) % number }
  })
  const record = JSON.parse(readFileSync(fixture('finished/run.json'), 'utf8')) as RunRecord
  const [timing] = record.seconds.batches
  const unfinished: RunRecord = {
    ...record,
    status: 'unfinished',
    samples,
    options: { ...record.options, number, batch: 16 },
    seconds: { load: 0, batches: Array.from({ length: Math.ceil(number / 16) }, () => timing) },
  }
  writeFileSync(join(folder, 'run.json'), JSON.stringify(unfinished))
  return [
    'sample',
    '--model',
    fixture('model.safetensors'),
    '--respacing',
    '50',
    '--seed',
    '5',
    '--number',
    String(number),
    '--batch',
    '16',
    '--backend',
    'cpu',
    '--threads',
    '1',
    '--out',
    folder,
  ]
}
