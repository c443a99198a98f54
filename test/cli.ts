/** Running the command line inside a test: its exit code and what it printed, line by line. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, vi } from 'vitest'
import { main } from '../src/cli/main.ts'
import { Device, type DeviceRequest } from '../src/tensor/index.ts'
import { openCheckpoint, openFile } from '../src/io/index.node.ts'

/** The shipped weights. */
export const weights = fileURLToPath(new URL('../weights/bccd32-adm.safetensors', import.meta.url))

export interface Printed {
  readonly code: number
  readonly out: string[]
  readonly err: string[]
}

/** Runs `tweedie argv` in this process. */
export async function tweedie(argv: readonly string[], session?: Parameters<typeof main>[1]): Promise<Printed> {
  const lines = { log: [] as string[], error: [] as string[] }
  const spies = (['log', 'error'] as const).map((name) =>
    vi.spyOn(console, name).mockImplementation((...args: unknown[]) => {
      lines[name].push(args.map((arg) => (arg instanceof Error ? arg.stack : String(arg))).join(' '))
    }),
  )
  try {
    return { code: await main(argv, session), out: lines.log, err: lines.error }
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
}

/** A session whose device is watched: what was asked for, and the most bytes its tensors ever held. */
export function watchedDevice(): {
  session: { requestDevice(request: DeviceRequest): Promise<Device> }
  needed(): number
  peak(): number
} {
  let [request, device]: [DeviceRequest?, Device?] = []
  return {
    session: { requestDevice: async (asked) => (device = await Device.request((request = asked))) },
    needed: () => request?.need?.bytes ?? 0,
    peak: () => device?.stats.peakBytes ?? NaN,
  }
}

/** A folder of this test file's own, removed afterwards. */
export function temporaryFolder(): (name: string) => string {
  const folder = mkdtempSync(join(tmpdir(), 'tweedie-cli-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  return (name) => join(folder, name)
}

/** A tensor of a file: its values and shape. */
export async function tensorIn(
  path: string,
  key: string,
): Promise<{ shape: readonly number[]; data: ArrayLike<number> }> {
  const file = await openCheckpoint(await openFile(path))
  try {
    const entry = file.tensors.get(key)
    if (!entry) throw new Error(`${path} has no "${key}", only ${[...file.tensors.keys()].join(', ')}`)
    return { shape: entry.shape, data: await entry.read() }
  } finally {
    await file.close()
  }
}
