/** What was measured in earlier runs: which kernel is fastest, by adapter. */
import { readCache } from '#platform'
import type { AdapterDescription } from '../backend.ts'

/** Goes up when a kernel changes, so that what was measured with the old one is forgotten. */
export const cacheName = 'kernels-1.json'

export type Remembered = { [adapter: string]: { [key: string]: string } }

export const nameOf = ({ vendor, architecture, name }: AdapterDescription): string =>
  [vendor, architecture, name].join(' | ')

export async function remembered(): Promise<Remembered> {
  try {
    const parsed: unknown = JSON.parse((await readCache(cacheName)) ?? '{}')
    return parsed !== null && typeof parsed === 'object' ? (parsed as Remembered) : {}
  } catch {
    return {}
  }
}

/** Puts what earlier runs found on this adapter into `choices`. */
export async function recallChoices(choices: Map<string, string>, adapter: AdapterDescription): Promise<void> {
  for (const [key, variant] of Object.entries((await remembered())[nameOf(adapter)] ?? {}))
    if (typeof variant === 'string') choices.set(key, variant)
}
