/**
 * Images for the tests of data sets. The JPEGs are PIL 9.4's (of unusual samplings cjpeg's, libjpeg-turbo 2.1.5) of 13
 * x 9 pixels, if no other size is said, at quality 60, with the pixels that PIL decodes from them; the files of PNG,
 * NumPy and MNIST are written here, byte by byte.
 */
import { crc32, deflateSync } from 'node:zlib'
import { zipSync } from 'fflate'
import { imageArrays, type Image, type ImageSet } from '../src/data/index.ts'
import { ascii, concat, le } from './io-fixtures.ts'

const bytes = (base64: string): Uint8Array<ArrayBuffer> => Uint8Array.from(Buffer.from(base64, 'base64'))

export const jpegs: Record<
  string,
  { file: Uint8Array<ArrayBuffer>; pixels: Uint8Array; size?: [width: number, height: number] }
> = {
  'chroma of half the width and height': {
    file: bytes(
      '/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxO' +
        'UlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09P' +
        'T09PT09PT0//wAARCAAJAA0DASIAAhEBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAABQQG/8QAHxAAAQMDBQAAAAAAAAAAAAAAAQAD' +
        'BQIEMRETNESB/8QAFQEBAQAAAAAAAAAAAAAAAAAAAAH/xAAbEQABBAMAAAAAAAAAAAAAAAABAAIDMQQSIf/aAAwDAQACEQMRAD8A' +
        'vdn2i1tAjXAQdzFV37pdpwiu36ttD8QJkRBg3FqQ8eYzQX//2Q==',
    ),
    pixels: bytes(
      'fc/DmeHTtevUwuPEzdWu0sqZz7uAxq1tpI1Kjno9a18rS0YeODYdg9DGmt7RsuXSv+DFy9WyzsqbybqDvqpvoIxPi3tAbGAuUEgj' +
        'PTkghcvDldLKptbIs9S/v86xwsSfubGDrZ9umItXiHpJbWI1VU0pR0Amgr27ib25lL+2n7+yqr2qqbOYoKGBlpJtjolhg3tUcWdD' +
        'YVY2XE40fqmvfaaofqWkh6eijaeeip+Qg5J/f4lxgYVsfXxgdm9TdGZLdmJJd5OfcIyXbIqSbo2Sbo2QaIaEZ4J9bIF4c4F0eHxt' +
        'fnllh3hhk3tha3aKYG+CV2x/U3CASm58Q2l0SG53Vnd8Z3x9c354hYF1mol3rpB2Yl17Vld1SFZxP1lyL1dwJlRrMF9zRG5+XXuG' +
        'cH2DioeCppOEv52EY051T0VqOD5iKEBiG0ZmF0xrIll3M2V+UHOHbn6LlpKTuqSZ0a2V',
    ),
  },
  'chroma of half the width': {
    file: bytes(
      '/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxO' +
        'UlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09P' +
        'T09PT09PT0//wAARCAAJAA0DASEAAhEBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAABQQG/8QAHBAAAgICAwAAAAAAAAAAAAAAAQMA' +
        'BQQ0AhNR/8QAFwEAAwEAAAAAAAAAAAAAAAAAAQIDBP/EAB8RAAEDAwUAAAAAAAAAAAAAAAIAAQMEERIjMjNBUf/aAAwDAQACEQMR' +
        'AD8AvbfqK+kEeQPIquee0uAkpYnAs/UICvpv0ixtza1OmJpqtjJR5SX/2Q==',
    ),
    pixels: bytes(
      'hMrMoNnTwOPL1N+15dab6syE3rdsyKJbrI5SjnlMYVs5QD8qLi8diMzLoNnSuuLIzN6229ae3suH1LdxwqVhpo1UjHpMZl45SkQq' +
        'ODYhh8nFltLIrNjBudSxwc2dxMKJvLJ1s6NomItUhnpKbmI8V0wsTkAmhL23i8C4lMOxm8GonryanbKJm6d5mZxth4ZWf3hMc2c/' +
        'aFg2Z1Axg6qpgainf6mlfqmie6WZeJ+NeJiBfpV5c4FednhTd25HemZBfmRDgZKcdoyZaoqXY42dW4yaVIiTV4mKY4yEZX5rcHpf' +
        'fnhYjHlYmHtZenWLaWuEVGmISW2ROnCUMm6QN3WKSX2IXH95bn9th4NonotrrZJ0cV58XFJ1QlB3NVWEJVuKG1uJImSHNnCGWoGG' +
        'b4N4jIx0p5Z4uqGDb0VzXkFvRDxtLTtsHEJvHk96KV6AN2V/V3SCcoGElpiNsquYwLeY',
    ),
  },
  progressive: {
    file: bytes(
      '/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxO' +
        'UlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09P' +
        'T09PT09PT0//wgARCAAJAA0DASIAAhEBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAABAMF/8QAFQEBAQAAAAAAAAAAAAAAAAAAAAH/' +
        '2gAMAwEAAhADEAAAAbhLuJ//xAAaEAACAgMAAAAAAAAAAAAAAAABAwIREjJC/9oACAEBAAEFAi8VJWZ6Tr//xAAXEQADAQAAAAAA' +
        'AAAAAAAAAAAAAREC/9oACAEDAQE/AcuOH//EABgRAAIDAAAAAAAAAAAAAAAAAAABAgMh/9oACAECAQE/AbIpaf/EABYQAQEBAAAA' +
        'AAAAAAAAAAAAABEAEP/aAAgBAQAGPwInf//EABcQAAMBAAAAAAAAAAAAAAAAAAABEBH/2gAIAQEAAT8hEsy3/wD/2gAMAwEAAgAD' +
        'AAAAECP/xAAWEQEBAQAAAAAAAAAAAAAAAAABAEH/2gAIAQMBAT8QZcl//8QAFxEAAwEAAAAAAAAAAAAAAAAAAAERMf/aAAgBAgEB' +
        'PxBLOn//xAAZEAACAwEAAAAAAAAAAAAAAAAAMQERcSH/2gAIAQEAAT8Q5iYtFTGSujdP/9k=',
    ),
    pixels: bytes(
      'hM6/mdzKtOTKw+G90dqt2NGa0r99xKxmq45IknY1blUfTzgPQScQhszBm9rJsuLMwd6/zNet0c6byruAvqlopo5OkXk9cFooVj4Y' +
        'SDAYhsO8lc3CqdTDttK7vcuqvsCYt7GBrKBsnI1WjHxIc2I2X0soVTwmgrKyi7i1mL21oLyupLWioauQmp59lpRujIdfg3xSd2pH' +
        'alk7ZE43gKGqgKGohaKmiKKhh56WgZWJfY58fop0d39neHtgeHNWdmpQdmJKfo+hdomab4aUbYiTaIWLYoCCYX99aIN8ZHhtbntq' +
        'e3xqhHxninhgd3iWZ26KWGiBUGiARml9P2l5RG58UHiAV3Z5aHx6gIV+kox8n411cGSKXFh9R09zO1JyLVRzJFZxKmB4O26BTnWE' +
        'ZH+GgoyLmpaKq5uCZk99VkZzPkFsK0JrGkZrFExvHlp8MGmGT3yTY4COhpGTrqygy72j',
    ),
  },
  'chroma of a quarter the width and half the height': {
    file: bytes(
      '/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxO' +
        'UlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09P' +
        'T09PT09PT0//wAARCAAJAA0DAUIAAhEBAxEB/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUF' +
        'BAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVW' +
        'V1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi' +
        '4+Tl5ufo6erx8vP09fb3+Pn6/8QAHwEAAwEBAQEBAQEBAQAAAAAAAAECAwQFBgcICQoL/8QAtREAAgECBAQDBAcFBAQAAQJ3AAEC' +
        'AxEEBSExBhJBUQdhcRMiMoEIFEKRobHBCSMzUvAVYnLRChYkNOEl8RcYGRomJygpKjU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVm' +
        'Z2hpanN0dXZ3eHl6goOEhYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0tba3uLm6wsPExcbHyMnK0tPU1dbX2Nna4uPk5ebn6Onq' +
        '8vP09fb3+Pn6/90ABAAB/9oADAMBAAIRAxEAPwDqoXzGCOfxqldTsjAhuvtmiirVr/7N/UVWm6L/AJ7CiivKxcYKs1Y9XBP9yj//' +
        '2Q==',
    ),
    pixels: bytes(
      'qNGnrdass9yytt+11tWU1tWU19aV2diX/8pt/MRn9Lxf7rZZ/6s+n8iepc6krNWrsNmv0dCP0dCP09KR1dST979i87te7rZZ67NW' +
        '/6o9oMS4psq+rtLGs9fL1M6q1c+r19Gt2NKu87h27rNx56xq4KVj9pVEocW5p8u/r9PHtNjM1c+r1c+r1c+r1tCs8rd17rNx56xq' +
        '3KFf7o08mrrRocHYqcngrc3kzcPBy8G/yb+9yb+97KyJ7KyJ6amG4aF+9JFambnQoMDXqcngrs7lzsTCzMLAysC+yb+97a2K7q6L' +
        '66uI4aF+8I1Wk7PZnLzip8ftrs700sjR0cfQ0MbPz8XO66uQ7KyR6amO3JyB5YNSiKjOkbHXnr7kqMjuzcPMzsTNzsTNzsTN4aGG' +
        '5aWK5KSJ3JyB6IZVm7zdkbLTlrfYrM3uwLq81c/RwLq83NbY36N+87eS25968LSP8ZNT',
    ),
  },
  'chroma of half the height, with restart markers': {
    file: bytes(
      '/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxO' +
        'UlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09P' +
        'T09PT09PT0//wAARCAAJAA0DARIAAhEBAxEB/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUF' +
        'BAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVW' +
        'V1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi' +
        '4+Tl5ufo6erx8vP09fb3+Pn6/8QAHwEAAwEBAQEBAQEBAQAAAAAAAAECAwQFBgcICQoL/8QAtREAAgECBAQDBAcFBAQAAQJ3AAEC' +
        'AxEEBSExBhJBUQdhcRMiMoEIFEKRobHBCSMzUvAVYnLRChYkNOEl8RcYGRomJygpKjU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVm' +
        'Z2hpanN0dXZ3eHl6goOEhYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0tba3uLm6wsPExcbHyMnK0tPU1dbX2Nna4uPk5ebn6Onq' +
        '8vP09fb3+Pn6/90ABAAC/9oADAMBAAIRAxEAPwDqoXzGCOfxplr/AOzf1FPF0okUJWdirdTsjAhuvtmlm6L/AJ7CvEqxjF6o9uhO' +
        '6P/Z',
    ),
    pixels: bytes(
      'oM3SqtHQutTJytS71dKn39CV59CK7NKF/sp3/sJs/rhZ/65L/6pDl8PMosjLs83ExM620Mym2suU48yI6M6D875w9bho+LFZ/6pN' +
        '/6hImMTRo8jQtc7LxdC/0s+s3M+b5dCR6dGL77p27rRr8apc9J9M9ZZCmsPZpMjYts7SxdHF0dC0286i482U586O7Lh+7bJ276hm' +
        '7ppS7YxFlLvan8HarsjVvsrIyci00cSh1sGS2sGL5LKB6bB78Klx8p5i8ZNWlbjgnr/grsfdvMvQx8m8z8ap18Ga2r+S4rOJ6LKE' +
        '76t6755p7Y1akrLjnrvlrcbkvMzZyc7I08u228io38Wg3rOI5bKF7at56ppn4YZRiKXdk6/fpLzgtMfYwcrJzsi418as3sOl0ap/' +
        '26x+5ad055tn44lUm7f2k67lmbXdtsritL/D1NLGyrml7NS6zqx86L6M26Jr+7N465ZW',
    ),
  },
  'chroma of half the width and height, two columns of it': {
    size: [4, 5],
    file: bytes(
      '/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxO' +
        'UlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09P' +
        'T09PT09PT0//wAARCAAFAAQDASIAAhEBAxEB/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUF' +
        'BAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVW' +
        'V1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi' +
        '4+Tl5ufo6erx8vP09fb3+Pn6/8QAHwEAAwEBAQEBAQEBAQAAAAAAAAECAwQFBgcICQoL/8QAtREAAgECBAQDBAcFBAQAAQJ3AAEC' +
        'AxEEBSExBhJBUQdhcRMiMoEIFEKRobHBCSMzUvAVYnLRChYkNOEl8RcYGRomJygpKjU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVm' +
        'Z2hpanN0dXZ3eHl6goOEhYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0tba3uLm6wsPExcbHyMnK0tPU1dbX2Nna4uPk5ebn6Onq' +
        '8vP09fb3+Pn6/90ABAAB/9oADAMBAAIRAxEAPwDqonwmAB+Ioooq3Ti3exklof/Z',
    ),
    pixels: bytes('nMGwose2rc+2tNa9ose2qM28tNa9vN7Fo8HJqMbOss/NudbUpMLKqMbOrsvJss/NqMPgqsXissjftMrh'),
  },
  grey: {
    file: bytes(
      '/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxO' +
        'UlNSMj5aYVpQYEpRUk//wAALCAAJAA0BAREA/8QAFgABAQEAAAAAAAAAAAAAAAAABQQG/8QAHhAAAAYDAQEAAAAAAAAAAAAAAAEC' +
        'AwUTBBE0MXH/2gAIAQEAAD8Avdnm66S1swJkRi81y5PhgxXaX0bOL5SH/9k=',
    ),
    pixels: bytes(
      'u8DK1NbLuKmNeVxFOrzCy9TUybepi3leSDy2u8TKyb6toYh5Yk5EqKyytbKom5KDeWhaUZianJuWj4mFfXlya2aJiIaAe3h5e3Z6' +
        'foB/eHVuZl9haG9weoiSlWpmXVJMUFtlbHuOnaJiVUhBPUBPYHKBlqmy',
    ),
  },
}

