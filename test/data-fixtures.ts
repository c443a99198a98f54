/**
 * Images for the tests of data sets. The JPEGs are PIL 9.4's of 13 x 9 pixels at quality 60, with the pixels that PIL
 * itself decodes from them; the files of NumPy and MNIST are written here, byte by byte.
 */
import { zipSync } from 'fflate'
import { imageArrays, type Image, type ImageSet } from '../src/data/index.ts'
import { ascii, concat, le } from './io-fixtures.ts'

const bytes = (base64: string): Uint8Array<ArrayBuffer> => Uint8Array.from(Buffer.from(base64, 'base64'))

export const jpegs: Record<string, { file: Uint8Array<ArrayBuffer>; pixels: Uint8Array }> = {
  'chroma of half the width and height': {
    file: bytes('/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxO' +
      'UlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09P' +
      'T09PT09PT0//wAARCAAJAA0DASIAAhEBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAABQQG/8QAHxAAAQMDBQAAAAAAAAAAAAAAAQAD' +
      'BQIEMRETNESB/8QAFQEBAQAAAAAAAAAAAAAAAAAAAAH/xAAbEQABBAMAAAAAAAAAAAAAAAABAAIDMQQSIf/aAAwDAQACEQMRAD8A' +
      'vdn2i1tAjXAQdzFV37pdpwiu36ttD8QJkRBg3FqQ8eYzQX//2Q=='),
    pixels: bytes('fc/DmeHTtevUwuPEzdWu0sqZz7uAxq1tpI1Kjno9a18rS0YeODYdg9DGmt7RsuXSv+DFy9WyzsqbybqDvqpvoIxPi3tAbGAuUEgj' +
      'PTkghcvDldLKptbIs9S/v86xwsSfubGDrZ9umItXiHpJbWI1VU0pR0Amgr27ib25lL+2n7+yqr2qqbOYoKGBlpJtjolhg3tUcWdD' +
      'YVY2XE40fqmvfaaofqWkh6eijaeeip+Qg5J/f4lxgYVsfXxgdm9TdGZLdmJJd5OfcIyXbIqSbo2Sbo2QaIaEZ4J9bIF4c4F0eHxt' +
      'fnllh3hhk3tha3aKYG+CV2x/U3CASm58Q2l0SG53Vnd8Z3x9c354hYF1mol3rpB2Yl17Vld1SFZxP1lyL1dwJlRrMF9zRG5+XXuG' +
      'cH2DioeCppOEv52EY051T0VqOD5iKEBiG0ZmF0xrIll3M2V+UHOHbn6LlpKTuqSZ0a2V'),
  },
  'chroma of half the width': {
    file: bytes('/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxO' +
      'UlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09P' +
      'T09PT09PT0//wAARCAAJAA0DASEAAhEBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAABQQG/8QAHBAAAgICAwAAAAAAAAAAAAAAAQMA' +
      'BQQ0AhNR/8QAFwEAAwEAAAAAAAAAAAAAAAAAAQIDBP/EAB8RAAEDAwUAAAAAAAAAAAAAAAIAAQMEERIjMjNBUf/aAAwDAQACEQMR' +
      'AD8AvbfqK+kEeQPIquee0uAkpYnAs/UICvpv0ixtza1OmJpqtjJR5SX/2Q=='),
    pixels: bytes('hMrMoNnTwOPL1N+15dab6syE3rdsyKJbrI5SjnlMYVs5QD8qLi8diMzLoNnSuuLIzN6229ae3suH1LdxwqVhpo1UjHpMZl45SkQq' +
      'ODYhh8nFltLIrNjBudSxwc2dxMKJvLJ1s6NomItUhnpKbmI8V0wsTkAmhL23i8C4lMOxm8GonryanbKJm6d5mZxth4ZWf3hMc2c/' +
      'aFg2Z1Axg6qpgainf6mlfqmie6WZeJ+NeJiBfpV5c4FednhTd25HemZBfmRDgZKcdoyZaoqXY42dW4yaVIiTV4mKY4yEZX5rcHpf' +
      'fnhYjHlYmHtZenWLaWuEVGmISW2ROnCUMm6QN3WKSX2IXH95bn9th4NonotrrZJ0cV58XFJ1QlB3NVWEJVuKG1uJImSHNnCGWoGG' +
      'b4N4jIx0p5Z4uqGDb0VzXkFvRDxtLTtsHEJvHk96KV6AN2V/V3SCcoGElpiNsquYwLeY'),
  },
  'progressive': {
    file: bytes('/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxO' +
      'UlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09P' +
      'T09PT09PT0//wgARCAAJAA0DASIAAhEBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAABAMF/8QAFQEBAQAAAAAAAAAAAAAAAAAAAAH/' +
      '2gAMAwEAAhADEAAAAbhLuJ//xAAaEAACAgMAAAAAAAAAAAAAAAABAwIREjJC/9oACAEBAAEFAi8VJWZ6Tr//xAAXEQADAQAAAAAA' +
      'AAAAAAAAAAAAAREC/9oACAEDAQE/AcuOH//EABgRAAIDAAAAAAAAAAAAAAAAAAABAgMh/9oACAECAQE/AbIpaf/EABYQAQEBAAAA' +
      'AAAAAAAAAAAAABEAEP/aAAgBAQAGPwInf//EABcQAAMBAAAAAAAAAAAAAAAAAAABEBH/2gAIAQEAAT8hEsy3/wD/2gAMAwEAAgAD' +
      'AAAAECP/xAAWEQEBAQAAAAAAAAAAAAAAAAABAEH/2gAIAQMBAT8QZcl//8QAFxEAAwEAAAAAAAAAAAAAAAAAAAERMf/aAAgBAgEB' +
      'PxBLOn//xAAZEAACAwEAAAAAAAAAAAAAAAAAMQERcSH/2gAIAQEAAT8Q5iYtFTGSujdP/9k='),
    pixels: bytes('hM6/mdzKtOTKw+G90dqt2NGa0r99xKxmq45IknY1blUfTzgPQScQhszBm9rJsuLMwd6/zNet0c6byruAvqlopo5OkXk9cFooVj4Y' +
      'SDAYhsO8lc3CqdTDttK7vcuqvsCYt7GBrKBsnI1WjHxIc2I2X0soVTwmgrKyi7i1mL21oLyupLWioauQmp59lpRujIdfg3xSd2pH' +
      'alk7ZE43gKGqgKGohaKmiKKhh56WgZWJfY58fop0d39neHtgeHNWdmpQdmJKfo+hdomab4aUbYiTaIWLYoCCYX99aIN8ZHhtbntq' +
      'e3xqhHxninhgd3iWZ26KWGiBUGiARml9P2l5RG58UHiAV3Z5aHx6gIV+kox8n411cGSKXFh9R09zO1JyLVRzJFZxKmB4O26BTnWE' +
      'ZH+GgoyLmpaKq5uCZk99VkZzPkFsK0JrGkZrFExvHlp8MGmGT3yTY4COhpGTrqygy72j'),
  },
  'grey': {
    file: bytes('/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxO' +
      'UlNSMj5aYVpQYEpRUk//wAALCAAJAA0BAREA/8QAFgABAQEAAAAAAAAAAAAAAAAABQQG/8QAHhAAAAYDAQEAAAAAAAAAAAAAAAEC' +
      'AwUTBBE0MXH/2gAIAQEAAD8Avdnm66S1swJkRi81y5PhgxXaX0bOL5SH/9k='),
    pixels: bytes('u8DK1NbLuKmNeVxFOrzCy9TUybepi3leSDy2u8TKyb6toYh5Yk5EqKyytbKom5KDeWhaUZianJuWj4mFfXlya2aJiIaAe3h5e3Z6' +
      'foB/eHVuZl9haG9weoiSlWpmXVJMUFtlbHuOnaJiVUhBPUBPYHKBlqmy'),
  },
}

