import { TweedieError } from '../errors.ts'
import { clipped } from '../printable.ts'

/**
 * The state dict of ADM-512 with its optimizer takes about 10^5. Bounds time and the number of objects: what a function
 * of the table is given counts by its elements, for a list that stands in the file once may be given to it often.
 */
const maxInstructions = 1_000_000

/** A defect of the stream; {@link unpickle} adds file and position. Functions of the table throw it as well. */
export class MalformedPickle extends Error {}

/** What a pickle may name: `module.name` → a function that REDUCE calls with its arguments, or any other value. */
export type PickleGlobals = ReadonlyMap<string, unknown>

/** What a function of the table makes where the stream gives its contents later, by BUILD. */
export class Built {
  /** What the function was given. */
  readonly made: unknown
  state: unknown

  constructor(made?: unknown) {
    this.made = made
  }
}

/**
 * Runs the pickle that starts at `start` and returns its value and where the next byte stands.
 *
 * A pickle is a program for a stack machine, and its GLOBAL instruction may name any function of any Python module:
 * loading a stranger's checkpoint is running a stranger's code. This machine knows the data instructions that
 * `torch.save` writes (protocol 2, and those of 3 to 5 that replace them; CPython 3.12, Lib/pickletools.py), and the
 * only names it resolves are those of `globals`; any other is refused by name. There is no recursion, and no number in
 * the stream makes it allocate: a string of n bytes needs n bytes there.
 *
 * Python's dict becomes a
 * Map, set a Set, list and tuple an array, int a number (a bigint past 2^53), str a string, bytes a Uint8Array, None
 * null.
 * `persistent` turns persistent ids (torch: its storages) into values. Throws 'format'.
 */
export function unpickle(
  bytes: Uint8Array,
  start: number,
  name: string,
  globals: PickleGlobals,
  persistent: (id: unknown) => unknown,
): { value: unknown; end: number } {
  const machine = new Machine(bytes, start, globals, persistent)
  try {
    return { value: machine.run(), end: machine.at }
  } catch (error) {
    if (!(error instanceof MalformedPickle)) throw error
    throw new TweedieError('format', `${name}: pickle at byte ${machine.at}: ${error.message}`, { cause: error })
  }
}

class Machine {
  at: number
  private steps = 0
  private readonly bytes: Uint8Array
  private readonly view: DataView
  private readonly globals: PickleGlobals
  private readonly persistent: (id: unknown) => unknown
  private readonly stack: unknown[] = []
  private readonly marks: number[] = []
  private readonly memo = new Map<number, unknown>()