/** CMYK as PIL writes it, and its pixels; with `transform` 2 in Adobe's marker, luma, chroma and key, the others. */
export const cmykJpeg = {
  file: bytes(
    '/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwANCQoLCggNCwoLDg4NDxMgFRMSEhMnHB4XIC4pMTAuKS0sMzpKPjM2RjcsLUBXQUZMTlJTUjI+' +
      'WmFaUGBKUVJP/8AAFAgACQANBEMiAE0RAFkRAEsRAP/EAB8AAAEFAQEBAQEBAAAAAAAAAAABAgMEBQYHCAkKC//EALUQAAIBAwMCBAMF' +
      'BQQEAAABfQECAwAEEQUSITFBBhNRYQcicRQygZGhCCNCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5OkNERUZHSElKU1RVVldY' +
      'WVpjZGVmZ2hpanN0dXZ3eHl6g4SFhoeIiYqSk5SVlpeYmZqio6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2drh4uPk5ebn' +
      '6Onq8fLz9PX29/j5+v/aAA4EQwBNAFkASwAAPwDo/EUv3+a8z1WX/SeteieIv468z1X/AI+aryeLtT/v/rVnxJrV7BPeyieYRwTCNI43' +
      '2Zz3Jo8Qatc+Yee/rX//2Q==',
  ),
  /** Where Adobe's marker says the transform, and where the marker begins; it has 16 bytes. */
  transformAt: 17,
  markerAt: 2,
  pixels: bytes(
    '9On14eTrxtvbsNHNnMjDib29dbe8ZK2zUaWoRZqcNZKRJ4qJH4WF7Nnu2dXlv83UqcPFlrq8g7GzbqmrX6GhTZiTQY+GMoZ7JH9zHHpv' +
      '3r3gzLjXsrDHnae4i5+reZecZZCOVoh+RYFtOnlfLHBTH2pMF2VI0Z/Rv5vIp5S3ko2lgoWUb36BXnhxT3BfP2pQNWNDJ1w6HFY1FVIz' +
      'xYLEtX+5nXikiXKOeWx4aGVjV2BTSVlEOlQ6ME4zI0gvGUMuEj8suWm6qWask2GTgFx5cFZfYFBLT0w+Q0Y2NEEyKzwvHzcuFTMsDzAr' +
      'rVOznlGiiE2DdkhlZ0NJWD84RzsyPDYxLjI0Ji40GyozEiYvDCMroUKsk0CZfz12bThWXjQ6TzAuQS0sNikwKSY3ISI2Fx8xDxwrChkj' +
      'lzSkiTKQdS9rZSxMVygzSSUqOyIuMB8zJB05HRk2FBcrDBQhCBIW',
  ),
  transformed: bytes(
    'AH4AAIYAAI8AAJMAAJcAAJ4AAKwAAK8AALMAAakAEKAAHJgEIZMLAHkAAIIAAIkAAI0AAJAAAJYAAJ8AAKEADKIAGp4AKZoENJMQOY0X' +
      'AG4AAHYAAH4AAIEAAIEAAIMABIYAG4MAN4EIRnsRVHkbXnslYXsrAGIAAGkAAG4AAG8AAG0ABmoAI2sLOmYWUmUiX2AoaGAwbmM3b2Q8' +
      'AFQAAFoAAFwAAFoGCFQRJU8cQU8nVE0xY086Z009aFBCalRIaFZLAEsAAE8LAE0bAEclIT0sPDo1Uzw/Xj1FYkNMYERNXkhRXUxTXE5V' +
      'AEcfAEcpAEA3Ejc+OCxDTipJWzBSWjZWVEBaTUNZSkdaS0hbTEdXAEM3AEFAADdKICxQRCFUVSFYVypeUDJgRT9jPkBgP0FbQ0BTSDxN' +
      'AD5HADpQAC9YJSRdRRtfURxhTCllQTJlNj1kMz1bOzlSRDVKRC5E',
  ),
}

