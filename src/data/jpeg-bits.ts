/** The bits of a JPEG's scan, and Huffman codes read from them. Format: ITU-T T.81, annexes B and F. */

/** What is wrong with a file; the decoder adds its name. */
export class Damage extends Error {}

/** Bits looked up at once; longer codes, which are rare, are compared length by length. */
const ahead = 9

/** A code: by its next {@link ahead} bits a value and its length, or 0; of longer ones by length. */
export interface HuffmanCode {
  /** (value << 5) | length. */
  readonly short: Uint16Array
  /** By length: the largest code, -1 for none, and where its values begin less its first code. */
  readonly last: Int32Array
  readonly offset: Int32Array
  readonly values: Uint8Array
}

/** The code with `counts[i]` words of i + 1 bits, for these values in order. */
export function huffmanCode(counts: Uint8Array, values: Uint8Array): HuffmanCode {
  const short = new Uint16Array(1 << ahead)
  const [last, offset] = [new Int32Array(17).fill(-1), new Int32Array(17)]
  let [code, k] = [0, 0]
  for (let length = 1; length <= 16; length++, code <<= 1) {
    offset[length] = k - code
    for (let i = 0; i < counts[length - 1]; i++, k++, code++) {
      if (code >= 1 << length) throw new Damage('a Huffman table is none')
      if (length <= ahead)
        short.fill((values[k] << 5) | length, code << (ahead - length), (code + 1) << (ahead - length))
      last[length] = code
    }
  }
  return { short, last, offset, values }
}

/** Reads the bits of a scan from `at` on, as far as the next marker, which they never pass. */
export class ScanBits {
  private buffer = 0
  private count = 0
  /** Bits in the buffer that are not the file's. */
  private padding = 0
  /** Of a progressive scan: so many blocks from here on have nothing (further) coded. */
  run = 0

  private readonly bytes: Uint8Array
  /** Where the bytes not yet taken begin: in the end the marker behind the scan, or before it. */
  at: number

  constructor(bytes: Uint8Array, at: number) {
    this.bytes = bytes
    this.at = at
  }

  private fill(): void {
    while (this.count <= 24) {
      let byte = this.at < this.bytes.length ? this.bytes[this.at] : -1
      // A byte of ones is followed by a 0, or it is a marker.
      if (byte === 0xff && this.bytes[this.at + 1] !== 0) byte = -1
      if (byte < 0) this.padding += 8
      else this.at += byte === 0xff ? 2 : 1
      this.buffer = (this.buffer << 8) | Math.max(0, byte)
      this.count += 8
    }
  }

  private skip(bits: number): void {
    this.count -= bits
    if (this.count < this.padding) throw new Damage('it is cut short')
  }

  /** The next value of a code. */
  decode(code: HuffmanCode): number {
    if (this.count < 16) this.fill()
    const found = code.short[(this.buffer >>> (this.count - ahead)) & ((1 << ahead) - 1)]
    if (found !== 0) {
      this.skip(found & 31)
      return found >> 5
    }
    for (let length = ahead + 1; length <= 16; length++) {
      const word = (this.buffer >>> (this.count - length)) & ((1 << length) - 1)
      if (word > code.last[length]) continue
      this.skip(length)
      return code.values[code.offset[length] + word]
    }
    throw new Damage(this.padding > 0 ? 'it is cut short' : 'a code that its Huffman table has not')
  }

  /** A number of `bits` bits, at most 16. */
  take(bits: number): number {
    if (bits === 0) return 0
    if (this.count < bits) this.fill()
    const value = (this.buffer >>> (this.count - bits)) & ((1 << bits) - 1)
    this.skip(bits)
    return value
  }

  /** A signed number of `bits` bits as T.81 F.2.2.1 codes it: what begins with 0 is negative. */
  takeSigned(bits: number): number {
    const value = this.take(bits)
    return bits > 0 && value < 1 << (bits - 1) ? value - (1 << bits) + 1 : value
  }

  /** Goes behind the restart marker that ends this part of the scan. */
  restart(): void {
    this.buffer = this.count = this.padding = 0
    this.at = nextMarker(this.bytes, this.at)
    const marker = this.bytes[this.at + 1]
    if (!(marker >= 0xd0 && marker <= 0xd7)) throw new Damage('it is cut short')
    this.at += 2
  }
}

/** Where the next marker lies, from `at` on: 255 and then neither 0 nor 255. Where there is none, the end. */
export function nextMarker(bytes: Uint8Array, at: number): number {
  for (; at + 1 < bytes.length; at++) if (bytes[at] === 0xff && bytes[at + 1] !== 0 && bytes[at + 1] !== 0xff) return at
  return bytes.length
}
