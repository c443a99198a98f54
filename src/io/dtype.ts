import { TweedieError } from '../errors.ts'

/** Element types that checkpoints hold, by their safetensors names. */
export type FileDType = 'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'I32' | 'I16' | 'I8' | 'U32' | 'U16' | 'U8' | 'BOOL'

/**
 * What reading a tensor gives, of what the engine computes in: floats as f32 (shorter ones widened exactly, F64
 * rounded), signed integers as i32 (64-bit ones must fit), U16 and U32 as u32; U8 and BOOL as bytes.
 */
export type TensorData =
  | Float32Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>

/** `bytes` of one element; `memory`: the type that reading gives ({@link TensorData}), again by its file name. */
export const fileDTypes: Readonly<Record<FileDType, { readonly bytes: number; readonly memory: FileDType }>> = {
  F64: { bytes: 8, memory: 'F32' },
  F32: { bytes: 4, memory: 'F32' },
  F16: { bytes: 2, memory: 'F32' },
  BF16: { bytes: 2, memory: 'F32' },
  I64: { bytes: 8, memory: 'I32' },
  I32: { bytes: 4, memory: 'I32' },
  I16: { bytes: 2, memory: 'I32' },
  I8: { bytes: 1, memory: 'I32' },
  U32: { bytes: 4, memory: 'U32' },
  U16: { bytes: 2, memory: 'U32' },
  U8: { bytes: 1, memory: 'U8' },
  BOOL: { bytes: 1, memory: 'BOOL' },
}

/** Whether it is one of {@link FileDType}. */
export function isFileDType(name: unknown): name is FileDType {
  return typeof name === 'string' && Object.hasOwn(fileDTypes, name)
}

/**
 * Raw little-endian elements → what the engine computes with. Little-endian is every machine that runs WebGPU, so equal
 * types are views and not copies: `bytes` is taken over.
 * `where` names file and tensor in the error (code 'format') for a 64-bit integer outside of i32.
 */
export function decode(dtype: FileDType, bytes: Uint8Array<ArrayBuffer>, where: string): TensorData {
  // A typed array must start at a multiple of its element.
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice()
  const count = byteLength / fileDTypes[dtype].bytes
  switch (dtype) {
    case 'F32':
      return new Float32Array(buffer, byteOffset, count)
    case 'F64':
      return Float32Array.from(new Float64Array(buffer, byteOffset, count))
    case 'F16':
      return widenF16(new Uint16Array(buffer, byteOffset, count))
    case 'BF16':
      return widenBF16(new Uint16Array(buffer, byteOffset, count))
    case 'I64':
      return narrowI64(new BigInt64Array(buffer, byteOffset, count), where)
    case 'I32':
      return new Int32Array(buffer, byteOffset, count)
    case 'I16':
      return Int32Array.from(new Int16Array(buffer, byteOffset, count))
    case 'I8':
      return Int32Array.from(new Int8Array(buffer, byteOffset, count))
    case 'U32':
      return new Uint32Array(buffer, byteOffset, count)
    case 'U16':
      return Uint32Array.from(new Uint16Array(buffer, byteOffset, count))
    case 'U8':
    case 'BOOL':
      return new Uint8Array(buffer, byteOffset, count)
  }
}

/**
 * IEEE half → single. Shifting exponent and mantissa into place leaves the exponent 112 too small, which the product
 * with 2^112 corrects exactly, subnormals included; infinities and NaNs get the exponent 255 set instead.
 */
function widenF16(half: Uint16Array): Float32Array<ArrayBuffer> {
  const out = new Float32Array(half.length)
  const bits = new Uint32Array(out.buffer)
  for (let i = 0; i < half.length; i++) {
    const h = half[i]
    const sign = (h & 0x8000) << 16
    const rest = (h & 0x7fff) << 13
    if ((h & 0x7c00) === 0x7c00) {
      bits[i] = sign | 0x7f800000 | rest
    } else {
      bits[i] = sign | rest
      out[i] = out[i] * 2 ** 112
    }
  }
  return out
}

/** bfloat16 is the upper half of a single. */
function widenBF16(half: Uint16Array): Float32Array<ArrayBuffer> {
  const out = new Float32Array(half.length)
  const bits = new Uint32Array(out.buffer)
  for (let i = 0; i < half.length; i++) bits[i] = half[i] << 16
  return out
}

function narrowI64(wide: BigInt64Array, where: string): Int32Array<ArrayBuffer> {
  const out = new Int32Array(wide.length)
  for (let i = 0; i < wide.length; i++) {
    out[i] = Number(wide[i])
    if (BigInt(out[i]) !== wide[i]) {
      throw new TweedieError('format', `${where}: expected integers that fit 32 bits, found ${wide[i]} at element ${i}`)
    }
  }
  return out
}
