/** `tweedie forward`: one pass of a network over given inputs, and its gradients, for comparing with other code. */
import type { TensorData } from '../../io/dtype.ts'
import { encodeSafetensors, writeFileAtomic, type Checkpoint } from '../../io/index.node.ts'
import { memoryOf, type ModelConfig } from '../../nn/index.ts'
import { grad, type Device, type Tensor } from '../../tensor/index.ts'
import { fail, parseArguments, type Command } from '../arguments.ts'
import { computedOn, deviceOptions, onDevice } from '../options/device.ts'
import { loadWithProgress, openModel, openTensors } from '../files.ts'
import { flagsOption, toldOf, weightsOption } from '../options/flags.ts'
import { didYouMean, file, output, text } from '../option.ts'
import { claimOutputs, inputsOf, keepsOtherTensors } from '../outputs.ts'
import { print } from '../print.ts'

const options = {
  model: file({ value: 'M.safetensors', help: 'U-Net or classifier' }),
  input: file({
    value: 'IN.safetensors',
    help:
      'x [N, C, H, W] and timesteps [N] (whole or fractional); y [N] for labels, low_res [N, C, h, w] for a ' +
      "super-resolution network, cotangent of the output's shape for gradients",
  }),
  save: output({
    value: 'OUT.safetensors',
    help:
      'gets out; with cotangent also grad_x and grad.KEY for every parameter, the ' +
      'gradients of sum(out * cotangent)',
  }),
  preset: text({ value: 'NAME', help: 'what network the model file holds, if it does not say so itself' }),
  flags: flagsOption,
  weights: weightsOption,
  ...deviceOptions,
}

const inputs = ['x', 'timesteps', 'y', 'low_res', 'cotangent']

export const forward: Command<typeof options> = {
  name: 'forward',
  usage: '--model M.safetensors --input IN.safetensors --save OUT.safetensors',
  summary: 'run a network on given inputs and save output and gradients',
  options,
  positionals: [0, 0],
  examples: ['forward --model M.safetensors --input in.safetensors --save out.safetensors'],
  async run(argv, session) {
    const args = parseArguments(forward, argv)
    const { signal, requestDevice } = onDevice(session, args)
    const [modelPath, inputPath, save] = [args.required('model'), args.required('input'), args.required('save')]
    await using _ = await claimOutputs({
      command: 'forward',
      inputs: inputsOf(args),
      files: [{ option: '--save', path: save, keeps: keepsOtherTensors(/^(out|grad_x|grad\..+)$/) }],
    })
    const file = await openModel(modelPath, toldOf(args), signal)
    const input = await openTensors(inputPath, signal)
    try {
      checkInput(input, file.description.config, inputPath)
      const differentiate = input.tensors.has('cotangent')
      const [batch, , height, width] = shapeOf(input, 'x') as [number, number, number, number]
      using device = await requestDevice({
        need: memoryOf(file.description.config, { batch, parameters: differentiate, size: [height, width] }),
        signal,
      })
      using model = await loadWithProgress(device, file, signal)
      const x = await tensorOf(device, input, 'x', signal)
      const timesteps = await valuesOf(input, 'timesteps', signal)
      const y = input.tensors.has('y') ? await valuesOf(input, 'y', signal) : undefined
      const lowRes = input.tensors.has('low_res') ? await tensorOf(device, input, 'low_res', signal) : undefined
      const run = (): Tensor =>
        model.kind === 'unet'
          ? model.forward(x, timesteps, { ...(y ? { y } : {}), ...(lowRes ? { lowRes } : {}) })
          : model.forward(x, timesteps, y ? { y } : {})

      const results: [string, Tensor][] = []
      if (differentiate) {
        const cotangent = await tensorOf(device, input, 'cotangent', signal)
        const keys = [...model.parameters.keys()]
        const {
          value,
          gradients: [gradX, ...rest],
        } = grad(run, [x, ...model.parameters.values()], cotangent)
        results.push(
          ['out', value],
          ['grad_x', gradX],
          ...keys.map((key, i): [string, Tensor] => [`grad.${key}`, rest[i]]),
        )
      } else {
        results.push(['out', run()])
      }
      const saved: [string, { shape: readonly number[]; data: Float32Array }][] = []
      for (const [key, tensor] of results) {
        saved.push([key, { shape: tensor.shape, data: await tensor.read() }])
        signal.throwIfAborted()
      }
      await writeFileAtomic(save, encodeSafetensors(saved), { signal })
      print(
        `${save}: out [${saved[0]?.[1].shape.join(', ')}]` +
          `${differentiate ? ` and ${saved.length - 1} gradients` : ''}, computed on ${computedOn(device)}`,
      )
    } finally {
      await input.close()
      await file.checkpoint.close()
    }
  },
}

/** What can be said before a device is asked for. */
function checkInput(input: Checkpoint, { inChannels, numClasses }: ModelConfig, path: string): void {
  for (const key of input.tensors.keys()) {
    // A golden brings its expected results along; they are not read.
    if (!inputs.includes(key) && key !== 'out' && !key.startsWith('grad'))
      fail(`${path}: "${key}" is none of ${inputs.join(', ')}${didYouMean(key, inputs)}`)
  }
  for (const key of ['x', 'timesteps']) if (!input.tensors.has(key)) fail(`${path}: a tensor "${key}" is needed.`)
  const x = shapeOf(input, 'x')
  if (x.length !== 4 || x[1] !== inChannels)
    fail(`${path}: x must be [N, ${inChannels}, H, W], found [${x.join(', ')}].`)
  if ((numClasses !== null) !== input.tensors.has('y'))
    fail(
      numClasses === null
        ? `${path}: y is for class-conditional networks; this is none.`
        : `${path}: the network is class-conditional and needs y.`,
    )
  for (const key of ['timesteps', 'y']) {
    if (input.tensors.has(key) && shapeOf(input, key).join() !== String(x[0]))
      fail(`${path}: ${key} must be [${x[0]}], one for each image of x, found [${shapeOf(input, key).join(', ')}].`)
  }
}

const shapeOf = (file: Checkpoint, key: string): readonly number[] => file.tensors.get(key)?.shape ?? []

const valuesOf = (file: Checkpoint, key: string, signal: AbortSignal): Promise<TensorData> =>
  file.tensors.get(key)?.read(signal) ?? fail(`${file.name}: a tensor "${key}" is needed.`)

const tensorOf = async (device: Device, file: Checkpoint, key: string, signal: AbortSignal): Promise<Tensor> =>
  device.tensor(await valuesOf(file, key, signal), shapeOf(file, key))
