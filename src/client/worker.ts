/** The program of the worker that a TweedieClient starts. */
import { expose } from 'comlink'
import '../tensor/with-cpu.ts'
import '../tensor/with-webgpu.ts'
import { WorkerPipeline } from './pipeline.ts'

expose(new WorkerPipeline())
