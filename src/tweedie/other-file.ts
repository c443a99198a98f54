import type { Checkpoint } from '../io/index.ts'

/** What a file is by the `kind` of its metadata, and where it belongs. */
const kinds: Readonly<Record<string, string>> = {
  'tweedie-training':
    'the state of a training run, with which train --resume goes on: take the weights beside it, an ' +
    'ema-RATE.safetensors or model.safetensors',
  features:
    'a feature net, which measures distances (--features FILE, in the library { distance: { features: FILE } }); it ' +
    'is no network that draws or guides',
  vit:
    'a vision transformer, in whose features tweedie evaluate measures (--features NAME=FILE); it is no network ' +
    'that draws or guides',
  marginal:
    'the marginal of the noised training images, from which tweedie sample --marginal FILE begins; it is no ' +
    'network, and belongs to the model that was trained beside it',
}

/** The same by names of tensors. */
const tensors: readonly (readonly [name: RegExp, what: string])[] = [
  [
    /^lins?\.?\d\.model\.1\.weight$/,
    'weights of LPIPS, which measure distances (--lpips FILE, in the library { distance: { lpips: FILE } }); it is ' +
      'no network that draws or guides',
  ],
  [
    /^(features\.0\.weight|layer1\.0\.conv1\.weight|Mixed_5b\.branch1x1\.conv\.weight|blocks\.0\.attn\.qkv\.weight)$/,
    'a network that classifies photographs, in whose features tweedie evaluate measures (--features NAME=FILE); it ' +
      'is no network that draws or guides',
  ],
]

/** What a checkpoint is that holds no network of ADM, and where it belongs; undefined where nothing is known of it. */
export function otherFile({ metadata, tensors: held }: Checkpoint): string | undefined {
  const names = [...held.keys()]
  return (
    (Object.hasOwn(kinds, metadata.kind ?? '') ? kinds[metadata.kind] : undefined) ??
    tensors.find(([name]) => names.some((one) => name.test(one)))?.[1]
  )
}
