/**
 * SHA-256 (FIPS 180-4). Files are hashed by the platform; a subset, which is made at once, by the few lines below.
 * Their constants are what the standard says they are, the first 32 bits of the fractions of roots of primes.
 */
import type { ByteSource } from './source.ts'

/** The hash of all parts, one after the other, in hexadecimal, by the platform. */
export async function sha256OfBytes(...parts: readonly Uint8Array<ArrayBuffer>[]): Promise<string> {
  // A page that is not secure has no hashes of the platform's.
  if (!globalThis.crypto?.subtle) return sha256(...parts)
  const whole = parts.length === 1 ? parts[0] : new Uint8Array(await new Blob([...parts]).arrayBuffer())
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', whole))
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** The hash of all parts, one after the other, in hexadecimal; text counts as its UTF-8 bytes. */
export function sha256(...parts: readonly (Uint8Array | string)[]): string {
  const hash = new Sha256()
  for (const part of parts) hash.update(typeof part === 'string' ? new TextEncoder().encode(part) : part)
  return hash.digest()
}

/** A hash of bytes that come one after another, of a download, say: the platform hashes only what is all there. */
export class Sha256 {
  readonly #constants: Int32Array
  readonly #state: Int32Array
  readonly #words = new Int32Array(64)
  readonly #block = new Uint8Array(64)
  #filled = 0
  #length = 0

  constructor() {
    const primes = firstPrimes(64)
    const fraction = (root: number): number => Math.floor((root % 1) * 2 ** 32) | 0
    this.#constants = Int32Array.from(primes, (p) => fraction(Math.cbrt(p)))
    this.#state = Int32Array.from(primes.slice(0, 8), (p) => fraction(Math.sqrt(p)))
  }

  /** Takes more bytes. */
  update(bytes: Uint8Array): void {
    this.#length += bytes.length
    let at = 0
    if (this.#filled > 0) {
      at = Math.min(64 - this.#filled, bytes.length)
      this.#block.set(bytes.subarray(0, at), this.#filled)
      this.#filled += at
      if (this.#filled < 64) return
      compress(this.#state, this.#block, 0, this.#words, this.#constants)
    }
    for (; at + 64 <= bytes.length; at += 64) compress(this.#state, bytes, at, this.#words, this.#constants)
    this.#block.set(bytes.subarray(at))
    this.#filled = bytes.length - at
  }

  /** The hash of all bytes, in hexadecimal. It takes no more after that. */
  digest(): string {
    // A one bit, zeros, and the number of bits as 64 bits, up to the end of a block.
    const bits = this.#length * 8
    const padding = new Uint8Array((this.#filled < 56 ? 56 : 120) - this.#filled + 8)
    padding[0] = 0x80
    const end = new DataView(padding.buffer)
    end.setUint32(padding.length - 8, Math.floor(bits / 2 ** 32))
    end.setUint32(padding.length - 4, bits >>> 0)
    this.update(padding)
    return Array.from(this.#state, (word) => (word >>> 0).toString(16).padStart(8, '0')).join('')
  }
}

/** What the platform hashes at once, and how much is read at once of what is larger. */
const [whole, piece] = [64 * 2 ** 20, 4 * 2 ** 20]

/** The hash of a file that was opened for it, of which no more than 64 MiB are in memory. Closes it. */
export async function sha256OfSource(source: ByteSource, signal?: AbortSignal): Promise<string> {
  try {
    const { size } = source
    if (size <= whole) return await sha256OfBytes(await source.read(0, size, signal))
    const hash = new Sha256()
    for (let at = 0; at < size; at += piece) hash.update(await source.read(at, Math.min(piece, size - at), signal))
    return hash.digest()
  } finally {
    await source.close?.()
  }
}

const rotated = (x: number, by: number): number => (x >>> by) | (x << (32 - by))

/** Takes the 64 bytes from `at`. */
function compress(state: Int32Array, bytes: Uint8Array, at: number, w: Int32Array, constants: Int32Array): void {
  for (let i = 0; i < 16; i++, at += 4)
    w[i] = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]
  for (let i = 16; i < 64; i++) {
    const near = w[i - 2]
    const far = w[i - 15]
    w[i] =
      (((w[i - 16] + w[i - 7]) | 0) +
        (rotated(far, 7) ^ rotated(far, 18) ^ (far >>> 3)) +
        (rotated(near, 17) ^ rotated(near, 19) ^ (near >>> 10))) |
      0
  }
  let a = state[0],
    b = state[1],
    c = state[2],
    d = state[3],
    e = state[4],
    f = state[5],
    g = state[6],
    h = state[7]
  for (let i = 0; i < 64; i++) {
    const one =
      (((((h + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25))) | 0) + ((e & f) ^ (~e & g))) | 0) +
        ((constants[i] + w[i]) | 0)) |
      0
    const two = ((rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0
    h = g
    g = f
    f = e
    e = (d + one) | 0
    d = c
    c = b
    b = a
    a = (one + two) | 0
  }
  state[0] += a
  state[1] += b
  state[2] += c
  state[3] += d
  state[4] += e
  state[5] += f
  state[6] += g
  state[7] += h
}

function firstPrimes(count: number): number[] {
  const primes: number[] = []
  for (let n = 2; primes.length < count; n++) if (primes.every((p) => n % p !== 0)) primes.push(n)
  return primes
}