/** A picture whose pixels PIL was given too. */
export const pattern = (width: number, height: number): Image => ({
  width,
  height,
  channels: 3,
  data: Uint8Array.from({ length: width * height * 3 }, (_, i) => {
    const [x, y, c] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width), i % 3]
    return (x * x * 7 + y * 13 + x * y * 3 + c * 50) % 256
  }),
})

/** What a PNG may be: `pixels` are samples in rows, of `depth` bits. */
export interface PngParts {
  readonly width: number
  readonly height: number
  readonly depth: number
  /** 0 grey, 2 colour, 3 palette, 4 grey and alpha, 6 colour and alpha. */
  readonly type: number
  readonly interlaced?: boolean
  readonly pixels: ArrayLike<number>
  /** Chunks ahead of the pixels. */
  readonly extra?: readonly Uint8Array[]
}

export function pngChunk(type: string, data: ArrayLike<number>): Uint8Array {
  const body = concat(ascii(type), Array.from(data))
  return concat(le(data.length, 4).reverse(), body, le(crc32(body), 4).reverse())
}

/** A PNG file. Row k of the picture, or of each pass of an interlaced one, has filter k % 5. */
export function pngFile({ width, height, depth, type, interlaced = false, pixels, extra = [] }: PngParts): Uint8Array {
  const samples = [1, 0, 3, 1, 2, 0, 4][type]
  const step = Math.max(1, (depth * samples) / 8)
  const passes = interlaced
    ? [
        [0, 0, 8, 8],
        [4, 0, 8, 8],
        [0, 4, 4, 8],
        [2, 0, 4, 4],
        [0, 2, 2, 4],
        [1, 0, 2, 2],
        [0, 1, 1, 2],
      ]
    : [[0, 0, 1, 1]]
  const rows = passes.flatMap(([x0, y0, dx, dy]) => {
    let above: number[] = []
    const out: number[][] = []
    for (let y = y0; y < height && x0 < width; y += dy) {
      let bits = ''
      for (let x = x0; x < width; x += dx)
        for (let s = 0; s < samples; s++) bits += pixels[(y * width + x) * samples + s].toString(2).padStart(depth, '0')
      const row = bits.match(/.{1,8}/g)!.map((byte) => parseInt(byte.padEnd(8, '0'), 2))
      const filter = out.length % 5
      const guess = row.map((_, i) => {
        const [a, b, c] = [row[i - step] ?? 0, above[i] ?? 0, above[i - step] ?? 0]
        const nearest = [a, b, c].reduce((best, v) => (Math.abs(a + b - c - v) < Math.abs(a + b - c - best) ? v : best))
        return [0, a, b, Math.floor((a + b) / 2), nearest][filter]
      })
      out.push([filter, ...row.map((byte, i) => (byte - guess[i]) & 255)])
      above = row
    }
    return out
  })
  const packed = deflateSync(Uint8Array.from(rows.flat()))
  const half = packed.length >> 1
  return concat(
    [137, 80, 78, 71, 13, 10, 26, 10],
    pngChunk('IHDR', [...le(width, 4).reverse(), ...le(height, 4).reverse(), depth, type, 0, 0, Number(interlaced)]),
    ...extra,
    pngChunk('IDAT', packed.subarray(0, half)),
    pngChunk('IDAT', packed.subarray(half)),
    pngChunk('IEND', []),
  )
}

