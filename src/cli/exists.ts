import { stat } from 'node:fs/promises'

/** Whether something is at `path`, of whatever kind; a link that leads nowhere is nothing. */
export const exists = (path: string): Promise<boolean> => stat(path).then(() => true, () => false)
