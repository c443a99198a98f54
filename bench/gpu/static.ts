/**
 * Compiles kernels with a real GPU's compiler, without the GPU (radv.ts), and prints what became of them.
 *
 *     ./run.sh gpu/static.ts                       every kernel that the networks can run
 *     ./run.sh gpu/static.ts conv2d-tile kh=3      those with all these words in their key
 *     ./run.sh gpu/static.ts mine.wgsl             a kernel in a file
 *     ./run.sh gpu/static.ts --family navi21 …     for another GPU than navi31: navi21, vega10, gfx1200
 *     ./run.sh gpu/static.ts --asm matmul          with the assembly
 *     ./run.sh gpu/static.ts --write               writes gpu/static.json: say in the commit why it changed
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { folder } from './folder.ts'
import { networkKernels, plainKey } from './passes.ts'
import { compile, families, missing, type Family } from './radv.ts'
import { faults, formatTable, sharesLost, tableOf, textFaults } from './static-table.ts'

const {
  values: { family = 'navi31', asm = false, write = false },
  positionals: words,
} = parseArgs({
  options: { family: { type: 'string' }, asm: { type: 'boolean' }, write: { type: 'boolean' } },
  allowPositionals: true,
})
const reason = missing() ?? (families.includes(family as Family) ? null : `known are ${families.join(', ')}`)
if (reason !== null) {
  console.error(reason)
  process.exit(1)
}

if (write) {
  const { driver, compiled } = compile(await networkKernels(), 'navi31')
  writeFileSync(new URL('static.json', folder), formatTable(tableOf(driver, compiled)))
} else {
  const files = words.filter((word) => word.endsWith('.wgsl'))
  const all =
    files.length > 0 ? new Map(files.map((file) => [file, readFileSync(file, 'utf8')])) : await networkKernels()
  const wanted = words.filter((word) => !word.endsWith('.wgsl')).map((word) => word.replace('=', ' '))
  const kernels = new Map([...all].filter(([key]) => wanted.every((word) => plainKey(key).includes(word))))
  const { driver, compiled } = compile(kernels, family as Family)
  console.log(`${family}, ${driver}`)
  console.log('instructions VGPRs  LDS waves  FMA share: inner loop, round')
  for (const [key, { instructions, vgprs, lds, waves, fmaShare, assembly }] of compiled) {
    const shares = [fmaShare.inner, fmaShare.round].map((share) =>
      (share === null ? '   -' : share.toFixed(3)).padStart(7),
    )
    const figures = [instructions, vgprs, lds, waves].map((n, i) => String(n).padStart([12, 6, 6, 6][i]))
    console.log(`${figures.join('')}${shares.join('')}  ${plainKey(key)}`)
    if (asm) console.log(assembly)
  }
  const whole = family === 'navi31' && words.length === 0
  const found = [...textFaults(kernels), ...faults(compiled), ...(whole ? sharesLost(compiled) : [])]
  for (const fault of found) console.log(`FAULT ${fault}`)
}
