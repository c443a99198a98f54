/** What computes: the head of every report, without which its figures say little. */
import { readFileSync } from 'node:fs'
import { cpus, loadavg, totalmem } from 'node:os'

const info = (() => {
  try {
    return readFileSync('/proc/cpuinfo', 'utf8')
  } catch {
    return ''
  }
})()

const flags = new Set(/^flags\s*:(.*)$/m.exec(info)?.[1]?.trim().split(' ') ?? [])

export const hasAvx512 = flags.has('avx512f')

export function describeMachine(): string {
  const sets = ['sse4_2', 'avx2', 'fma', 'avx512f', 'amx_tile'].filter((flag) => flags.has(flag))
  const [model, family] = [/^model\s*:(.*)$/m.exec(info)?.[1]?.trim(), /^cpu family\s*:(.*)$/m.exec(info)?.[1]?.trim()]
  const cpu =
    `${cpus()[0]?.model} (family ${family}, model ${model}), ${cpus().length} cores, ${sets.join(' ')}, ` +
    `${Math.round(totalmem() / 2 ** 30)} GiB`
  const native = hasAvx512
    ? '\nThis CPU has AVX-512, of which the issue does not speak: native libraries are measured as they are ' +
      '("native") and with AVX-512 hidden ("avx2").'
    : ''
  return `${cpu}; Node ${process.version}; load ${loadavg()
    .map((l) => l.toFixed(2))
    .join(' ')}; ${new Date().toISOString().slice(0, 16)}${native}`
}
