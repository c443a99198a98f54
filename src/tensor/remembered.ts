/**
 * What was measured on an adapter, kept between runs in the host's cache: which kernels are fastest, whether they are
 * right, and how fast it is. All that changes that is part of the adapter's name here: the driver, what hosts WebGPU,
 * and what the device was asked for.
 */
import { gpuHost, readCache, writeCache } from '#platform'
import type { Verdict } from './backend.ts'
import type { AdapterInfo } from './webgpu/adapter.ts'

/** Goes up when the file's form changes; of a kernel that changes the text tells (see {@link Winner}). */
const cacheName = 'kernels-2.json'

/** The fastest kernel of a choice, and a hash of the text of all that were measured. */
export interface Winner {
  readonly variant: string
  readonly text: string
}

/** Winners by choice: op, shape, batch and what is fused into it. */
export type Winners = { readonly [choice: string]: Winner }

/**
 * What a backend reached with a convolution of a middling size, and what a kernel costs it, the host's part included.
 */
export interface Reach {
  /** Floating-point operations a millisecond. */
  readonly flops: number
  readonly kernelMs: number
}

/** What is known of an adapter. */
export interface Remembered {
  readonly reach?: Reach
  readonly winners: Winners
  /** What `verifyDevice` of a version found. */
  readonly verdict?: Verdict & { readonly version: string }
}

/** The name under which is remembered what was measured on a device of this adapter. */
export function identityOf(info: AdapterInfo, gpuDevice: GPUDevice): string {
  const { vendor, architecture, device, description } = info
  return [vendor, architecture, device, description, gpuHost(), [...gpuDevice.features].sort().join(' ')]
    .map((part) => part ?? '')
    .join(' | ')
}

async function all(): Promise<{ [identity: string]: Partial<Remembered> | undefined }> {
  try {
    const parsed: unknown = JSON.parse((await readCache(cacheName)) ?? '{}')
    return isObject(parsed) ? (parsed as { [identity: string]: Remembered }) : {}
  } catch {
    return {}
  }
}

/** What earlier runs found; a file that somebody else wrote says nothing. */
export async function recall(identity: string): Promise<Remembered> {
  const found = (await all())[identity]
  if (!isObject(found)) return { winners: {} }
  const winners = isObject(found.winners) ? Object.entries(found.winners) : []
  return {
    winners: Object.fromEntries(winners.filter(([, winner]) => isWinner(winner))),
    ...(isReach(found.reach) && { reach: found.reach }),
    ...(isVerdict(found.verdict) && { verdict: found.verdict }),
  }
}

/** Adds to what is known. */
export async function remember(identity: string, { winners, ...others }: Partial<Remembered>): Promise<void> {
  const [known, before] = [await all(), await recall(identity)]
  const merged: Remembered = { ...before, ...others, winners: { ...before.winners, ...winners } }
  await writeCache(cacheName, JSON.stringify({ ...known, [identity]: merged }))
}

const isObject = (value: unknown): value is object =>
  value !== null && typeof value === 'object' && !Array.isArray(value)

const isWinner = (value: unknown): value is Winner =>
  isObject(value) &&
  typeof (value as Partial<Winner>).variant === 'string' &&
  typeof (value as Partial<Winner>).text === 'string'

const isReach = (value: unknown): value is Reach =>
  isObject(value) && [(value as Partial<Reach>).flops, (value as Partial<Reach>).kernelMs].every((n) => Number(n) > 0)

const isVerdict = (value: unknown): value is Remembered['verdict'] =>
  isObject(value) && Array.isArray((value as Partial<Verdict>).faults) && 'version' in value

/** A hash of texts, 64 bits as hexadecimal digits: FNV-1a from two offsets. Nobody is out to make two texts collide. */
export function hashText(texts: Iterable<string>): string {
  let [a, b] = [0x811c9dc5, 0x01000193]
  for (const text of texts) {
    for (let i = 0; i <= text.length; i++) {
      // The end of a text counts, so that what is moved from one to the next does not look the same.
      const code = i < text.length ? text.charCodeAt(i) : 0xffff
      a = Math.imul(a ^ code, 0x01000193)
      b = Math.imul(b ^ code, 0x85ebca6b) ^ (b >>> 13)
    }
  }
  return [a, b].map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('')
}
