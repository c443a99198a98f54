/** Writing files: what is kept of the one before, and what is written into instead of replaced. */
import { execFileSync } from 'node:child_process'
import {
  chmod,
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { build } from 'esbuild'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openFile, writeFileAtomic } from '../src/io/index.node.ts'
import { ascii, refuses } from './io-fixtures.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tweedie-io-'))
})
afterEach(async () => {
  await rm(folder, { recursive: true })
})

// Windows has no modes, and its links need rights.
describe.skipIf(process.platform === 'win32')('leaves to a file', () => {
  test.each([0o600, 0o640, 0o755])('its mode, %o', async (mode) => {
    const path = join(folder, 'out')
    await writeFile(path, 'before')
    await chmod(path, mode)
    await writeFileAtomic(path, [ascii('after')])
    expect([await readFile(path, 'utf8'), (await stat(path)).mode & 0o777]).toEqual(['after', mode])
  })

  test('its owner, where we may give files away', async () => {
    const path = join(folder, 'out')
    await writeFile(path, 'before')
    const given = await chown(path, 1234, 1234).then(
      () => [1234, 1234],
      () => [process.getuid!(), process.getgid!()],
    )
    await writeFileAtomic(path, [ascii('after')])
    const { uid, gid } = await stat(path)
    expect([uid, gid]).toEqual(given)
  })

  test.each(['a link', 'a link to a link', 'a link to nothing yet'])(
    'its place: %s is followed and stays',
    async (which) => {
      await mkdir(join(folder, 'elsewhere'))
      const [path, between, target] = ['out', 'between', 'elsewhere/target'].map((name) => join(folder, name))
      if (which !== 'a link to nothing yet') await writeFile(target, 'before')
      await symlink('elsewhere/target', between)
      await symlink(which === 'a link to a link' ? 'between' : 'elsewhere/target', path)
      await writeFileAtomic(path, [ascii('after')])
      expect(await readFile(target, 'utf8')).toBe('after')
      expect(
        (await lstat(path)).isSymbolicLink() &&
          (await lstat(between)).isSymbolicLink() &&
          (await lstat(target)).isFile(),
      ).toBe(true)
      expect(await readdir(join(folder, 'elsewhere'))).toEqual(['target'])
    },
  )

  test('nothing of a circle of links', async () => {
    await symlink('b', join(folder, 'a'))
    await symlink('a', join(folder, 'b'))
    await refuses(writeFileAtomic(join(folder, 'a'), [ascii('x')]), 'option', 'cannot write', 'links')
  })
})

