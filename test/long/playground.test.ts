/**
 * The playground of the built site, as a visitor uses it: what it draws is what Node draws, and whatever may go wrong
 * in a browser is told in a sentence.
 */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { unzipSync } from 'fflate'
import type { Page } from 'playwright-core'
import { afterAll, describe, expect, test } from 'vitest'
import {
  chromium,
  crashGpu,
  hide,
  inChromium,
  openFiles,
  processes,
  type BrowserOptions,
  type Opened,
} from '../browser/chromium.ts'
import { folder, isolation, serve } from '../browser/server.ts'
import { builtSite } from '../browser/site.ts'
import { baseOfClasses, writeModel } from '../small-models.ts'
import { decodeImage } from '../../src/data/index.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const scratch = mkdtempSync(join(tmpdir(), 'tweedie-playground-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const dist = await builtSite()
const site = () => serve({ serve: folder(dist), headers: isolation })
/** For conditions, and for files that are given to the page: the defaults, 1 s and 30 s, are too few on busy cores. */
const patient = { timeout: 240_000 }

/** The words of what is going on: the one status on the tab that is shown. */
const status = (page: Page) => page.getByRole('tabpanel').getByRole('status').first()
const button = (page: Page, name: string) => page.getByRole('button', { name, exact: true })
const is = (page: Page, word: string | RegExp) =>
  expect.poll(async () => (await status(page).textContent())?.trim(), patient).toMatch(word)

/** What is told of in the tab that is shown. */
const problems = async (page: Page): Promise<string> =>
  (await page.getByRole('tabpanel').getByRole('alert').allInnerTexts()).join(' ')
/** The pixels of all pictures of the run. */
const pictures = (page: Page): Promise<string[]> =>
  page
    .getByRole('img', { name: /^Picture \d/ })
    .evaluateAll((all) => all.map((canvas) => (canvas as HTMLCanvasElement).toDataURL()))
/** Steps that are drawn so far. */
const step = async (page: Page): Promise<number> =>
  Number(
    /(\d+) of/.exec(
      (await page.getByRole('slider', { name: 'Step', exact: true }).getAttribute('aria-valuetext'))!,
    )![1],
  )

/** A playground at this link, in a browser of its own. */
async function at<Result>(
  link: string,
  use: (opened: Opened & { readonly origin: string }) => Promise<Result>,
  options: BrowserOptions = { webgpu: false },
): Promise<Result> {
  await using served = await site()
  return await inChromium(options, async (opened) => {
    await opened.page.goto(`${served.origin}/playground.html${link}`)
    return await use({ ...opened, origin: served.origin })
  })
}

/** What a button gives to the visitor. */
async function downloaded({ page, downloads }: Opened, name: string, file: string): Promise<Buffer> {
  rmSync(join(downloads, file), { force: true })
  await button(page, name).click()
  let bytes = Buffer.alloc(0)
  await expect
    .poll(() => {
      const names = readdirSync(downloads)
      if (names.includes(file) && names.every((name) => !name.endsWith('.crdownload')))
        bytes = readFileSync(join(downloads, file))
      return bytes.length
    }, patient)
    .toBeGreaterThan(0)
  return bytes
}

/** All pictures and records of a finished run, by their names in the archive. */
const archive = async (opened: Opened): Promise<Record<string, Uint8Array>> =>
  unzipSync(await downloaded(opened, 'All as .zip', 'tweedie.zip'))

