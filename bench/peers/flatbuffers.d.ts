/** What the benches use of flatbuffers, which only bench/package.json installs. */
/** Offsets are numbers: distances from the end of the buffer, which grows downwards. */
export class Builder {
  constructor(initialSize?: number)
  startObject(fields: number): void
  endObject(): number
  startVector(elementSize: number, length: number, alignment: number): void
  endVector(): number
  addInt8(value: number): void
  addInt32(value: number): void
  addOffset(offset: number): void
  addFieldInt8(field: number, value: number, unset: number): void
  addFieldInt32(field: number, value: number, unset: number): void
  addFieldOffset(field: number, value: number, unset: number): void
  createString(text: string): number
  finish(root: number, identifier?: string): void
  asUint8Array(): Uint8Array
}