describe.skipIf(process.platform === 'win32')('into what is no regular file', () => {
  test('a pipe: what it takes arrives, and the pipe stays; an abort ends the wait for a reader', async () => {
    const path = join(folder, 'pipe')
    execFileSync('mkfifo', [path])
    const long = new Uint8Array(200_000).fill(7)
    const reading = readFile(path)
    await writeFileAtomic(path, [ascii('head'), long])
    expect((await reading).equals(Buffer.concat([ascii('head'), long]))).toBe(true)
    expect([(await lstat(path)).isFIFO(), await readdir(folder)]).toEqual([true, ['pipe']])
    const controller = new AbortController()
    const waiting = writeFileAtomic(path, [ascii('nobody')], { signal: controller.signal })
    setTimeout(() => controller.abort(), 50)
    await expect(waiting).rejects.toThrow(/abort/i)
  })

  test('a device: it is not replaced, and its failure is typed', async () => {
    await writeFileAtomic('/dev/null', [ascii('gone')])
    expect((await lstat('/dev/null')).isCharacterDevice()).toBe(true)
    if (process.platform === 'linux')
      await refuses(writeFileAtomic('/dev/full', [ascii('no room')]), 'option', 'cannot write /dev/full', 'ENOSPC')
  })

  test.each([
    ['/dev/stdout', '> FILE'],
    ['/dev/fd/1', '> FILE'],
    ['/dev/stdout', '| cat > FILE'],
    ['link', '>> FILE'],
  ])('%s %s', async (out, to) => {
    const module = join(folder, 'file.mjs')
    await build({
      entryPoints: ['src/io/file.node.ts'],
      outfile: module,
      bundle: true,
      platform: 'node',
      format: 'esm',
    })
    await writeFile(join(folder, 'result'), 'already there\n')
    await symlink('/dev/stdout', join(folder, 'link'))
    const run = `import { openFile, writeFileAtomic } from ${JSON.stringify(module)}
      console.log('before')
      await writeFileAtomic(${JSON.stringify(out === 'link' ? join(folder, out) : out)}, [new Uint8Array(200_000).fill(97), new TextEncoder().encode('end\\n')])
      console.log('after')`
    await writeFile(join(folder, 'run.mjs'), run)
    const before = await stat('/dev/stdout').then(
      ({ ino }) => ino,
      () => null,
    )
    execFileSync('sh', [
      '-c',
      `"${process.execPath}" "${join(folder, 'run.mjs')}" ${to.replace('FILE', `"${join(folder, 'result')}"`)}`,
    ])
    const written = `before\n${'a'.repeat(200_000)}end\nafter\n`
    expect(await readFile(join(folder, 'result'), 'utf8')).toBe(
      to === '>> FILE' ? `already there\n${written}` : written,
    )
    expect(
      await stat('/dev/stdout').then(
        ({ ino }) => ino,
        () => null,
      ),
    ).toBe(before)
    expect((await readdir('/dev')).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })
})

// A limit on the length of files fails as a full disk does, with another number.
test.skipIf(process.platform === 'win32')(
  'with no room: what was there stays, nothing else is left, and the error says so',
  async () => {
    const module = join(folder, 'file.mjs')
    await build({
      entryPoints: ['src/io/file.node.ts'],
      outfile: module,
      bundle: true,
      platform: 'node',
      format: 'esm',
    })
    const path = join(folder, 'out')
    await writeFile(path, 'before')
    const run = `import { openFile, writeFileAtomic } from ${JSON.stringify(module)}
    const error = await writeFileAtomic(${JSON.stringify(path)}, [new Uint8Array(2 ** 16), new Uint8Array(2 ** 20)]).catch((error) => error)
    process.stdout.write(error.code + ' ' + error.message)`
    await writeFile(join(folder, 'run.mjs'), run)
    const said = execFileSync(
      'bash',
      ['-c', `trap '' XFSZ; ulimit -f 256; exec "${process.execPath}" "${join(folder, 'run.mjs')}"`],
      { encoding: 'utf8' },
    )
    expect(said).toMatch(/^option cannot write .*out: EFBIG/)
    expect([await readFile(path, 'utf8'), (await readdir(folder)).sort()]).toEqual([
      'before',
      ['file.mjs', 'out', 'run.mjs'],
    ])
  },
)

test.skipIf(process.platform === 'win32')('a pipe is not opened for reading by range, and not waited for', async () => {
  execFileSync('mkfifo', [join(folder, 'pipe')])
  await refuses(openFile(join(folder, 'pipe')), 'option', 'expected a file')
})

test.runIf(process.platform === 'linux')('a file that is forgotten open is closed, without a warning', async () => {
  const path = join(folder, 'forgotten')
  await writeFile(path, 'here')
  const open = async (): Promise<number> => {
    const targets = await Promise.all(
      (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
    )
    return targets.filter((target) => target === path).length
  }
  const warnings: string[] = []
  const listen = (warning: Error): void => void warnings.push(warning.message)
  process.on('warning', listen)
  try {
    const read = async (): Promise<string> => new TextDecoder().decode(await (await openFile(path)).read(0, 4))
    expect(await read()).toBe('here')
    expect(await open()).toBe(1)
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    for (let i = 0; i < 100 && (await open()) > 0; i++) collect(), await wait(10)
    expect(await open()).toBe(0)
    await wait(10)
    expect(warnings).toEqual([])
  } finally {
    process.off('warning', listen)
  }
})

test('a file is named by its path, by a file: URL, or by the text of one', async () => {
  const path = join(folder, 'a file')
  const url = pathToFileURL(path)
  await writeFileAtomic(url, [ascii('seven')])
  for (const name of [path, url, url.href]) {
    const file = await openFile(name)
    expect([file.name, Buffer.from(await file.read(0, 5)).toString()]).toEqual([path, 'seven'])
    await file.close()
  }
  await refuses(
    openFile(new URL('https://example.org/model.pt')),
    'option',
    'https://example.org/model.pt: expected a path or a file: URL',
  )
})
