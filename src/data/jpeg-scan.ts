/**
 * The scans of a JPEG, baseline or progressive, as planes of samples, one a component at its own resolution. Baseline
 * blocks are transformed as they come, so that nothing but samples is kept; those of a progressive file are refined by
 * scan after scan, and their coefficients kept as 16-bit numbers until the last. Format: ITU-T T.81, annexes B, F, G.
 */
import { Damage, huffmanCode, nextMarker, ScanBits, type HuffmanCode } from './jpeg-bits.ts'
import { flatBlock, inverseTransform } from './jpeg-idct.ts'

/** A component as the frame's header describes it. */
export interface JpegComponent {
  readonly id: number
  /** Samples in a unit of the interleaved scan, across and down, in blocks: its resolution beside the others'. */
  readonly h: number
  readonly v: number
  /** Number of its quantization table. */
  readonly table: number
}

/** The frame, and where the segments behind it begin. */
export interface JpegFrame {
  readonly width: number
  readonly height: number
  readonly progressive: boolean
  readonly components: readonly JpegComponent[]
}

/** The samples of a component. Rows are `stride` apart, and go on behind the picture to whole blocks. */
export interface Plane {
  readonly data: Uint8Array
  readonly stride: number
}

interface Part extends JpegComponent, Plane {
  /** Blocks that the picture has, and those that a row of the plane has, to whole units. */
  readonly across: number
  readonly down: number
  readonly blocks: number
  readonly rows: number
  /** Of a progressive file: 64 a block, in zigzag order. */
  readonly coefficients: Int16Array | null
  quantization: Int32Array | null
  dc: HuffmanCode | null
  ac: HuffmanCode | null
  /** The first coefficient of the block before. */
  before: number
}

const zigzag = Uint8Array.of(
  ...[0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21],
  ...[28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61],
  ...[54, 47, 55, 62, 63],
)

/** Encoders write ten; each walks over the whole picture, however few bytes it has. */
const mostScans = 100

/** Decodes all scans. It yields a few times a second: between two of its steps a program may do other work, or stop. */
export function* decodeScans(bytes: Uint8Array, frame: JpegFrame): Generator<void, Plane[]> {
  const parts = partsOf(bytes, frame)
  const tables: (Int32Array | undefined)[] = []
  const [dcCodes, acCodes]: (HuffmanCode | undefined)[][] = [[], []]
  let [interval, scans] = [0, 0]
  const segment = (at: number): Uint8Array => {
    const end = at + 2 + ((bytes[at + 2] << 8) | bytes[at + 3])
    if (!(end <= bytes.length)) throw new Damage('it is cut short')
    return bytes.subarray(at + 4, end)
  }
  for (let at = nextMarker(bytes, 2); ; at = nextMarker(bytes, at)) {
    const marker = bytes[at + 1]
    // Without its end, scans may be missing.
    if (at >= bytes.length) throw new Damage('it is cut short')
    if (marker === 0xd9) break
    if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8)) {
      at += 2
      continue
    }
    const data = segment(at)
    at += 4 + data.length
    if (marker === 0xdb) readQuantization(data, tables)
    else if (marker === 0xc4) readCodes(data, dcCodes, acCodes)
    else if (marker === 0xdd) interval = (data[0] << 8) | data[1]
    else if (marker === 0xda) {
      if (++scans > mostScans) throw new Damage(`it has more than ${mostScans} scans`)
      const count = data[0]
      const [start, end, bits] = data.subarray(1 + 2 * count)
      const scan = Array.from({ length: count }, (_, i) => {
        const part = parts.find(({ id }) => id === data[1 + 2 * i])
        if (!part) throw new Damage('a scan of a component that there is not')
        const codes = data[2 + 2 * i]
        part.dc = dcCodes[codes >> 4] ?? null
        part.ac = acCodes[codes & 15] ?? null
        part.quantization ??= tables[part.table] ?? null
        return part
      })
      if (count === 0 || new Set(scan).size !== count || bits === undefined) throw new Damage('the header of a scan')
      const block = frame.progressive ? progressive(start, end, bits >> 4, bits & 15) : baseline
      at = yield* walk(new ScanBits(bytes, at), scan, parts, frame, interval, block)
    }
  }
  if (scans === 0) throw new Damage('it is cut short')
  if (frame.progressive) for (const part of parts) yield* transform(part)
  return parts
}

