import { TweedieError } from '../../errors.ts'
import { minorityMetadata } from './minority-metadata.ts'

/**
 * Minority levels; the classes of the data; attributes, each there or not; real images (output 0) and synthetic ones
 * (1).
 */
export type ClassifierKind = 'levels' | 'classes' | 'attributes' | 'real'

/**
 * What the outputs of a noisy classifier stand for, as its file says: minority levels in `__metadata__.minority`, all
 * else in `__metadata__.classifier`. A file of another trainer says nothing, and is taken for what it is used as.
 */
export interface ClassifierMetadata {
  readonly of: ClassifierKind
  /** Of its outputs, in their order. */
  readonly names: readonly string[]
}

/**
 * The entry of a classifier file's metadata that {@link classifierMetadata} reads. Minority levels have an entry of
 * their own, `encodeMinorityMetadata`.
 */
export const encodeClassifierMetadata = ({
  of,
  names,
}: ClassifierMetadata & { readonly of: Exclude<ClassifierKind, 'levels'> }): { classifier: string } => ({
  classifier: JSON.stringify({ of, names }),
})

/**
 * Reads the metadata of the file `name`; null where there is none.
 * @throws TweedieError 'format' for metadata that cannot be read
 */
export function classifierMetadata(
  metadata: Readonly<Record<string, string>>,
  name: string,
): ClassifierMetadata | null {
  const minority = minorityMetadata(metadata, name)
  if (minority) return { of: 'levels', names: Array.from({ length: minority.levels }, (_, level) => String(level)) }
  if (metadata.classifier === undefined) return null
  let read: Partial<ClassifierMetadata> | null = null
  try {
    read = JSON.parse(metadata.classifier) as Partial<ClassifierMetadata> | null
  } catch {
    // Said below.
  }
  const names: unknown = read?.names
  if (
    ['classes', 'attributes', 'real'].includes(read?.of as string) &&
    Array.isArray(names) &&
    names.every((one) => typeof one === 'string')
  )
    return read as ClassifierMetadata
  throw new TweedieError(
    'format',
    `${name}: its metadata "classifier" does not say what the outputs stand for: train it again, or take ` +
      'the file as it was written.',
  )
}
