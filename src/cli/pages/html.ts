/** What the HTML pages share: one file with everything inside, readable without a network and without scripts. */

export const escapeHtml = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`)

const style = `
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
main { display: flex; flex-wrap: wrap; gap: 12px; margin: 1rem 0 }
.card { padding: 6px; border: 1px solid #ddd; border-radius: 6px }
.card div { display: flex; gap: 4px }
img { display: block; image-rendering: pixelated }
figure { margin: 0 }
figcaption { font-size: 12px; color: #555; font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
svg { display: block; max-width: 100%; fill: currentColor }
svg rect { fill: #4878a8 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { text-align: left; padding: 2px 16px 2px 0; vertical-align: top; border-bottom: 1px solid #eee; overflow-wrap: anywhere }
th { font-weight: 600 }
footer { margin-top: 2rem; color: #666; font-size: 13px }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #1b1b1b } .card, td, th { border-color: #444 } figcaption, footer { color: #aaa }
}`

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

/** A table of texts, the first of each row its heading. */
export function htmlTable(rows: readonly (readonly string[])[], heads?: readonly string[]): string {
  const head = heads ? `<tr>${heads.map((text) => `<th>${escapeHtml(text)}</th>`).join('')}</tr>` : ''
  const cells = (texts: readonly string[]): string => texts.map((text) => `<td>${escapeHtml(text)}</td>`).join('')
  const lines = rows.map(([first = '', ...rest]) => `<tr><th>${escapeHtml(first)}</th>${cells(rest)}</tr>`)
  return `<table>${head}${lines.join('\n')}</table>`
}

/** A PNG inside the page, enlarged to `pixels` a side. */
export const inlinePng = (png: Uint8Array, pixels: number, alt: string): string =>
  `<img width="${pixels}" height="${pixels}" alt="${escapeHtml(alt)}" ` +
  `src="data:image/png;base64,${Buffer.from(png).toString('base64')}">`
