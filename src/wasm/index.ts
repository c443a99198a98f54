/**
 * The kernels of the CPU backend, in AssemblyScript: TypeScript's syntax over WebAssembly's own types. `usize` is an
 * address, `v128` four floats. Every export of this module is a kernel `(p, chunk, scratch)`: `p` are its parameters,
 * whose class says what a launch must give (`scripts/params.js` reads it there), `chunk` the piece of work to do, of as
 * many as the launch says, `scratch` memory of this thread alone. Chunks write disjoint memory, in any order, on any
 * thread; how work is cut into chunks depends on shapes alone, so results are the same on any number of threads.
 *
 * Why AssemblyScript: what matters is the machine code that V8 makes of the loops, and that was the same from whatever
 * tool emitted the bytes, so the readable source wins. A kernel reads like the formulas beside it and is checked for
 * types, where a program that emits instructions one by one (binaryen, wabt) reads like neither the formula nor the
 * code. The whole compiles in 4 seconds, with no runtime (`--runtime stub`), 41 KB. Only `map`, whose expressions are
 * known at run time, has an emitter of its own (`src/tensor/cpu/emit`): neither tool belongs in a download.
 */
export * from './adamw'
export * from './attention'
export * from './attention-grad'
export * from './conv2d'
export * from './conv2d-weight-gradient'
export * from './copy-box'
export * from './copy-words'
export * from './fill'
export * from './gather'
export * from './group-norm'
export * from './group-norm-grad'
export * from './matmul'
export * from './pack-panels'
export * from './pool-max'
export * from './random'
export * from './reduce'
export * from './resize'
export * from './softmax'
export * from './sum-splits'
export * from './window'
export * from './winograd'
export * from './winograd-weight-gradient'
export * from './winograd-weights'
