/** jpeg-js says the types of its root alone. */
declare module 'jpeg-js/lib/decoder.js' {
  import { decode } from 'jpeg-js'

  export = decode
}