const ceil = (a: number, b: number): number => Math.ceil(a / b)
const most = (parts: readonly JpegComponent[], key: 'h' | 'v'): number => Math.max(...parts.map((part) => part[key]))

function partsOf(bytes: Uint8Array, { width, height, progressive, components }: JpegFrame): Part[] {
  const [h, v] = [most(components, 'h'), most(components, 'v')]
  const layout = components.map((one) => ({
    ...one,
    across: ceil(ceil(width * one.h, h), 8),
    down: ceil(ceil(height * one.v, v), 8),
    blocks: ceil(width, 8 * h) * one.h,
    rows: ceil(height, 8 * v) * one.v,
  }))
  // A block has a code at least, of a bit at least: so a small file does not ask for much memory.
  if (layout.reduce((sum, { across, down }) => sum + across * down, 0) > 8 * bytes.length)
    throw new Damage('it is cut short')
  return layout.map((one) => ({
    ...one,
    data: new Uint8Array(one.blocks * one.rows * 64),
    stride: one.blocks * 8,
    coefficients: progressive ? new Int16Array(one.blocks * one.rows * 64) : null,
    quantization: null,
    dc: null,
    ac: null,
    before: 0,
  }))
}

function readQuantization(data: Uint8Array, tables: (Int32Array | undefined)[]): void {
  for (let at = 0; at < data.length; ) {
    const [wide, number] = [data[at] >> 4, data[at++] & 15]
    if (at + 64 * (wide + 1) > data.length || wide > 1) throw new Damage('a quantization table')
    tables[number] = Int32Array.from({ length: 64 }, (_, k) =>
      wide ? (data[at + 2 * k] << 8) | data[at + 2 * k + 1] : data[at + k],
    )
    at += 64 * (wide + 1)
  }
}

function readCodes(data: Uint8Array, dc: (HuffmanCode | undefined)[], ac: (HuffmanCode | undefined)[]): void {
  for (let at = 0; at < data.length; ) {
    const counts = data.subarray(at + 1, at + 17)
    const total = counts.reduce((a, b) => a + b, 0)
    if (at + 17 + total > data.length || total > 256) throw new Damage('a Huffman table')
    const codes = data[at] >> 4 ? ac : dc
    codes[data[at] & 15] = huffmanCode(counts, data.subarray(at + 17, at + 17 + total))
    at += 17 + total
  }
}

type ReadBlock = (bits: ScanBits, part: Part, row: number, column: number) => void

/** All blocks of a scan: a component's own in rows, several components' in units; returns where the scan ends. */
function* walk(
  bits: ScanBits,
  scan: readonly Part[],
  parts: readonly Part[],
  { width, height }: JpegFrame,
  interval: number,
  block: ReadBlock,
): Generator<void, number> {
  const [single] = scan.length === 1 ? scan : []
  const across = single ? single.across : ceil(width, 8 * most(parts, 'h'))
  const down = single ? single.down : ceil(height, 8 * most(parts, 'v'))
  const fresh = (): void => {
    for (const part of scan) part.before = 0
    bits.run = 0
  }
  fresh()
  let unit = 0
  for (let row = 0; row < down; row++) {
    for (let column = 0; column < across; column++, unit++) {
      if (interval > 0 && unit > 0 && unit % interval === 0) {
        bits.restart()
        fresh()
      }
      if (single) block(bits, single, row, column)
      else
        for (const part of scan)
          for (let y = 0; y < part.v; y++)
            for (let x = 0; x < part.h; x++) block(bits, part, row * part.v + y, column * part.h + x)
    }
    yield
  }
  return bits.at
}

/** The first coefficient of a block: its difference from that of the block before is coded. */
function first(bits: ScanBits, part: Part): number {
  if (!part.dc) throw new Damage('a Huffman table is missing')
  const length = bits.decode(part.dc)
  if (length > 15) throw new Damage('a coefficient of more than 15 bits')
  return (part.before += bits.takeSigned(length))
}

const work = new Int32Array(64)

