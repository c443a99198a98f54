/**
 * A GPUDevice without memory: it takes what the real backend gives it, computes nothing and notes every command. What
 * is counted on it (dispatches, barriers, bytes, submissions, objects) is what a GPU would be given, on any machine.
 * All it holds is zeros.
 */

/** A buffer, or the part of one that a command is given. */
interface Bound {
  readonly buffer: CountedBuffer
  readonly bytes: number
}

/** What the queue was given. */
export interface Command {
  readonly kind: 'dispatch' | 'copy' | 'clear' | 'write'
  readonly read: readonly Bound[]
  readonly write: readonly Bound[]
  /** Of a dispatch: the pipeline's label, and workgroups. */
  readonly kernel: string
  readonly grid: readonly [number, number, number]
}

interface CountedBuffer {
  readonly size: number
  /** Whether anything was ever done with it on the GPU, and whether it was written and not yet read since. */
  used: boolean
  fresh: boolean
}
interface Group {
  readonly uniforms: readonly Bound[]
  readonly read: readonly Bound[]
  readonly write: readonly Bound[]
}

/** As hardware whose limits are WebGPU's defaults and whose subgroups have 32 lanes; `limits` raises some. */
export class CountingGPU {
  /** Since the last {@link forget}, in the order in which the queue got them. */
  readonly commands: Command[] = []
  /** WGSL of every pipeline, by label. */
  readonly kernels = new Map<string, string>()
  /**
   * Commands before which Dawn's Vulkan backend puts a barrier, by its rule of whole buffers (BufferVk,
   * `TrackUsageAndGetResourceBarrier`): before a read of what was written and not read since, and before every write of
   * what was used at all. Each drains the GPU.
   */
  barriers = 0
  submits = 0
  /** Objects made. */
  objects = 0
  /** Told when the queue's end is waited for: what it was given until then is done. */
  onWait: () => void = () => {}
  readonly device: GPUDevice

  constructor(limits: Partial<Record<keyof GPUSupportedLimits, number>> = {}) {
    const done = (): Promise<void> => Promise.resolve(this.onWait())
    const made = <T extends object>(object: T): T => {
      this.objects++
      return object
    }
    const device = {
      features: new Set(['subgroups']),
      limits: {
        maxBufferSize: 2 ** 31,
        maxStorageBufferBindingSize: 2 ** 31 - 4,
        maxStorageBuffersPerShaderStage: 8,
        maxComputeWorkgroupsPerDimension: 65_535,
        maxComputeWorkgroupStorageSize: 16_384,
        maxComputeInvocationsPerWorkgroup: 256,
        maxComputeWorkgroupSizeX: 256,
        maxComputeWorkgroupSizeY: 256,
        maxComputeWorkgroupSizeZ: 64,
        minUniformBufferOffsetAlignment: 256,
        minStorageBufferOffsetAlignment: 256,
        ...limits,
      },
      adapterInfo: { vendor: 'none', description: 'counting device', subgroupMinSize: 32, subgroupMaxSize: 32 },
      lost: new Promise<never>(() => {}),
      pushErrorScope: () => {},
      popErrorScope: () => Promise.resolve(null),
      addEventListener: () => {},
      destroy: () => {},
      createBuffer: ({ size }: GPUBufferDescriptor) =>
        made({
          size,
          used: false,
          fresh: false,
          mapAsync: done,
          getMappedRange: () => new ArrayBuffer(size),
          unmap: () => {},
          destroy: () => {},
        }),
      createShaderModule: ({ code }: GPUShaderModuleDescriptor) => made({ code }),
      createBindGroupLayout: ({ entries }: GPUBindGroupLayoutDescriptor) => made({ entries: [...entries] }),
      createPipelineLayout: () => made({}),
      createComputePipeline: (descriptor: GPUComputePipelineDescriptor) => made(this.#pipeline(descriptor)),
      createComputePipelineAsync: async (descriptor: GPUComputePipelineDescriptor) => made(this.#pipeline(descriptor)),
      createBindGroup: (descriptor: GPUBindGroupDescriptor) => made(groupOf(descriptor)),
      createCommandEncoder: () => this.#encoder(),
      queue: {
        submit: (lists: readonly { readonly commands: readonly Command[] }[]) => {
          if (lists.length > 0) this.submits++
          for (const { commands } of lists) for (const command of commands) this.#take(command)
        },
        writeBuffer: (buffer: CountedBuffer) => this.#take(other('write', [], [whole(buffer)])),
        onSubmittedWorkDone: done,
      },
    }
    this.device = device as unknown as GPUDevice
  }

  /** Begins to count anew. */
  forget(): void {
    this.commands.length = 0
    this.barriers = 0
    this.submits = 0
    this.objects = 0
  }

  #take(command: Command): void {
    const { read, write } = command
    if (read.some(({ buffer }) => buffer.fresh) || write.some(({ buffer }) => buffer.used)) this.barriers++
    for (const { buffer } of read) Object.assign(buffer, { used: true, fresh: false })
    for (const { buffer } of write) Object.assign(buffer, { used: true, fresh: true })
    this.commands.push(command)
  }

  #pipeline({ label = '', compute }: GPUComputePipelineDescriptor): { label: string } {
    this.kernels.set(label, (compute.module as unknown as { code: string }).code)
    return { label }
  }

