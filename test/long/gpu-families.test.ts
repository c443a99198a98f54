/** The networks' kernels, compiled for other GPUs than the one of test/gpu-static.test.ts. */
import { describe, expect, test } from 'vitest'
import { networkKernels } from '../../bench/gpu/passes.ts'
import { compile, families, missing } from '../../bench/gpu/radv.ts'
import { faults } from '../../bench/gpu/static-table.ts'

const reason = missing()
if (reason && process.env.CI === 'true') throw new Error(`CI compiles the kernels with RADV: ${reason}`)

describe.skipIf(reason)(`no spills, at most 128 registers and 16 KiB${reason ? `: ${reason}` : ''}`, () => {
  test.each(families.filter((family) => family !== 'navi31'))('%s', async (family) => {
    expect(faults(compile(await networkKernels(), family).compiled)).toEqual([])
  })
})
