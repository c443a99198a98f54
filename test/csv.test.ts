/** The names that a CSV has to put in quotes (RFC 4180, section 2). */
import { expect, test } from 'vitest'
import { csvField } from '../src/cli/csv.ts'

test.each([
  ['a/1.png', 'a/1.png'],
  ['a, b.png', '"a, b.png"'],
  ['the "x".png', '"the ""x"".png"'],
  ['a\nb\r.png', '"a\nb\r.png"'],
])('%j', (name, field) => expect(csvField(name)).toBe(field))
