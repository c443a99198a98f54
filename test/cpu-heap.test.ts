/** The CPU backend's heap against a list of who has what, over random sequences of requests. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Heap } from '../src/tensor/cpu/memory.ts'

const start = 1024
const limit = start + 64 * 100

/** Take so many bytes, or give back the piece with this number (modulo how many there are). */
const command = fc.oneof(fc.record({ take: fc.integer({ min: 0, max: 2000 }) }), fc.record({ give: fc.nat(1000) }))

test('pieces never overlap, freed ones join, the end is that of the last, and nothing goes beyond the limit', () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 200 }), (commands) => {
      const heap = new Heap(start)
      const pieces: { address: number; bytes: number }[] = []
      const endOf = ({ address, bytes }: (typeof pieces)[number]): number => address + Heap.roundUp(bytes)
      for (const one of commands) {
        pieces.sort((a, b) => a.address - b.address)
        if ('give' in one) {
          const [piece] = pieces.length > 0 ? pieces.splice(one.give % pieces.length, 1) : []
          if (piece) heap.give(piece.address, piece.bytes)
        } else {
          // The lowest place between what is taken that is large enough, or the one after all.
          const size = Heap.roundUp(one.take)
          const places = [start, ...pieces.map(endOf)]
          const fits = places.find((from, i) => (pieces[i]?.address ?? Infinity) - from >= size) as number
          const address = heap.take(one.take, limit)
          expect(address).toBe(fits + size <= limit ? fits : null)
          if (address !== null) pieces.push({ address, bytes: one.take })
        }
        expect(heap.end).toBe(Math.max(start, ...pieces.map(endOf)))
      }
      for (const { address, bytes } of pieces) heap.give(address, bytes)
      expect(heap.end).toBe(start)
    }),
    { numRuns: 300 },
  )
})

test('every piece begins at a multiple of 64 bytes and is at least 64 long', () => {
  expect([0, 1, 64, 65].map(Heap.roundUp)).toEqual([64, 64, 64, 128])
})
