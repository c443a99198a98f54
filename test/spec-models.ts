/**
 * Small networks with weights by formula and their inputs (spec K of docs/glossary.md), for the tests that need them.
 */
import { Classifier, UNet, type ClassifierConfig, type UNetConfig } from '../src/nn/index.ts'
import type { Device, Tensor } from '../src/tensor/index.ts'
import { networkParameters, waves } from './formula.ts'

/** U-Net A; the others differ from it in the fields their tests name. */
export const unetConfig: UNetConfig = {
  imageSize: 8,
  inChannels: 3,
  modelChannels: 32,
  outChannels: 6,
  numResBlocks: 1,
  attentionResolutions: [2],
  dropout: 0,
  channelMult: [1, 2],
  convResample: true,
  numClasses: null,
  numHeads: 1,
  numHeadChannels: 16,
  useScaleShiftNorm: true,
  resblockUpdown: true,
  useNewAttentionOrder: true,
  superResolution: false,
}

const { superResolution: _, ...trunk } = unetConfig

export const encoderConfig: ClassifierConfig = {
  ...trunk,
  outChannels: 10,
  useNewAttentionOrder: false,
  pool: 'attention',
}

export const modelA = async (device: Device): Promise<UNet> =>
  new UNet(unetConfig, await networkParameters(device, { kind: 'unet', ...unetConfig }))

/** The encoder with the attention head. */
export const encoder = async (device: Device): Promise<Classifier> =>
  new Classifier(encoderConfig, await networkParameters(device, { kind: 'classifier', ...encoderConfig }))

/** x[n] = sin(0.11 n), 2 x 3 x 8 x 8. */
export const inputX = (device: Device): Tensor => device.tensor(waves([2, 3, 8, 8], 0.11), [2, 3, 8, 8])