/** A .npy file. `elements` are its bytes. */
export function npy(
  descr: string,
  shape: readonly number[],
  elements: ArrayLike<number>,
  { version = 1, fortran = false } = {},
): Uint8Array {
  const header =
    `{'descr': ${descr.startsWith('[') ? descr : `'${descr}'`}, 'fortran_order': ` +
    `${fortran ? 'True' : 'False'}, 'shape': (${shape.join(', ')}${shape.length === 1 ? ',' : ''}), }`
  const start = version === 1 ? 10 : 12
  const padded = `${header.padEnd(Math.ceil((start + header.length + 1) / 64) * 64 - start - 1)}\n`
  return concat(
    [0x93],
    ascii('NUMPY'),
    [version, 0],
    le(padded.length, version === 1 ? 2 : 4),
    ascii(padded),
    Array.from(elements),
  )
}

/** An archive of such files, deflated as numpy.savez_compressed does, or with `level` 0 as numpy.savez. */
export const npz = (arrays: Readonly<Record<string, Uint8Array>>, level: 0 | 6 = 6): Uint8Array<ArrayBuffer> =>
  zipSync(Object.fromEntries(Object.entries(arrays).map(([key, file]) => [`${key}.npy`, file])), { level })

/** An IDX file of bytes. */
export const idx = (shape: readonly number[], elements: ArrayLike<number>): Uint8Array =>
  concat(
    [0, 0, 8, shape.length],
    shape.flatMap((n) => le(n, 4).reverse()),
    Array.from(elements),
  )

