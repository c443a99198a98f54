/**
 * The U-Net as an ONNX model, by a walk over its plan, written as the exporters of PyTorch write such networks: group
 * norm as reshape, InstanceNormalization, reshape, scale and shift; SiLU as a product with a sigmoid; attention as two
 * MatMul around a Softmax. What does not depend on the batch's values (shapes) is constant, so that onnxruntime may
 * fold and fuse what it can. Inputs: `x` [N, C, H, W] and `emb` [N, M], the sinusoidal timestep embedding.
 */
import type { UNetConfig } from '../../src/nn/index.ts'
import type { AttentionLayer, Layer, ResBlockLayer, UNetPlan } from '../../src/nn/plan.ts'
import { OnnxGraph } from './onnx.ts'

export interface Weight {
  readonly shape: readonly number[]
  readonly values: Float32Array
}

interface Value {
  readonly name: string
  readonly shape: readonly number[]
}

export function unetModel(
  config: UNetConfig,
  plan: UNetPlan,
  weights: ReadonlyMap<string, Weight>,
  batch: number,
): Uint8Array {
  const graph = new OnnxGraph()
  const size = config.imageSize

  const weight = (key: string, shape?: readonly number[]): string => {
    const found = weights.get(key)
    if (!found) throw new Error(`unet-onnx: no weight ${key}`)
    return graph.constant(shape ? `${key}.${shape.join('x')}` : key, found.values, shape ?? found.shape)
  }
  const reshape = (x: Value, shape: readonly number[]): Value => ({
    name: graph.node('Reshape', [x.name, graph.integers(shape)]),
    shape,
  })
  const same = (op: string, x: Value, ...others: string[]): Value => ({
    name: graph.node(op, [x.name, ...others]),
    shape: x.shape,
  })
  const silu = (x: Value): Value => same('Mul', x, graph.node('Sigmoid', [x.name]))

  const linear = (key: string, x: Value): Value => {
    const out = (weights.get(`${key}.bias`) as Weight).shape[0]
    return {
      name: graph.node('Gemm', [x.name, weight(`${key}.weight`), weight(`${key}.bias`)], { transB: 1 }),
      shape: [batch, out],
    }
  }
  const conv = (key: string, x: Value, kernel: number, stride = 1): Value => {
    const w = weights.get(`${key}.weight`) as Weight
    const [out, channels] = w.shape as [number, number]
    const pad = (kernel - 1) / 2
    const [, , height, width] = x.shape as [number, number, number, number]
    const name = graph.node(
      'Conv',
      [x.name, weight(`${key}.weight`, [out, channels, kernel, kernel]), weight(`${key}.bias`)],
      { kernel_shape: [kernel, kernel], pads: [pad, pad, pad, pad], strides: [stride, stride] },
    )
    return { name, shape: [batch, out, Math.ceil(height / stride), Math.ceil(width / stride)] }
  }
  const norm = (key: string, x: Value): Value => {
    const groups = 32
    const [, channels] = x.shape as [number, number]
    const ones = graph.constant('group_ones', new Float32Array(groups).fill(1), [groups])
    const zeros = graph.constant('group_zeros', new Float32Array(groups), [groups])
    const flat = reshape(x, [batch, groups, -1])
    const normal = reshape(
      { name: graph.node('InstanceNormalization', [flat.name, ones, zeros], { epsilon: { float: 1e-5 } }), shape: [] },
      x.shape,
    )
    const perChannel = [channels, ...x.shape.slice(2).map(() => 1)]
    return same('Add', same('Mul', normal, weight(`${key}.weight`, perChannel)), weight(`${key}.bias`, perChannel))
  }
  const up = (x: Value): Value => {
    const [, channels, height, width] = x.shape as [number, number, number, number]
    const scales = graph.constant('up_scales', Float32Array.of(1, 1, 2, 2), [4])
    return {
      name: graph.node('Resize', [x.name, '', scales], {
        mode: 'nearest',
        coordinate_transformation_mode: 'asymmetric',
        nearest_mode: 'floor',
      }),
      shape: [batch, channels, 2 * height, 2 * width],
    }
  }
  const down = (x: Value): Value => {
    const [, channels, height, width] = x.shape as [number, number, number, number]
    return {
      name: graph.node('AveragePool', [x.name], { kernel_shape: [2, 2], strides: [2, 2] }),
      shape: [batch, channels, height / 2, width / 2],
    }
  }

  const resblock = (
    { key, updown, scaleShift, inChannels, outChannels }: ResBlockLayer,
    x: Value,
    emb: Value,
  ): Value => {
    const resample = (v: Value): Value => (updown === 'up' ? up(v) : updown === 'down' ? down(v) : v)
    let h = conv(`${key}.in_layers.2`, resample(silu(norm(`${key}.in_layers.0`, x))), 3)
    const e = linear(`${key}.emb_layers.1`, emb)
    const e4 = reshape(e, [batch, e.shape[1], 1, 1]).name
    if (scaleShift) {
      const [scale, shift] = graph.nodes('Split', [e4, graph.integers([outChannels, outChannels])], 2, { axis: 1 }) as [
        string,
        string,
      ]
      const normal = norm(`${key}.out_layers.0`, h)
      h = silu(same('Add', same('Mul', normal, graph.node('Add', [scale, graph.float(1)])), shift))
    } else h = silu(norm(`${key}.out_layers.0`, same('Add', h, e4)))
    const skip = inChannels === outChannels ? resample(x) : conv(`${key}.skip_connection`, resample(x), 1)
    return same('Add', conv(`${key}.out_layers.3`, h, 3), skip.name)
  }

  const attention = ({ key, channels, heads, newOrder }: AttentionLayer, x: Value): Value => {
    const [, , height, width] = x.shape as [number, number, number, number]
    const tokens = height * width
    const depth = channels / heads
    const qkv = conv(`${key}.qkv`, norm(`${key}.norm`, x), 1)
    // [N, 3, heads, d, T] in the new order, [N, heads, 3, d, T] in the legacy one.
    const split = reshape(qkv, newOrder ? [batch, 3, heads * depth, tokens] : [batch, heads, 3 * depth, tokens])
    const parts = graph.nodes('Split', [split.name, graph.integers(newOrder ? [1, 1, 1] : [depth, depth, depth])], 3, {
      axis: newOrder ? 1 : 2,
    })
    const [q, k, v] = parts.map((name) => reshape({ name, shape: [] }, [batch, heads, depth, tokens]).name) as [
      string,
      string,
      string,
    ]
    const scores = graph.node('Mul', [
      graph.node('MatMul', [graph.node('Transpose', [q], { perm: [0, 1, 3, 2] }), k]),
      graph.float(1 / Math.sqrt(depth)),
    ])
    const shares = graph.node('Softmax', [scores], { axis: -1 })
    const mixed = graph.node('MatMul', [v, graph.node('Transpose', [shares], { perm: [0, 1, 3, 2] })])
    return same('Add', conv(`${key}.proj_out`, reshape({ name: mixed, shape: [] }, x.shape), 1), x.name)
  }

  const layer = (l: Layer, h: Value, emb: Value): Value => {
    switch (l.type) {
      case 'conv':
        return conv(l.key, h, l.kernel, l.stride)
      case 'resblock':
        return resblock(l, h, emb)
      case 'attention':
        return attention(l, h)
      case 'downsample':
        return l.conv ? conv(`${l.key}.op`, h, 3, 2) : down(h)
      case 'upsample':
        return l.conv ? conv(`${l.key}.conv`, up(h), 3) : up(h)
    }
  }
  const block = (layers: readonly Layer[], h: Value, emb: Value): Value => layers.reduce((v, l) => layer(l, v, emb), h)

  const sinusoids = { name: graph.input('emb', [batch, plan.modelChannels]), shape: [batch, plan.modelChannels] }
  const [first, second] = plan.timeEmbed
  const emb = silu(linear(second.key, silu(linear(first.key, sinusoids))))
  let h: Value = {
    name: graph.input('x', [batch, config.inChannels, size, size]),
    shape: [batch, config.inChannels, size, size],
  }
  const skips: Value[] = []
  for (const layers of plan.inputBlocks) {
    h = block(layers, h, emb)
    skips.push(h)
  }
  h = block(plan.middleBlock, h, emb)
  for (const layers of plan.outputBlocks) {
    const skip = skips.pop() as Value
    const [, channels, height, width] = h.shape as [number, number, number, number]
    const joined = {
      name: graph.node('Concat', [h.name, skip.name], { axis: 1 }),
      shape: [batch, channels + skip.shape[1], height, width],
    }
    h = block(layers, joined, emb)
  }
  const y = conv(plan.out.conv.key, silu(norm(plan.out.norm.key, h)), 3)
  graph.output('y', y.name, y.shape)
  return graph.encode()
}
