/**
 * Many tensors one after another in few pieces of memory, so that one kernel goes over all of them: a network has some
 * 200 parameters, most of which are a few hundred numbers.
 */
import { partAlignment } from '../tensor/backend.ts'
import { full, type Device, type Tensor } from '../tensor/index.ts'

/** Which tensors lie in a piece, and where. */
export interface Piece {
  readonly names: readonly string[]
  /** Where each begins, in elements. */
  readonly offsets: readonly number[]
  /** Elements, with the gaps between tensors. */
  readonly size: number
}

/** 64 MiB: half of what a kernel sees of a buffer on every device. */
const maxElements = 2 ** 24
const alignment = partAlignment / 4

/** Pieces of at most 64 MiB, or of one tensor, in the order of `tensors`. */
export function piecesOf(tensors: ReadonlyMap<string, Tensor>, most: number = maxElements): Piece[] {
  const pieces: { names: string[]; offsets: number[]; size: number }[] = []
  for (const [name, { size }] of tensors) {
    const room = Math.ceil(size / alignment) * alignment
    let last = pieces.at(-1)
    if (!last || last.size + room > most) pieces.push((last = { names: [], offsets: [], size: 0 }))
    last.names.push(name)
    last.offsets.push(last.size)
    last.size += room
  }
  return pieces
}

/** Memory for `pieces`, 0 everywhere, the caller's. */
export const wholesOf = (device: Device, pieces: readonly Piece[]): Tensor[] =>
  pieces.map(({ size }) => device.keep(full(device, [size], 0)))

/** The tensors that lie in `wholes`, of the shapes that `like` has. */
export const partsOf = (
  pieces: readonly Piece[],
  wholes: readonly Tensor[],
  like: ReadonlyMap<string, Tensor>,
): Map<string, Tensor> =>
  new Map(
    pieces.flatMap(({ names, offsets }, k) =>
      names.map((name, i): [string, Tensor] => [name, wholes[k].part(offsets[i], like.get(name)!.shape)]),
    ),
  )