const baseline: ReadBlock = (bits, part, row, column) => {
  const { ac, quantization, data, stride } = part
  const dc = first(bits, part)
  if (!ac || !quantization) throw new Damage('a table is missing')
  const at = row * 8 * stride + column * 8
  let flat = true
  for (let k = 1; k < 64; k++) {
    const code = bits.decode(ac)
    const length = code & 15
    if (length === 0) {
      if (code !== 0xf0) break
      k += 15
      continue
    }
    k += code >> 4
    if (k > 63) throw new Damage('a block of more than 64 coefficients')
    if (flat) work.fill(0)
    flat = false
    work[zigzag[k]] = bits.takeSigned(length) * quantization[k]
  }
  if (flat) return flatBlock(dc * quantization[0], data, at, stride)
  work[0] = dc * quantization[0]
  inverseTransform(work, data, at, stride)
}

/**
 * What a scan of a progressive file says of each block: coefficients `start` to `end` of the zigzag, their bits from
 * `low` on, for the first time (`high` 0) or one bit more of what earlier scans said.
 */
function progressive(start: number, end: number, high: number, low: number): ReadBlock {
  if (start > end || end > 63 || low > 13 || (start === 0 && end !== 0)) throw new Damage('the header of a scan')
  const blockOf = ({ coefficients, blocks }: Part, row: number, column: number): Int16Array => {
    const at = (row * blocks + column) * 64
    return (coefficients as Int16Array).subarray(at, at + 64)
  }
  if (start === 0)
    return high === 0
      ? (bits, part, row, column) => (blockOf(part, row, column)[0] = first(bits, part) << low)
      : (bits, part, row, column) => (blockOf(part, row, column)[0] |= bits.take(1) << low)
  const codeOf = ({ ac }: Part): HuffmanCode => {
    if (!ac) throw new Damage('a Huffman table is missing')
    return ac
  }
  if (high === 0)
    return (bits, part, row, column) => {
      if (bits.run > 0) return void bits.run--
      const [code, block] = [codeOf(part), blockOf(part, row, column)]
      for (let k = start; k <= end; k++) {
        const word = bits.decode(code)
        const [skipped, length] = [word >> 4, word & 15]
        if (length === 0 && skipped < 15) {
          // This block and so many more have nothing further.
          bits.run = (1 << skipped) + bits.take(skipped) - 1
          return
        }
        k += skipped
        if (length === 0) continue
        if (k > 63) throw new Damage('a block of more than 64 coefficients')
        block[k] = bits.takeSigned(length) << low
      }
    }
  return (bits, part, row, column) => {
    const [code, block] = [codeOf(part), blockOf(part, row, column)]
    const refine = (k: number): void => {
      if (bits.take(1) && !(Math.abs(block[k]) & (1 << low))) block[k] += Math.sign(block[k]) << low
    }
    let k = start
    while (bits.run === 0 && k <= end) {
      const word = bits.decode(code)
      let [skipped, length] = [word >> 4, word & 15]
      let value = 0
      if (length === 0 && skipped < 15) {
        bits.run = (1 << skipped) + bits.take(skipped)
        break
      }
      if (length > 1) throw new Damage('a refinement of more than a bit')
      if (length === 1) value = (bits.take(1) ? 1 : -1) << low
      // So many that are zero stay so; those that are not get their bit on the way.
      for (; k <= end; k++) {
        if (block[k] !== 0) refine(k)
        else if (skipped-- === 0) break
      }
      if (value !== 0 && k <= end) block[k] = value
      k++
    }
    if (bits.run === 0) return
    for (; k <= end; k++) if (block[k] !== 0) refine(k)
    bits.run--
  }
}

function* transform({ coefficients, quantization, blocks, down, across, data, stride }: Part): Generator<void, void> {
  if (!quantization) throw new Damage('a quantization table is missing')
  for (let row = 0; row < down; row++) {
    for (let column = 0; column < across; column++) {
      const from = (row * blocks + column) * 64
      for (let k = 0; k < 64; k++) work[zigzag[k]] = (coefficients as Int16Array)[from + k] * quantization[k]
      inverseTransform(work, data, row * 8 * stride + column * 8, stride)
    }
    yield
  }
}
