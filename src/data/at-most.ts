/**
 * Runs at most `count` of the works that it is given at a time: a process may have a thousand files open, often fewer,
 * and a batch more images.
 */
export function atMost(count: number): <T>(work: () => Promise<T>) => Promise<T> {
  // Work k follows work k - count.
  const last = Array.from({ length: count }, (): Promise<unknown> => Promise.resolve())
  let next = 0
  return (work) => {
    const place = next++ % count
    const done = last[place].then(work)
    last[place] = done.catch(() => {})
    return done
  }
}
