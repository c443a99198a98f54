import { aText, listOf, parseJson } from '../io/json.ts'

/** The entry of a class-conditional model's metadata that {@link classNames} reads: names in the order of labels. */
export const encodeClassNames = (names: readonly string[]): { classes: string } => ({ classes: JSON.stringify(names) })

/**
 * What the labels of the class-conditional model `name` are called, by its metadata; null where that does not say.
 * @throws TweedieError 'format' for metadata that is no list of names
 */
export const classNames = ({ classes }: Readonly<Record<string, string>>, name: string): readonly string[] | null =>
  classes === undefined
    ? null
    : parseJson<readonly string[]>(classes, `${name}, metadata "classes"`, 'names of classes', listOf(aText))
