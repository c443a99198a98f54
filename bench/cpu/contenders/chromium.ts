/**
 * A contender in Chromium: serves page.ts, bundled, to a headless browser of its own, cross-origin isolated so that
 * there are threads, and passes the bench's questions on. Its answers come back as the page posts them.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import module from 'node:module'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { build } from 'esbuild'
import type { Task, Times } from '../clock.ts'
import type { Prepare, Slot } from '../protocol.ts'

const peer = module.createRequire(import.meta.url)
const browsers = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']

/** The bundle runs in bench/node_modules/.bench. */
const bench = fileURLToPath(new URL('../../', import.meta.url))

async function script(): Promise<Uint8Array> {
  // The root's, whose package this is not: by its path.
  const { build: bundle } = peer(join(bench, '../node_modules/esbuild')) as { build: typeof build }
  const { outputFiles } = await bundle({
    entryPoints: [join(bench, 'cpu/contenders/page.ts')],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    logLevel: 'error',
    tsconfigRaw: '{}', // tsconfig.json names the peers' types, not the peers
    nodePaths: [join(bench, 'node_modules')],
    alias: { '#platform': join(bench, '../src/platform/index.ts') },
  })
  return (outputFiles[0] as { contents: Uint8Array }).contents
}

const types: Readonly<Record<string, string>> = { js: 'text/javascript', wasm: 'application/wasm' }

/** Seconds of CPU time that all processes of this one's group have used: the browser is several. Linux only. */
function groupCpu(): number {
  let ticks = 0
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      // Behind the name in parentheses: state, ppid, pgrp, ..., utime and stime as the 12th and 13th.
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ')
      if (Number(fields[2]) === process.pid) ticks += Number(fields[11]) + Number(fields[12])
    } catch {
      // It has ended meanwhile.
    }
  }
  return ticks / 100
}

export const chromiumPrepare =
  (library: 'litert' | 'ours', threads: number, isa: string): Prepare =>
  async (task: Task) => {
    const chromium = browsers.find(existsSync)
    if (!chromium) throw new Error(`no Chromium: looked for ${browsers.join(', ')}`)
    const program = await script()
    const litert = dirname(dirname(peer.resolve('@litertjs/core')))
    let waiting: (command: object) => void = () => {}
    let ready = (): void => {}
    const isReady = new Promise<void>((resolve) => (ready = resolve))
    let answer: (result: Buffer | Error) => void = () => {}
    const server = createServer((request, response) => {
      response
        .setHeader('cross-origin-opener-policy', 'same-origin')
        .setHeader('cross-origin-embedder-policy', 'require-corp')
      const send = (type: string, body: string | Uint8Array): void =>
        void response.setHeader('content-type', type).end(body)
      const [, room, name = ''] = new URL(request.url as string, 'http://localhost').pathname.split('/')
      if (request.method === 'POST') {
        const chunks: Buffer[] = []
        request
          .on('data', (chunk: Buffer) => chunks.push(chunk))
          .on('end', () => {
            // The page asks for the next command only when it has its answer to this one.
            response.end()
            const body = Buffer.concat(chunks)
            posted = room === 'error' ? new Error(body.toString()) : body
          })
      } else if (room === 'command') {
        waiting = (command) => send('application/json', JSON.stringify(command))
        ready()
        if (posted) answer(posted)
      } else if (room === 'file') send('application/octet-stream', readFileSync(join(task.dir, name)))
      else if (room === 'litert') send(types[name.split('.').at(-1)!], readFileSync(join(litert, 'wasm', name)))
      else if (room === 'script.js') send('text/javascript', program)
      else send('text/html', '<!doctype html><title>bench</title><script type="module" src="/script.js"></script>')
    })
    let posted: Buffer | Error | undefined
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const browser = spawn(
      chromium,
      [
        '--headless=new',
        '--no-sandbox',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--disable-gpu',
        `--user-data-dir=${mkdtempSync(join(task.dir, 'chromium-'))}`,
        `http://127.0.0.1:${port}/?library=${library}&threads=${threads}&isa=${isa}`,
      ],
      { stdio: 'ignore' },
    )
    const ended = new Promise<never>((_, reject) =>
      browser.on('exit', (code) => reject(new Error(`Chromium ended by itself with ${code}`))),
    )
    await Promise.race([isReady, ended])

    async function ask(command: object): Promise<Buffer> {
      const result = new Promise<Buffer | Error>((resolve) => (answer = resolve))
      posted = undefined
      waiting(command)
      const found = await Promise.race([result, ended])
      if (found instanceof Error) throw found
      return found
    }
    const y = Uint8Array.from(await ask({ prepare: task }))
    const round = async (atLeast: number): Promise<Slot> => {
      const [cpu, start] = [groupCpu(), performance.now()]
      const times = JSON.parse((await ask({ round: atLeast })).toString()) as Times
      return { ...times, cores: ((groupCpu() - cpu) * 1000) / (performance.now() - start) }
    }
    const { version } = peer(join(litert, 'package.json')) as { version: string }
    return {
      y: new Float32Array(y.buffer),
      round,
      note: library === 'litert' ? `${version}, in Chromium` : 'in Chromium',
    }
  }
