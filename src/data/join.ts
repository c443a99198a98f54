import { TweedieError } from '../errors.ts'
import type { ImageSet } from './image-set.ts'
import { sha256 } from '../io/sha256.ts'

/**
 * Two sets or more as one, the images of each after those of the one before. Labels and columns stay behind: what is a
 * class of one set need not be one of another.
 */
export function joinSets(sets: readonly ImageSet[]): ImageSet {
  const begins = sets.map((_, k) => sets.slice(0, k).reduce((sum, { length }) => sum + length, 0))
  const length = sets.reduce((sum, set) => sum + set.length, 0)
  const name = sets.map((set) => set.name).join(' and ')
  const find = (index: number): [set: ImageSet, index: number] => {
    const k = begins.findLastIndex((begin) => begin <= index)
    const set = sets[k]
    if (set === undefined || !(index < length))
      throw new TweedieError('option', `${name}: expected an index below ${length}, found ${index}.`)
    return [set, index - begins[k]]
  }
  return {
    name,
    length,
    channels: sets.some((set) => set.channels === 3) ? 3 : 1,
    columns: new Map(),
    notes: sets.flatMap((set) => set.notes),
    fingerprint: sha256(...sets.map((set) => `${set.fingerprint}+`)),
    ...(sets.some((set) => set.formerFingerprint) && {
      formerFingerprint: sha256(...sets.map((set) => `${set.formerFingerprint ?? set.fingerprint}+`)),
    }),
    ...(sets.some((set) => set.leftOut) && {
      leftOut: sets.flatMap((set) => set.leftOut?.map((file) => `${set.name}/${file}`) ?? []),
    }),
    ...(sets.every((set) => set.files) && { files: sets.flatMap((set) => set.files!) }),
    imageName(index) {
      const [set, inner] = find(index)
      return `${set.name}/${set.imageName(inner)}`
    },
    sizeOf(index) {
      const [set, inner] = find(index)
      return set.sizeOf(inner)
    },
    async read(index, signal) {
      const [set, inner] = find(index)
      return set.read(inner, signal)
    },
  }
}
