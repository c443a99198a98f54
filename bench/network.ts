/**
 * The network that the benches measure: an ADM U-Net for 32 x 32 with 1,371,974 parameters, in the configuration of
 * ../shared/weights/bccd32-adm, with which all figures in RESULTS.md were taken. Its weights are drawn: they change no
 * time, and nothing outside this repository is needed.
 */
import { networkConfigs, type NetworkConfig } from '../src/bench/networks.ts'
import { bytesSource, encodeSafetensors, openSafetensors } from '../src/io/index.ts'
import { configMetadata, describeModel, loadModel, planOf, stateDictOf, type UNet } from '../src/nn/index.ts'
import { hostRandomNormal, type Device } from '../src/tensor/index.ts'

const config: NetworkConfig = { ...networkConfigs.toy, channelMult: [1, 2, 2] }

/** The network as a file: safetensors with its configuration. Activations stay near 1 and no layer is zero. */
export function smallUNet(): Uint8Array<ArrayBuffer> {
  const tensors = [...stateDictOf(planOf(config))].map(([key, shape], draw) => {
    const n = shape.reduce((a, b) => a * b, 1)
    const [isNorm, scale] = [
      shape.length === 1 && key.endsWith('.weight'),
      shape.length === 1 ? 0.1 : Math.sqrt(shape[0] / n),
    ]
    const data = hostRandomNormal({ seed: [5, 0], draw, purpose: 0 }, [0], n).map((v) => (isNorm ? 1 : 0) + scale * v)
    return [key, { shape, data }] as const
  })
  const parts = encodeSafetensors(tensors, configMetadata(config))
  return new Uint8Array(Buffer.concat(parts))
}

export async function loadUNet(device: Device, bytes: Uint8Array<ArrayBuffer>): Promise<UNet> {
  const file = await openSafetensors(bytesSource(bytes))
  return (await loadModel(device, file, describeModel(file))) as UNet
}
