/** Whether the visitor asked for pages to download little: then nothing is loaded before a button is pressed. */
export const spares = (): boolean =>
  (navigator as { connection?: { saveData?: boolean } }).connection?.saveData === true ||
  matchMedia('(prefers-reduced-data: reduce)').matches
