/**
 * What the commands print. Names of files, tensors, classes and images are among it, from whoever wrote them, so that
 * all goes through {@link printable}; no other file of the command line writes to a terminal.
 */
import { printable } from '../printable.ts'

/** Results, on standard output. */
export const print = (text: string): void => console.log(printable(text))

/** What is said of the work, on standard error. */
export const tell = (text: string): void => console.error(printable(text))