export const cmykJpeg = bytes('/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAoHB4jHhkoIyEjLSsoMDxkQTw3Nzx7WF1JZJGAmZaPgIyKoLTmw6Cq2q2KjMj/y9ru9f//' +
  '/5vB////+v/m/f/4/8AAFAgAAgACBEMRAE0RAFkRAEsRAP/EABUAAQEAAAAAAAAAAAAAAAAAAAUD/8QAGhAAAgIDAAAAAAAAAAAA' +
  'AAAAAAECETEycf/aAA4EQwBNAFkASwAAPwCsdVwTWEI0hk//2Q==')

/** A picture whose pixels PIL was given too. */
export const pattern = (width: number, height: number): Image => ({
  width, height, channels: 3,
  data: Uint8Array.from({ length: width * height * 3 }, (_, i) => {
    const [x, y, c] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width), i % 3]
    return (x * x * 7 + y * 13 + x * y * 3 + c * 50) % 256
  }),
})

/** A .npy file. `elements` are its bytes. */
export function npy(descr: string, shape: readonly number[], elements: ArrayLike<number>, { version = 1, fortran = false } = {}): Uint8Array {
  const header = `{'descr': ${descr.startsWith('[') ? descr : `'${descr}'`}, 'fortran_order': ${fortran ? 'True' : 'False'}, 'shape': (${shape.join(', ')}${shape.length === 1 ? ',' : ''}), }`
  const start = version === 1 ? 10 : 12
  const padded = header.padEnd(Math.ceil((start + header.length + 1) / 64) * 64 - start - 1) + '\n'
  return concat([0x93], ascii('NUMPY'), [version, 0], le(padded.length, version === 1 ? 2 : 4), ascii(padded), Array.from(elements))
}

/** An archive of such files, deflated as numpy.savez_compressed does, or with `level` 0 as numpy.savez. */
export const npz = (arrays: Readonly<Record<string, Uint8Array>>, level: 0 | 6 = 6): Uint8Array<ArrayBuffer> =>
  zipSync(Object.fromEntries(Object.entries(arrays).map(([key, file]) => [`${key}.npy`, file])), { level }) as Uint8Array<ArrayBuffer>

/** An IDX file of bytes. */
export const idx = (shape: readonly number[], elements: ArrayLike<number>): Uint8Array =>
  concat([0, 0, 8, shape.length], shape.flatMap((n) => le(n, 4).reverse()), Array.from(elements))

/** Images in memory, each of one value: image i is i in every pixel. */
export function countingSet(length: number, { size = 2, channels = 1, labels, columns }: { size?: number; channels?: 1 | 3; labels?: number[]; columns?: Record<string, number[]> } = {}): ImageSet {
  const each = size * size * channels
  return imageArrays({
    name: 'counting', fingerprint: `counting-${length}`, width: size, height: size, channels,
    data: Uint8Array.from({ length: length * each }, (_, i) => Math.floor(i / each)),
    ...labels && { labels }, ...columns && { columns: new Map(Object.entries(columns)) },
  })
}