describe.runIf(chromium)('the playground', () => {
  // The kernels of gradients take SwiftShader 45 s to compile: test/long/record.test.ts draws by them.
  test.each([
    ['cpu', 20, ['self-guided', 'minority-guided'], ['sample-0000.png', 'sample-0001.png']],
    ['webgpu', 4, ['plain', 'boost-and-skip'], ['sample-0000.png']],
  ])('draws by %s what Node draws from its run.json, to 1/255', async (backend, steps, methods, names) => {
    const [a, b] = methods
    const link = `#number=${names.length}&respacing=${steps}&skip=1&seed=7&a=${a}&b=${b}&backend=${backend}`
    const files = await at(
      link,
      async (opened) => {
        await is(opened.page, 'Done')
        return await archive(opened)
      },
      { webgpu: true },
    )
    expect(Object.keys(files).sort()).toEqual(
      methods.flatMap((method) => ['run.json', ...names].map((name) => `${method}/${name}`)).sort(),
    )
    for (const method of methods) {
      const drawn = join(scratch, backend, method)
      mkdirSync(drawn, { recursive: true })
      writeFileSync(join(drawn, 'run.json'), files[`${method}/run.json`])
      const out = join(drawn, 'again')
      const replay = ['bin/tweedie.js', 'replay', join(drawn, 'run.json'), '--backend', 'cpu', '--out', out]
      await promisify(execFile)(process.execPath, replay, { cwd: root })
      for (const name of names) {
        const [page, node] = [files[`${method}/${name}`], readFileSync(join(out, name))].map((png) =>
          decodeImage(png, name),
        )
        expect(page.data).toHaveLength(32 * 32 * 3)
        const most = Math.max(...page.data.map((value, i) => Math.abs(value - node.data[i])))
        expect(most, `${method}/${name}`).toBeLessThanOrEqual(1)
      }
    }
  })

  test('a link restores all that was set, and draws it', async () => {
    const link = '#seed=11&number=1&respacing=5&boost=3&skip=1&a=ddim&b=boost-and-skip&backend=cpu'
    await at(link, async ({ page, context, origin }) => {
      const set = { 'Method above': 'ddim', 'Method below': 'boost-and-skip', Seed: '11', Steps: '5', Pictures: '1' }
      for (const [label, value] of Object.entries({ ...set, Boost: '3', 'Skipped steps': '1', 'Computes on': 'cpu' }))
        expect(await page.getByRole('tabpanel').getByLabel(label, { exact: true }).inputValue(), label).toBe(value)
      await is(page, 'Done')
      const drawn = await pictures(page)
      expect(new Set(drawn).size).toBe(2)

      await page.getByLabel('Seed', { exact: true }).fill('12')
      await page.keyboard.press('Tab')
      await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin })
      await button(page, 'Copy link').click()
      const copied = await page.evaluate(() => navigator.clipboard.readText())
      expect(copied).toContain('seed=12')
      const friend = await context.newPage()
      await friend.goto(copied.replace('seed=12', 'seed=11'))
      await is(friend, 'Done')
      expect(await pictures(friend)).toEqual(drawn)
    })
  })

  test('a link that says nonsense is told of, and nothing is drawn', async () => {
    await at('#seed=minus&method=best', async ({ page }) => {
      await expect.poll(() => problems(page)).toMatch(/seed is "minus".*"method", which the playground does not know/)
      expect((await status(page).textContent())?.trim()).toBe('')
    })
  })

  test('stops within a step, again and again, and keeps nothing of what was stopped', async () => {
    await at('#number=2&respacing=250&backend=cpu', async ({ page, context }) => {
      const session = await context.newCDPSession(page)
      const used = async (): Promise<number> => {
        await session.send('HeapProfiler.collectGarbage')
        return (await processes(page)).renderer
      }
      const stopInMidRun = async (): Promise<void> => {
        await expect.poll(() => step(page), patient).toBeGreaterThan(2)
        await button(page, 'Stop').click()
        await is(page, 'Stopped')
      }
      const drawAndStop = async (): Promise<void> => {
        await button(page, 'Draw').click()
        await is(page, 'Drawing')
        await stopInMidRun()
      }
      await stopInMidRun()
      await drawAndStop()
      const before = await used()
      for (let run = 0; run < 6; run++) {
        await drawAndStop()
      }
      await expect.poll(used, { timeout: 30_000 }).toBeLessThan(before + 30e6)
    })
  })

  test('takes a good file, dropped or opened, and says of a bad one and of a foreign one what it is', async () => {
    const model = readFileSync(join(root, 'weights/bccd32-adm.safetensors'))
    await at('#number=1&respacing=2&b=none&backend=cpu', async ({ page }) => {
      await is(page, 'Done')
      const open = async (name: string, bytes: Buffer): Promise<void> => {
        writeFileSync(join(scratch, name), bytes)
        await openFiles(page.getByLabel('Model file'), join(scratch, name))
      }
      const fails = async (name: string, buffer: Buffer, said: RegExp): Promise<void> => {
        await open(name, buffer)
        await button(page, 'Draw').click()
        await is(page, 'It did not work')
        const told = await problems(page)
        expect(told).toMatch(said)
        expect(told, 'a sentence').toMatch(/^[A-Z\w].*[.:)]/s)
      }
      await fails('cut.safetensors', model.subarray(0, 3_000_000), /cut\.safetensors/)
      await fails('notes.pt', Buffer.from('not a model at all'), /notes\.pt/)
      await fails('page.safetensors', Buffer.from('<!doctype html><title>404</title>'), /page\.safetensors/)
      const classifier = readFileSync(join(root, 'weights/bccd32-minority.safetensors'))
      await fails('classifier.safetensors', classifier, /classifier/)

      await open('mine.safetensors', model)
      await button(page, 'Draw').click()
      await is(page, 'Done')
      const opened = await pictures(page)
      await expect.poll(() => page.evaluate(() => location.hash), patient).toContain('model=mine.safetensors')

      await page.evaluate(async () => {
        const transfer = new DataTransfer()
        const bytes = await (await fetch('/weights/bccd32-adm.safetensors')).arrayBuffer()
        transfer.items.add(new File([bytes], 'dropped.safetensors'))
        dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }))
      })
      await expect.poll(() => page.evaluate(() => location.hash), patient).toContain('model=dropped.safetensors')
      await button(page, 'Draw').click()
      await is(page, 'Done')
      expect(await pictures(page)).toEqual(opened)
    })
  })

  test('scores pictures that are opened, the rarest first, and tells of a file that is none', async () => {
    await at('#number=2&respacing=10&backend=cpu', async (opened) => {
      const { page } = opened
      await is(page, 'Done')
      const files = Object.entries(await archive(opened)).filter(([name]) => name.endsWith('.png'))
      await page.getByRole('tab', { name: 'Score' }).click()
      await page.getByLabel('Pictures to score', { exact: true }).setInputFiles([
        ...files.map(([name, bytes]) => ({
          name: name.replace('/', '-'),
          mimeType: 'image/png',
          buffer: Buffer.from(bytes),
        })),
        { name: 'torn.png', mimeType: 'image/png', buffer: Buffer.from(files[0][1]).subarray(0, 200) },
      ])
      await is(page, 'Scored 4 of 5')
      expect(await problems(page)).toContain('torn.png')
      const rows = page.getByRole('list', { name: 'Pictures, the rarest first' }).getByRole('listitem')
      const scores = (await rows.allInnerTexts()).map((text) => Number(/\d+\.\d\d/.exec(text)![0]))
      expect(scores).toHaveLength(4)
      expect(scores).toEqual([...scores].sort((a, b) => b - a))
    })
  })

  test('cuts the contact sheet that it gave, and says what it does to other pictures', async () => {
    await at('#number=3&respacing=2&backend=cpu', async (opened) => {
      const { page } = opened
      await is(page, 'Done')
      const sheet = await downloaded(opened, 'Contact sheet', 'sheet.png')
      const one = Object.entries(await archive(opened)).find(([name]) => name === 'plain/sample-0001.png')![1]
      await page.getByRole('tab', { name: 'Score' }).click()
      const rows = page.getByRole('list', { name: 'Pictures, the rarest first' }).getByRole('listitem')
      const score = async (...files: (readonly [string, Uint8Array | Buffer])[]): Promise<string[]> => {
        const buffers = files.map(([name, bytes]) => ({ name, mimeType: 'image/png', buffer: Buffer.from(bytes) }))
        await page.getByLabel('Pictures to score', { exact: true }).setInputFiles(buffers)
        await is(page, /^Scored/)
        const said = await rows.allInnerTexts()
        await button(page, 'Clear').click()
        return said
      }
      const [alone] = await score(['one.png', one])
      expect(alone).not.toContain('scaled')
      const cut = await score(['sheet.png', sheet])
      expect(cut).toHaveLength(6)
      const scoreIn = (text: string): string => /\d+\.\d\d/.exec(text)![0]
      expect(scoreIn(cut.find((text) => text.includes('sheet.png, picture 2'))!)).toBe(scoreIn(alone))
      const [other] = await score(['forty.png', readFileSync(join(root, 'docs/playground.png'))])
      expect(other).toMatch(/\d+ × \d+(, of which the middle square is taken)?, scaled to 32 × 32/)
    })
  })

  test('scores for a model of classes as pictures of the class that is set', async () => {
    const model = await writeModel(join(scratch, 'classes.safetensors'), baseOfClasses)
    await at('#number=1&respacing=2&b=none&backend=cpu', async ({ page }) => {
      await is(page, 'Done')
      await openFiles(page.getByLabel('Model file'), model)
      await page.getByRole('tab', { name: 'Score' }).click()
      await page.getByLabel('Pictures to score', { exact: true }).setInputFiles(join(root, 'docs/quickstart.png'))
      await is(page, 'Scored 1 of 1')
      const row = page.getByRole('list', { name: 'Pictures, the rarest first' }).getByRole('listitem')
      const before = await row.textContent()
      await page.getByLabel('Class of the pictures').fill('2')
      await page.keyboard.press('Tab')
      await expect
        .poll(async () => ((await row.count()) === 1 ? await row.textContent() : before), patient)
        .not.toBe(before)
      expect(await problems(page)).toBe('')
    })
  })

  test('goes on with the model that is loading where another setting is made', async () => {
    await using served = await site()
    await inChromium({ webgpu: false }, async ({ page }) => {
      let asked = 0
      let go = (): void => {}
      const held = new Promise<void>((resolve) => (go = resolve))
      await page.context().route('**/weights/bccd32-adm.safetensors', async (route) => {
        asked++
        await held
        await route.continue()
      })
      await page.goto(`${served.origin}/playground.html#number=1&respacing=2&b=none&backend=cpu`)
      await expect.poll(() => asked, patient).toBe(1)
      for (const seed of [3, 4, 5]) {
        await page.evaluate((seed) => {
          location.hash = `#number=1&respacing=2&b=none&backend=cpu&seed=${seed}`
        }, seed)
        await is(page, /^Loading the model/)
      }
      go()
      await is(page, 'Done')
      expect(asked).toBe(1)
    })
  })

  test('stops scoring where something is drawn, and takes the same file twice', async () => {
    await at('#number=1&respacing=2&b=none&backend=cpu', async ({ page }) => {
      await is(page, 'Done')
      const cells = join(root, 'docs/forty-cells.png')
      await page.getByRole('tab', { name: 'Score' }).click()
      await openFiles(page.getByLabel('Pictures to score', { exact: true }), ...Array.from({ length: 12 }, () => cells))
      await is(page, 'Scoring')
      await page.getByRole('tab', { name: 'Draw' }).click()
      for (let times = 0; times < 2; times++) {
        await openFiles(page.getByLabel('Model file'), join(root, 'weights/bccd32-adm.safetensors'))
        await expect.poll(() => page.evaluate(() => location.hash), patient).toContain('model=bccd32-adm.safetensors')
        await button(page, 'the shipped one again').click()
        await expect.poll(() => page.evaluate(() => location.hash), patient).not.toContain('model=')
      }
      await page.getByRole('tab', { name: 'Score' }).click()
      await is(page, 'Stopped')
      expect(await problems(page)).toBe('')
    })
  })

  test('puts right a number that it cannot take, and keeps the link whole while a slider is dragged', async () => {
    await at('#number=1&respacing=2&b=none&backend=cpu', async ({ page }) => {
      const type = async (label: string, text: string): Promise<string> => {
        const field = page.getByRole('tabpanel').getByLabel(label, { exact: true })
        await field.fill(text)
        await field.blur()
        return await field.inputValue()
      }
      expect(await type('Pictures, as a number', '99')).toBe('16')
      expect(await type('Pictures, as a number', '200')).toBe('16')
      expect(await type('Pictures, as a number', '')).toBe('16')
      expect(await type('Seed', '-5')).toBe('0')
      expect(await type('Seed', '')).toBe('0')
      const changes = await page.evaluate(async () => {
        let calls = 0
        const replace = history.replaceState
        history.replaceState = function (...args) {
          calls++
          replace.apply(this, args)
        }
        const slider = document.querySelector<HTMLInputElement>('input[type=range][max="250"]')!
        for (let value = 3; value <= 103; value++) {
          slider.value = String(value)
          slider.dispatchEvent(new Event('input', { bubbles: true }))
          await new Promise((resolve) => setTimeout(resolve, 10))
        }
        return calls
      })
      expect(changes).toBeLessThan(50)
      await expect.poll(() => page.evaluate(() => location.hash)).toContain('respacing=103')
    })
  })

  test('draws on behind another tab', async () => {
    await at('#number=1&respacing=30&backend=cpu', async ({ page }) => {
      await expect.poll(() => step(page), patient).toBeGreaterThan(1)
      const hidden = await hide(page)
      expect((await status(page).textContent())?.trim()).toBe('Drawing')
      await is(page, 'Done')
      const behind = await pictures(page)
      await hidden.show()
      await button(page, 'Draw').click()
      await is(page, 'Drawing')
      await is(page, 'Done')
      expect(await pictures(page)).toEqual(behind)
    })
  })

  test('draws in two tabs at once what it draws in one', async () => {
    await at('#number=2&respacing=10&backend=cpu', async ({ page, context, origin }) => {
      const other = await context.newPage()
      await other.goto(`${origin}/playground.html#number=2&respacing=10&seed=1&backend=cpu`)
      await Promise.all([is(page, 'Done'), is(other, 'Done')])
      const [first, second] = [await pictures(page), await pictures(other)]
      expect(first).not.toEqual(second)
      await other.close()
      await page.getByLabel('Seed', { exact: true }).fill('1')
      await button(page, 'Draw').click()
      await is(page, 'Drawing')
      await is(page, 'Done')
      expect(await pictures(page)).toEqual(second)
    })
  })

  test('goes on where the GPU was lost, and says so', async () => {
    const options = { webgpu: true } as const
    await at(
      '#number=1&respacing=6&b=none&backend=webgpu',
      async ({ page }) => {
        await expect.poll(() => step(page), patient).toBeGreaterThan(2)
        await crashGpu(page)
        await is(page, 'Done')
        expect(await page.getByRole('tabpanel').textContent()).toContain('The GPU was lost once')
        const resumed = await pictures(page)
        await button(page, 'Draw').click()
        await is(page, 'Drawing')
        await is(page, 'Done')
        expect(await page.getByRole('tabpanel').textContent()).not.toContain('The GPU was lost')
        expect(await pictures(page)).toEqual(resumed)
      },
      options,
    )
  })

  test('is used by the keyboard alone', async () => {
    await at('#number=1&respacing=3&b=none&backend=cpu', async (opened) => {
      const { page, downloads } = opened
      await is(page, 'Done')
      /** Presses Tab until this control has the focus, which is to be seen. */
      const reach = async (role: Parameters<Page['getByRole']>[0], name: string): Promise<void> => {
        const wanted = await page.getByRole(role, { name, exact: true }).first().elementHandle()
        for (let presses = 0; presses < 80; presses++) {
          await page.keyboard.press('Tab')
          if (await wanted!.evaluate((element) => element === document.activeElement)) return
        }
        throw new Error(`Tab does not reach the ${role} "${name}"`)
      }
      await reach('tab', 'Draw')
      await page.keyboard.press('ArrowRight')
      expect(await page.getByRole('tab', { name: 'Score' }).getAttribute('aria-selected')).toBe('true')
      await page.keyboard.press('ArrowLeft')
      await reach('slider', 'Steps')
      await page.keyboard.press('ArrowRight')
      // The address follows at most every 350 ms.
      await expect.poll(() => page.evaluate(() => location.hash)).toContain('respacing=4')
      await reach('slider', 'Step')
      await page.keyboard.press('ArrowLeft')
      await expect
        .poll(() => page.getByRole('slider', { name: 'Step', exact: true }).getAttribute('aria-valuetext'))
        .toBe('Step 2 of 3')
      await page.keyboard.press('ArrowRight')
      await reach('button', 'Save picture 1, Plain, as PNG')
      await page.keyboard.press('Enter')
      await expect.poll(() => readdirSync(downloads)).toContain('plain-0.png')
      await reach('slider', 'Steps')
      await page.keyboard.press('End')
      await reach('button', 'Draw')
      await page.keyboard.press('Enter')
      await expect.poll(() => step(page), patient).toBeGreaterThan(3)
      await reach('button', 'Stop')
      await page.keyboard.press('Space')
      await is(page, 'Stopped')
    })
  })

  test('draws without a network after the first visit, on a host that sets no headers with all threads', async () => {
    const profile = join(scratch, 'profile')
    const served = await serve({ serve: folder(dist) })
    const link = `${served.origin}/playground.html#number=1&respacing=5&backend=cpu`
    const options = { webgpu: false, profile } as const
    const drawn = await inChromium(options, async ({ page }) => {
      await page.goto(link)
      await is(page, 'Done')
      return await pictures(page)
    })
    await served.close()
    await inChromium(options, async ({ page, errors }) => {
      await page.goto(link)
      await is(page, 'Done')
      expect(await pictures(page)).toEqual(drawn)
      expect(await page.evaluate(() => crossOriginIsolated)).toBe(true)
      // As hosts call it that leave the ending out.
      await page.goto(link.replace('.html', ''))
      await is(page, 'Done')
      expect(errors.splice(0).filter((error) => !error.includes('ERR_CONNECTION_REFUSED'))).toEqual([])
    })
  })

  test('draws where the browser has no room for the weights, and says so', async () => {
    await using served = await site()
    await inChromium({ webgpu: false }, async ({ page, context, errors }) => {
      const session = await context.newCDPSession(page)
      await session.send('Storage.overrideQuotaForOrigin', { origin: served.origin, quotaSize: 3e6 })
      await page.goto(`${served.origin}/playground.html#number=1&respacing=5&backend=cpu`)
      await is(page, 'Done')
      expect(await page.getByRole('tabpanel').textContent()).toContain('no room to keep the weights')
      expect(await problems(page)).toBe('')
      expect(errors).toEqual([])
    })
  })
})
