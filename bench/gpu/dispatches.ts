/**
 * How long the GPU takes for each dispatch of a piece of work, where it stands: each is put into a compute pass of its
 * own with a stamp at both ends, so that caches are as they are there. What lies between two passes (the barrier, the
 * launch) is not in the figures: hold their sum against the whole.
 */
import type { Device, Shape } from '../../src/tensor.ts'
import type { WebGPUBackend } from '../../src/tensor/webgpu/backend.ts'
import { bufferUsage, mapRead } from '../../src/tensor/webgpu/flags.ts'

/** An op's dispatches of one kernel. */
export interface Timed {
  readonly op: string
  readonly inputs: readonly Shape[]
  readonly outputs: readonly Shape[]
  readonly kernel: string
  readonly grid: readonly [number, number, number]
  /** Of the whole op, when its kernels are one. */
  readonly flops: number
  readonly ms: number
}

/** A query set holds 4,096 stamps. */
const most = 2048

/** Runs `work` `rounds` times and gives the shortest time of each of its dispatches. It enqueues the same each time. */
export async function timeDispatches(device: Device, work: () => void, rounds = 3): Promise<Timed[]> {
  const ops = opsOf(device, work)
  await device.flush()
  let best: Stamped[] = []
  for (let round = 0; round < rounds; round++) {
    const found = await stamped(device, work)
    best = found.map((one, i) => (round > 0 && best[i].ms < one.ms ? best[i] : one))
  }
  const owners = ops.flatMap((op) => Array.from({ length: op.dispatches }, () => op))
  if (owners.length !== best.length)
    throw new Error(`${best.length} dispatches were timed, and ops enqueued ${owners.length}`)
  return best.map((one, i) => ({ ...one, ...owners[i] }))
}

type Op = Pick<Timed, 'op' | 'inputs' | 'outputs' | 'flops'> & { readonly dispatches: number }

function opsOf(device: Device, work: () => void): Op[] {
  const { backend } = device
  const found: Op[] = []
  const run = backend.run
  backend.run = ((op, params, inputs, outputs) => {
    const { dispatches, flops } = device.stats
    run.call(backend, op, params, inputs, outputs)
    const { stats } = device
    found.push({
      op,
      inputs: inputs.map(({ shape }) => shape),
      outputs: outputs.map(({ shape }) => shape),
      flops: stats.flops - flops,
      dispatches: stats.dispatches - dispatches,
    })
  }) as typeof run
  try {
    work()
  } finally {
    backend.run = run
  }
  return found
}

type Stamped = Pick<Timed, 'kernel' | 'grid' | 'ms'>

async function stamped(device: Device, work: () => void): Promise<Stamped[]> {
  const { gpuDevice } = device
  const found: { kernel: string; grid: [number, number, number] }[] = []
  const sets: GPUQuerySet[] = []
  const make = gpuDevice.createCommandEncoder.bind(gpuDevice)
  gpuDevice.createCommandEncoder = (descriptor) => splitting(make(descriptor))
  /** An encoder whose compute passes end after each dispatch. */
  const splitting = (encoder: GPUCommandEncoder): GPUCommandEncoder =>
    ({
      beginComputePass: () => {
        let [pipeline, bind]: [GPUComputePipeline | null, ((pass: GPUComputePassEncoder) => void) | null] = [null, null]
        return {
          setPipeline: (one: GPUComputePipeline) => void (pipeline = one),
          setBindGroup: (index: number, group: GPUBindGroup, offsets: Iterable<number>) =>
            void (bind = (pass) => pass.setBindGroup(index, group, offsets)),
          dispatchWorkgroups: (x: number, y: number, z: number) => {
            const at = found.length % most
            if (at === 0) sets.push(gpuDevice.createQuerySet({ type: 'timestamp', count: 2 * most }))
            const querySet = sets[sets.length - 1]
            const pass = encoder.beginComputePass({
              timestampWrites: { querySet, beginningOfPassWriteIndex: 2 * at, endOfPassWriteIndex: 2 * at + 1 },
            })
            pass.setPipeline(pipeline as GPUComputePipeline)
            bind?.(pass)
            pass.dispatchWorkgroups(x, y, z)
            pass.end()
            found.push({ kernel: (pipeline as GPUComputePipeline).label, grid: [x, y, z] })
          },
          end: () => {},
        }
      },
      clearBuffer: (...words: Parameters<GPUCommandEncoder['clearBuffer']>) => encoder.clearBuffer(...words),
      copyBufferToBuffer: (...words: Parameters<GPUCommandEncoder['copyBufferToBuffer']>) =>
        encoder.copyBufferToBuffer(...words),
      finish: () => encoder.finish(),
    }) as unknown as GPUCommandEncoder
  try {
    work()
    await device.flush()
  } finally {
    gpuDevice.createCommandEncoder = make
  }
  const stamps: bigint[] = []
  for (const [i, set] of sets.entries()) {
    const count = 2 * Math.min(most, found.length - i * most)
    const size = 8 * count
    const resolved = gpuDevice.createBuffer({ size, usage: bufferUsage.queryResolve | bufferUsage.copySource })
    const read = gpuDevice.createBuffer({ size, usage: bufferUsage.mapRead | bufferUsage.copyTarget })
    const encoder = make()
    encoder.resolveQuerySet(set, 0, count, resolved, 0)
    encoder.copyBufferToBuffer(resolved, 0, read, 0, size)
    gpuDevice.queue.submit([encoder.finish()])
    await device.backend.flush()
    await (device.backend as WebGPUBackend).waitFor(read.mapAsync(mapRead))
    stamps.push(...new BigUint64Array(read.getMappedRange().slice(0)))
    for (const owned of [set, resolved, read]) owned.destroy()
  }
  return found.map((one, i) => ({ ...one, ms: Number(stamps[2 * i + 1] - stamps[2 * i]) / 1e6 }))
}
