/** Where tweedie keeps what it can make or fetch again: measured kernels, published weights. */
import { homedir } from 'node:os'
import { join } from 'node:path'

/** A file or folder in the user's cache folder: $XDG_CACHE_HOME/tweedie, or ~/.cache/tweedie. */
export const cacheFile = (name: string): string => join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'tweedie', name)
