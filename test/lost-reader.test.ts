/**
 * Work does not end because nobody reads what it says, and the end of a terminal saves it: processes of their own,
 * through the launcher.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { temporaryFolder } from './cli.ts'
import { npy, npz } from './data-fixtures.ts'

const at = temporaryFolder()
const root = fileURLToPath(new URL('..', import.meta.url))
const pictures = join(root, 'test/fixtures/first-training/pictures')

const start = (...argv: string[]): ChildProcess =>
  spawn(process.execPath, [join(root, 'bin/tweedie.js'), ...argv], { stdio: ['ignore', 'pipe', 'pipe'] })
const train = (out: string, images: number): ChildProcess =>
  start(
    'train',
    'features',
    '--data',
    pictures,
    '--images',
    String(images),
    '--batch',
    '2',
    '--channels',
    '2,2',
    '--ema',
    '0.5',
    '--save-every',
    '100000',
    '--out',
    at(out),
    '--backend',
    'cpu',
    '--threads',
    '1',
  )
const ended = (child: ChildProcess): Promise<number | string | null> =>
  new Promise((resolve) => child.on('exit', (code, signal) => resolve(code ?? signal)))
/** Calls `then` once the child has said `text` on standard error. */
const onSaying = (child: ChildProcess, text: string, then: () => void): void => {
  let said = ''
  child.stderr!.on('data', (chunk: Buffer) => {
    said += chunk.toString()
    if (!said.includes(text)) return
    said = ''
    then()
  })
}

// Windows has neither these signals nor pipes that break so.
if (process.platform !== 'win32')
  describe('a process', () => {
    test('whose standard error and output nobody reads any more trains to the end', async () => {
      const child = train('unread', 60)
      child.stdout!.destroy()
      onSaying(child, 'images;', () => child.stderr!.destroy())
      expect(await ended(child)).toBe(0)
      expect(readdirSync(at('unread'))).toContain('features.safetensors')
    })

    test('whose terminal is closed saves and ends with 129', async () => {
      const child = train('closed', 2_000_000)
      // The first line after the first steps.
      onSaying(child, '; loss', () => {
        child.stderr!.destroy()
        child.kill('SIGHUP')
      })
      expect(await ended(child)).toBe(129)
      expect(readdirSync(at('closed'))).toContain('state.safetensors')
    })

    test('of a recipe whose plan nobody reads to the end goes on with it', async () => {
      const data = at('cells.npz')
      writeFileSync(
        data,
        npz({
          images: npy('|u1', [8, 32, 32, 3], new Uint8Array(8 * 3072)),
          source_image: npy('|u1', [8], [0, 1, 2, 3, 4, 5, 6, 7]),
        }),
      )
      const child = start(
        'recipe',
        'blood-cells',
        '--data',
        data,
        '--out',
        at('recipe'),
        '--images',
        '32',
        '--backend',
        'cpu',
        '--threads',
        '1',
      )
      child.stdout!.once('data', () => child.stdout!.destroy())
      onSaying(child, '[2/7] train diffusion', () => child.kill('SIGTERM'))
      expect(await ended(child)).toBe(143)
      expect(existsSync(join(at('recipe'), 'split.json'))).toBe(true)
    })
  })
