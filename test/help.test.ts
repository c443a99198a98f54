/** Each command's help names the equations and papers of what it does. */
import { expect, test } from 'vitest'
import { tweedie } from './cli.ts'

const ICLR = 'Um et al., ICLR 2024'
const ECCV = 'Um & Ye, ECCV 2024'

test.each<[string, string[]]>([
  ['score', [`${ICLR}, Eq. 7`, 'Eq. 16']],
  ['label', [ICLR, 'section 3.2', 'Appendix B.3']],
  ['train classifier', [`${ICLR}, Eq. 8`, 'Eq. 17', 'Sehwag et al., CVPR 2022']],
  ['train diffusion', ['Dhariwal & Nichol, NeurIPS 2021', 'Nichol & Dhariwal, ICML 2021']],
  [
    'sample',
    [
      `${ICLR}, Eq. 8`,
      'Eq. 17',
      'Eq. 18',
      'Eq. 7',
      'Eq. 16',
      ECCV,
      'Um et al., ICML 2025',
      'Song et al., ICLR 2021',
      'Sehwag et al., CVPR 2022',
    ],
  ],
  ['recipe', [ICLR, ECCV, 'Eq. 7 and 8', 'Eq. 16 and 17']],
  ['quickstart', [`${ICLR}, Eq. 8`, 'Eq. 7', ECCV]],
])('%s --help', async (command, names) => {
  const { code, out } = await tweedie([...command.split(' '), '--help'])
  expect(code).toBe(0)
  const text = out.join('\n').replace(/\s+/g, ' ')
  for (const name of names) expect(text).toContain(name)
})