  constructor(bytes: Uint8Array, start: number, globals: PickleGlobals, persistent: (id: unknown) => unknown) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.at = start
    this.globals = globals
    this.persistent = persistent
  }

  run(): unknown {
    for (;;) {
      this.count(1)
      const code = this.bytes[this.take(1)]
      if (code === 0x2e) return this.pop() // STOP
      this.step(code)
    }
  }

  private count(steps: number): void {
    this.steps += steps
    if (this.steps > maxInstructions) throw new MalformedPickle(`expected at most ${maxInstructions} instructions`)
  }

  private step(code: number): void {
    const { stack, memo, view } = this
    switch (code) {
      case 0x80: {
        // PROTO
        const protocol = this.bytes[this.take(1)]
        if (protocol > 5) throw new MalformedPickle(`expected a protocol up to 5, found ${protocol}`)
        return
      }
      case 0x95:
        this.take(8)
        return // FRAME: a hint for buffering

      case 0x4e:
        stack.push(null)
        return // NONE
      case 0x88:
        stack.push(true)
        return // NEWTRUE
      case 0x89:
        stack.push(false)
        return // NEWFALSE
      case 0x4a:
        stack.push(view.getInt32(this.take(4), true))
        return // BININT
      case 0x4b:
        stack.push(this.u8())
        return // BININT1
      case 0x4d:
        stack.push(view.getUint16(this.take(2), true))
        return // BININT2
      case 0x8a:
        stack.push(this.long(this.u8()))
        return // LONG1
      case 0x47:
        stack.push(view.getFloat64(this.take(8), false))
        return // BINFLOAT, the one big-endian number
      case 0x54:
        stack.push(this.string(this.u32()))
        return // BINSTRING: str of Python 2
      case 0x55:
        stack.push(this.text(this.u8()))
        return // SHORT_BINSTRING
      case 0x58:
        stack.push(this.text(this.u32()))
        return // BINUNICODE
      case 0x8c:
        stack.push(this.text(this.u8()))
        return // SHORT_BINUNICODE
      case 0x8d:
        stack.push(this.text(this.u64()))
        return // BINUNICODE8
      case 0x42:
        stack.push(this.raw(this.u32()))
        return // BINBYTES
      case 0x43:
        stack.push(this.raw(this.u8()))
        return // SHORT_BINBYTES
      case 0x8e:
      case 0x96:
        stack.push(this.raw(this.u64()))
        return // BINBYTES8, BYTEARRAY8
      case 0x98:
        return // READONLY_BUFFER: of a bytearray

      case 0x28:
        this.marks.push(stack.length)
        return // MARK
      case 0x30:
        this.pop()
        return // POP
      case 0x29:
      case 0x5d:
        stack.push([])
        return // EMPTY_TUPLE, EMPTY_LIST
      case 0x7d:
        stack.push(new Map())
        return // EMPTY_DICT
      case 0x8f:
        stack.push(new Set())
        return // EMPTY_SET
      case 0x90: {
        // ADDITEMS
        const items = this.popMark()
        const set = this.top()
        if (!(set instanceof Set)) throw new MalformedPickle('expected a set to add to, found another value')
        for (const item of items) set.add(item)
        return
      }
      case 0x91:
        stack.push(new Set(this.popMark()))
        return // FROZENSET
      case 0x74:
        stack.push(this.popMark())
        return // TUPLE
      case 0x85:
      case 0x86:
      case 0x87: {
        // TUPLE1, TUPLE2, TUPLE3
        const items = Array.from({ length: code - 0x84 }, () => this.pop())
        stack.push(items.reverse())
        return
      }
      case 0x61:
        this.append([this.pop()])
        return // APPEND
      case 0x65:
        this.append(this.popMark())
        return // APPENDS
      case 0x73: {
        // SETITEM
        const value = this.pop()
        this.set([this.pop(), value])
        return
      }
      case 0x75:
        this.set(this.popMark())
        return // SETITEMS

      case 0x71:
        memo.set(this.u8(), this.top())
        return // BINPUT
      case 0x72:
        memo.set(this.u32(), this.top())
        return // LONG_BINPUT
      case 0x94:
        memo.set(memo.size, this.top())
        return // MEMOIZE
      case 0x68:
        stack.push(this.remembered(this.u8()))
        return // BINGET
      case 0x6a:
        stack.push(this.remembered(this.u32()))
        return // LONG_BINGET

      case 0x63:
        stack.push(this.global(this.line(), this.line()))
        return // GLOBAL
      case 0x69:
        this.global(this.line(), this.line())
        break // INST: refused, by name if it can be
      case 0x93: {
        // STACK_GLOBAL
        const name = this.pop()
        stack.push(this.global(this.pop(), name))
        return
      }
      case 0x52:
      case 0x81: {
        // REDUCE, and NEWOBJ of a class
        const args = this.pop(),
          call = this.pop()
        if (typeof call !== 'function') throw new MalformedPickle('expected a function to call, found another value')
        if (!Array.isArray(args) || args.length > 16)
          throw new MalformedPickle('expected a tuple of at most 16 arguments')
        for (const arg of args as unknown[]) this.count(sizeOf(arg))
        stack.push(call(...(args as unknown[])))
        return
      }
      // BUILD: sets attributes, and torch gives its OrderedDict `_metadata`, layer versions: we have no use for any.
      case 0x62: {
        const state = this.pop()
        const owner = this.top()
        if (owner instanceof Built) {
          owner.state = state
          return
        }
        if (typeof owner !== 'object' || owner === null || Array.isArray(owner))
          throw new MalformedPickle('expected attributes of a dictionary or a tensor')
        return
      }
      case 0x51:
        stack.push(this.persistent(this.pop()))
        return // BINPERSID
    }
    throw new MalformedPickle(`found instruction 0x${code.toString(16)}, which torch.save does not write for tensors`)
  }

  /** Moves past `length` bytes and returns where they start. */
  private take(length: number): number {
    const start = this.at
    if (start + length > this.bytes.length) throw new MalformedPickle(`expected ${length} bytes more, found the end`)
    this.at += length
    return start
  }

  private u8(): number {
    return this.bytes[this.take(1)]
  }
  private u32(): number {
    return this.view.getUint32(this.take(4), true)
  }
  private u64(): number {
    return Number(this.view.getBigUint64(this.take(8), true))
  }

  private raw(length: number): Uint8Array {
    const start = this.take(length)
    return this.bytes.slice(start, start + length)
  }

  private text(length: number): string {
    const start = this.take(length)
    return utf8(this.bytes.subarray(start, start + length))
  }

  /** Python 2's long str: text, or bytes, as which it is given where it is no text. */
  private string(length: number): string | Uint8Array {
    const start = this.at
    try {
      return this.text(length)
    } catch (error) {
      if (this.at !== start + length) throw error
      return this.bytes.slice(start, start + length)
    }
  }

  /** Up to a line feed, as GLOBAL writes its names. */
  private line(): string {
    const end = this.bytes.indexOf(0x0a, this.at)
    const text = this.text((end < 0 ? this.bytes.length : end) - this.at)
    this.take(1)
    return text
  }

  /** Two's complement of any length. */
  private long(length: number): number | bigint {
    const start = this.take(length)
    let value = 0n
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.bytes[start + i])
    value = BigInt.asIntN(8 * length, value)
    return Number.isSafeInteger(Number(value)) ? Number(value) : value
  }

  /** The stack above the last mark is all that an instruction may touch. */
  private top(): unknown {
    if (this.stack.length <= (this.marks.at(-1) ?? 0)) throw new MalformedPickle('stack underflow')
    return this.stack.at(-1)
  }

  private pop(): unknown {
    this.top()
    return this.stack.pop()
  }

  private popMark(): unknown[] {
    const mark = this.marks.pop()
    if (mark === undefined) throw new MalformedPickle('expected a mark on the stack, found none')
    return this.stack.splice(mark)
  }

  private append(items: unknown[]): void {
    const list = this.top()
    if (!Array.isArray(list)) throw new MalformedPickle('expected a list to append to, found another value')
    for (const item of items) list.push(item)
  }

  private set(items: unknown[]): void {
    const dict = this.top()
    if (!(dict instanceof Map)) throw new MalformedPickle('expected a dictionary to fill, found another value')
    if (items.length % 2 !== 0) throw new MalformedPickle('expected pairs of key and value, found a key without one')
    for (let i = 0; i < items.length; i += 2) dict.set(items[i], items[i + 1])
  }

  private remembered(index: number): unknown {
    if (!this.memo.has(index)) throw new MalformedPickle(`expected a value under memo ${index}, found none`)
    return this.memo.get(index)
  }

  private global(module: unknown, name: unknown): unknown {
    if (typeof module !== 'string' || typeof name !== 'string')
      throw new MalformedPickle('expected the name of a global')
    const path = `${module}.${name}`
    if (!this.globals.has(path)) {
      throw new MalformedPickle(
        `it names the global "${clipped(path, 200)}". Only the few names that rebuild tensors are ` +
          'resolved, because a pickle runs what it names. Save the weights alone: torch.save(model.state_dict(), path)',
      )
    }
    return this.globals.get(path)
  }
}

/** What a function of the table may go through: elements, and those of the few that are lists. */
function sizeOf(value: unknown, depth = 1): number {
  if (value instanceof Map || value instanceof Set) return value.size
  if (typeof value === 'string' || value instanceof Uint8Array) return value.length
  if (!Array.isArray(value)) return 1
  if (value.length > 16 || depth === 0) return value.length
  return value.reduce<number>((sum, item) => sum + sizeOf(item, depth - 1), 1)
}

function utf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw new MalformedPickle('expected a string of UTF-8')
  }
}
