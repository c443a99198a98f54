import { TweedieError } from '../errors.ts'
import type { Checkpoint, TensorEntry } from './checkpoint.ts'
import type { TensorData } from './dtype.ts'
import { encodeSafetensors, type WritableData } from './safetensors.ts'
import { sha256OfBytes } from './sha256.ts'

const empty = '0'.repeat(64)

/**
 * As {@link encodeSafetensors}, a file that notices its own damage: a bit that flipped on a disk or on the way is found
 * before it is used. Its metadata hold the SHA-256 of every tensor's bytes, under `hashes`, and under `sha256` that of
 * all the bytes before the tensors, with zeros in its own place. Any reader of safetensors reads it;
 * {@link openSealed} checks it.
 */
export async function encodeSealed(
  tensors: Iterable<
    readonly [name: string, tensor: { readonly shape: readonly number[]; readonly data: Float32Array }]
  >,
  metadata: Readonly<Record<string, string>>,
): Promise<Uint8Array<ArrayBuffer>[]> {
  const list = [...tensors]
  const hashes: Record<string, string> = {}
  for (const [name, { data }] of list) hashes[name] = await hashOf(data)
  const [header, ...rest] = encodeSafetensors(list, { ...metadata, hashes: JSON.stringify(hashes), sha256: empty })
  const hash = await sha256OfBytes(header)
  header.set(new TextEncoder().encode(hash), placeOf(header, empty))
  return [header, ...rest]
}

/**
 * The same checkpoint, whose header is whole and whose tensors are checked whenever one is read.
 * @throws TweedieError 'format' for a file that is damaged or not sealed; {@link TensorEntry.read}
 *   likewise, naming the tensor
 */
export async function openSealed(checkpoint: Checkpoint): Promise<Checkpoint> {
  const {
    name,
    header,
    metadata: { sha256, hashes },
  } = checkpoint
  const damaged = (what: string): never => {
    throw new TweedieError(
      'format',
      `${name} is damaged: ${what} not what was written. Take a copy of it, or start again.`,
    )
  }
  if (!header || sha256 === undefined || !/^[0-9a-f]{64}$/.test(sha256) || hashes === undefined)
    return damaged('its header is')
  const unsealed = new Uint8Array(header)
  unsealed.fill(0x30, placeOf(header, sha256), placeOf(header, sha256) + 64)
  if ((await sha256OfBytes(unsealed)) !== sha256) damaged('its header is')
  const expected = JSON.parse(hashes) as Readonly<Record<string, string>>
  const checked = ([key, entry]: readonly [string, TensorEntry]): [string, TensorEntry] => [
    key,
    {
      ...entry,
      async read(signal) {
        const data = await entry.read(signal)
        if ((await hashOf(data)) !== expected[key]) damaged(`the tensor ${key} is`)
        return data
      },
    },
  ]
  return { ...checkpoint, tensors: new Map([...checkpoint.tensors].map(checked)) }
}

const hashOf = ({ buffer, byteOffset, byteLength }: WritableData | TensorData): Promise<string> =>
  sha256OfBytes(new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength))

/**
 * Where the hash stands in the header: the text cannot be anywhere else, for within a string its quotes have
 * backslashes.
 */
const placeOf = (header: Uint8Array, hash: string): number =>
  new TextDecoder('latin1').decode(header).indexOf(`"sha256":"${hash}"`) + 10