  #encoder(): object {
    const commands: Command[] = []
    let kernel = ''
    let group: Group = { uniforms: [], read: [], write: [] }
    return {
      beginComputePass: () => ({
        setPipeline: ({ label }: { label: string }) => (kernel = label),
        setBindGroup: (_: number, next: Group) => (group = next),
        dispatchWorkgroups: (x: number, y = 1, z = 1) => {
          const { uniforms, read, write } = group
          commands.push({ kind: 'dispatch', read: [...read, ...uniforms], write, kernel, grid: [x, y, z] })
        },
        end: () => {},
      }),
      clearBuffer: (buffer: CountedBuffer) => commands.push(other('clear', [], [whole(buffer)])),
      copyBufferToBuffer: (from: CountedBuffer, _: number, to: CountedBuffer, __: number, bytes: number) =>
        commands.push(other('copy', [{ buffer: from, bytes }], [{ buffer: to, bytes }])),
      finish: () => ({ commands }),
    }
  }
}

const whole = (buffer: CountedBuffer): Bound => ({ buffer, bytes: buffer.size })
const other = (kind: Command['kind'], read: readonly Bound[], write: readonly Bound[]): Command => ({
  kind,
  read,
  write,
  kernel: '',
  grid: [0, 0, 0],
})

function groupOf({ layout, entries }: GPUBindGroupDescriptor): Group {
  const types = new Map(
    (layout as unknown as { entries: GPUBindGroupLayoutEntry[] }).entries.map((e) => [e.binding, e.buffer?.type]),
  )
  const of = (type: GPUBufferBindingType): Bound[] =>
    [...entries].flatMap(({ binding, resource }) => {
      if (types.get(binding) !== type) return []
      const { buffer, offset = 0, size } = resource as GPUBufferBinding
      const counted = buffer as unknown as CountedBuffer
      return [{ buffer: counted, bytes: size ?? counted.size - offset }]
    })
  return { uniforms: of('uniform'), read: of('read-only-storage'), write: of('storage') }
}

/** The longest chain of commands that have to wait for one another, whatever their order. */
export function levelsOf(commands: readonly Command[]): number {
  const written = new Map<CountedBuffer, number>()
  const read = new Map<CountedBuffer, number>()
  let levels = 0
  for (const command of commands) {
    const after = Math.max(
      0,
      ...[...command.read, ...command.write].map(({ buffer }) => written.get(buffer) ?? 0),
      ...command.write.map(({ buffer }) => read.get(buffer) ?? 0),
    )
    for (const { buffer } of command.read) read.set(buffer, Math.max(read.get(buffer) ?? 0, after + 1))
    for (const { buffer } of command.write) written.set(buffer, after + 1)
    levels = Math.max(levels, after + 1)
  }
  return levels
}
