/** What the HTML pages share: one file with everything inside, readable without a network and without scripts. */

export const escapeHtml = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`)

/**
 * Written for a width of 400 pixels first: what stands side by side wraps, pictures shrink, and a table that is wider
 * than the page scrolls in its own box. Words break only where they are longer than a line; paths and hashes
 * where {@link settingsTable} says.
 */
const style = `
:root { color-scheme: light dark; --text: #222; --back: #fff; --faint: #666; --rule: #ddd; --note: #fff6d6;
  --c0: #555; --c1: #2468b0; --c2: #c25e00; --c3: #16806a; --c4: #b03060; --c5: #7a4fb5 }
@media (prefers-color-scheme: dark) { :root { --text: #ddd; --back: #1b1b1b; --faint: #aaa; --rule: #444; --note: #4a3f10;
  --c0: #bbb; --c1: #6fb1f5; --c2: #f5a04a; --c3: #4cc9a8; --c4: #f283ab; --c5: #b99bf0 } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 84rem; margin: 0 auto; padding: 1rem; box-sizing: border-box;
  color: var(--text); background: var(--back); overflow-wrap: break-word }
h1 { font-size: 1.6rem; line-height: 1.2 }
p { max-width: 48rem }
main { display: flex; flex-wrap: wrap; gap: 12px; margin: 1rem 0 }
.card { padding: 6px; border: 1px solid var(--rule); border-radius: 6px; max-width: 100%; box-sizing: border-box }
.card div { display: flex; gap: 4px }
.card figcaption { contain: inline-size }
img { display: block; max-width: 100%; object-fit: contain; image-rendering: pixelated }
figure { margin: 0; min-width: 0 }
figcaption { font-size: 12px; color: var(--faint); font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: 24px; margin: 1rem 0 }
.charts figcaption { font-size: 14px; color: inherit; overflow-wrap: break-word }
.charts svg { display: block; width: 100%; height: auto; font-size: 12px }
.key { display: inline-block; margin-right: 1em; font-size: 13px; white-space: nowrap }
.key svg { display: inline-block; width: 24px; height: 10px; margin-right: 4px }
.table { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { text-align: left; padding: 2px 16px 2px 0; vertical-align: top; border-bottom: 1px solid var(--rule) }
th { font-weight: 600 }
details.note { max-width: 48rem; margin: 1rem 0; box-sizing: border-box } .note ul { margin: .4em 0; padding-left: 1.2em }
.note { background: var(--note); padding: .4em .8em; border-radius: 6px }
footer { margin-top: 2rem; color: var(--faint); font-size: 13px }`

/** A page; `body` and `footer` are HTML, `more` is style beyond what all pages have. */
export const htmlPage = ({
  title,
  body,
  footer,
  more = '',
}: {
  title: string
  body: string
  footer?: string
  more?: string
}): string => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${style}${more}</style>
<h1>${escapeHtml(title)}</h1>
${body}${footer === undefined ? '' : `\n<footer>${footer}</footer>`}
</html>
`

/** A table of texts, the first of each row its heading. Figures stay whole: the table scrolls where it is too wide. */
export function htmlTable(rows: readonly (readonly string[])[], heads?: readonly string[], cell = escapeHtml): string {
  const head = heads ? `<tr>${heads.map((text) => `<th>${escapeHtml(text)}</th>`).join('')}</tr>` : ''
  const cells = (texts: readonly string[]): string => texts.map((text) => `<td>${cell(text)}</td>`).join('')
  const lines = rows.map(([first = '', ...rest]) => `<tr><th>${escapeHtml(first)}</th>${cells(rest)}</tr>`)
  return `<div class="table"><table>${head}${lines.join('\n')}</table></div>`
}

/**
 * Text in which a line may also end within what is longer than a word: after the marks of a path or name, and every
 * eight characters of a hash.
 */
const breakable = (text: string): string =>
  escapeHtml(text)
    .replaceAll(/[/\\_]|\w[.-](?=[A-Za-z])/g, '$&<wbr>')
    .replaceAll(/\w{13,}/g, (word) => (/\d/.test(word) ? word.replaceAll(/\w{8}(?=\w)/g, '$&<wbr>') : word))

/** A table of names and values, which break where they may: paths and hashes fit any page, and words stay whole. */
export const settingsTable = (rows: readonly (readonly string[])[], heads?: readonly string[]): string =>
  htmlTable(rows, heads, breakable).replace('class="table"', 'class="table settings"')

/** A PNG inside the page, enlarged to `pixels` a side. */
export const inlinePng = (png: Uint8Array, pixels: number, alt: string): string =>
  `<img width="${pixels}" height="${pixels}" alt="${escapeHtml(alt)}" ` +
  `src="data:image/png;base64,${Buffer.from(png).toString('base64')}">`