/** A NIfTI volume of version 1, of values of type 4 (int16) or 16 (float32). */
export function volume(
  shape: readonly number[],
  type: 4 | 16,
  value: (index: number) => number,
  little = true,
): Uint8Array<ArrayBuffer> {
  const count = shape.reduce((a, b) => a * b, 1)
  const bytes = new Uint8Array(352 + count * (type === 4 ? 2 : 4))
  const view = new DataView(bytes.buffer)
  view.setInt32(0, 348, little)
  for (const [i, n] of [shape.length, ...shape].entries()) view.setInt16(40 + 2 * i, n, little)
  view.setInt16(70, type, little)
  view.setFloat32(108, 352, little)
  bytes.set(ascii('n+1\0'), 344)
  for (let i = 0; i < count; i++)
    if (type === 4) view.setInt16(352 + 2 * i, value(i), little)
    else view.setFloat32(352 + 4 * i, value(i), little)
  return bytes
}

/** Images in memory, each of one value: image i is i in every pixel. */
export function countingSet(
  length: number,
  {
    size = 2,
    channels = 1,
    labels,
    columns,
  }: { size?: number; channels?: 1 | 3; labels?: number[]; columns?: Record<string, number[]> } = {},
): ImageSet {
  const each = size * size * channels
  return imageArrays({
    name: 'counting',
    fingerprint: `counting-${length}`,
    width: size,
    height: size,
    channels,
    data: Uint8Array.from({ length: length * each }, (_, i) => Math.floor(i / each)),
    ...(labels && { labels }),
    ...(columns && { columns: new Map(Object.entries(columns)) }),
  })
}
