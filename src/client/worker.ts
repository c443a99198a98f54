/** The program of the worker that a TweedieClient starts. */
import { expose } from 'comlink'
import '../tensor/with-cpu.ts'
import '../tensor/with-webgpu.ts'
import { version } from '../version.ts'
import { WorkerPipeline } from './pipeline.ts'

expose(new WorkerPipeline())
// The page waits for it: a message to a script that a bundler made load in parts would be lost.
postMessage({ version })
