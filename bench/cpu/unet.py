"""PyTorch as a contender: the U-Net of a safetensors file in plain torch.nn.functional, answering the bench's questions.

The protocol is protocol.ts's: a command a line on stdin, an answer a line on stdout, tensors as raw float32 files. The
network is built by the state dict's keys and the configuration in the file's metadata; the file is read by hand, so that
torch is all this needs. Usage: unet.py NAME THREADS
"""
import json
import math
import os
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

from contender import serve

name, threads = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(threads)


def read_safetensors(path):
    with open(path, 'rb') as f:
        (size,) = struct.unpack('<Q', f.read(8))
        header = json.loads(f.read(size))
        data = f.read()
    meta = header.pop('__metadata__', {})
    tensors = {}
    for key, entry in header.items():
        begin, end = entry['data_offsets']
        assert entry['dtype'] == 'F32', key
        tensors[key] = torch.from_numpy(np.frombuffer(data[begin:end], dtype='<f4').reshape(entry['shape']).copy())
    return json.loads(meta['config']), tensors


class UNet:
    """`blocks` maps a state-dict prefix such as input_blocks.3.0 to the kind of layer its keys show."""

    def __init__(self, config, p):
        self.p = p
        self.width = config['model_channels']
        self.head_channels = config['num_head_channels']
        self.scale_shift = config.get('use_scale_shift_norm', False)
        assert config.get('resblock_updown') and config.get('use_new_attention_order') and self.head_channels > 0
        levels = len(config['channel_mult'])
        per_level = config['num_res_blocks']
        # Where resolution changes: the block after each level's residual blocks, going down; the last block of each level, going up.
        self.down = {f'input_blocks.{(level + 1) * (per_level + 1)}.0' for level in range(levels - 1)}
        self.inputs = self.blocks('input_blocks')
        self.middle = self.layers('middle_block')
        self.outputs = self.blocks('output_blocks')
        self.up = set()
        for i, layers in enumerate(self.outputs):
            level = levels - 1 - i // (per_level + 1)
            if level > 0 and i % (per_level + 1) == per_level:
                self.up.add(layers[-1])

    def layers(self, prefix):
        depth = prefix.count('.') + 1
        numbers = {int(key.split('.')[depth]) for key in self.p if key.startswith(prefix + '.')}
        return [f'{prefix}.{i}' for i in sorted(numbers)]

    def blocks(self, prefix):
        return [self.layers(block) for block in self.layers(prefix)]

    def conv(self, key, x):
        weight = self.p[key + '.weight']
        return F.conv2d(x, weight, self.p[key + '.bias'], padding=weight.shape[-1] // 2)

    def linear(self, key, x):
        return F.linear(x, self.p[key + '.weight'], self.p[key + '.bias'])

    def norm(self, key, x):
        return F.group_norm(x, 32, self.p[key + '.weight'], self.p[key + '.bias'], 1e-5)

    def resblock(self, key, x, emb):
        resample = lambda v: v
        if key in self.down:
            resample = lambda v: F.avg_pool2d(v, 2)
        elif key in self.up:
            resample = lambda v: F.interpolate(v, scale_factor=2, mode='nearest')
        h = self.conv(key + '.in_layers.2', resample(F.silu(self.norm(key + '.in_layers.0', x))))
        e = self.linear(key + '.emb_layers.1', emb)[:, :, None, None]
        if self.scale_shift:
            scale, shift = e.chunk(2, dim=1)
            h = self.norm(key + '.out_layers.0', h) * (1 + scale) + shift
        else:
            h = self.norm(key + '.out_layers.0', h + e)
        h = self.conv(key + '.out_layers.3', F.silu(h))
        x = resample(x)
        return h + (self.conv(key + '.skip_connection', x) if key + '.skip_connection.weight' in self.p else x)

    def attention(self, key, x):
        n, c, height, width = x.shape
        heads = c // self.head_channels
        flat = x.reshape(n, c, height * width)
        qkv = F.conv1d(self.norm(key + '.norm', flat), self.p[key + '.qkv.weight'], self.p[key + '.qkv.bias'])
        q, k, v = (t.reshape(n * heads, c // heads, -1) for t in qkv.chunk(3, dim=1))
        shares = torch.softmax(torch.bmm(q.transpose(1, 2), k) / math.sqrt(c // heads), dim=-1)
        mixed = torch.bmm(v, shares.transpose(1, 2)).reshape(n, c, -1)
        return (flat + F.conv1d(mixed, self.p[key + '.proj_out.weight'], self.p[key + '.proj_out.bias'])).reshape(x.shape)

    def block(self, layers, h, emb):
        for key in layers:
            if key + '.qkv.weight' in self.p:
                h = self.attention(key, h)
            elif key + '.weight' in self.p:
                h = self.conv(key, h)
            else:
                h = self.resblock(key, h, emb)
        return h

    def forward(self, x, t):
        half = self.width // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
        angles = t[:, None] * frequencies[None]
        emb = torch.cat([torch.cos(angles), torch.sin(angles)], dim=1).to(self.p['time_embed.0.weight'].dtype)
        emb = F.silu(self.linear('time_embed.2', F.silu(self.linear('time_embed.0', emb))))
        skips, h = [], x
        for layers in self.inputs:
            h = self.block(layers, h, emb)
            skips.append(h)
        h = self.block(self.middle, h, emb)
        for layers in self.outputs:
            h = self.block(layers, torch.cat([h, skips.pop()], dim=1), emb)
        return self.conv('out.2', F.silu(self.norm('out.0', h)))


def prepare(task):
    read = lambda what, *shape: torch.from_numpy(np.fromfile(os.path.join(task['dir'], what), dtype='<f4').reshape(shape))
    write = lambda what, t: t.detach().contiguous().numpy().astype('<f4').tofile(os.path.join(task['dir'], f'{what}.{name}'))
    note = f"{torch.__version__}, {os.environ.get('ONEDNN_MAX_CPU_ISA', 'all instruction sets')}"
    if task['kind'] == 'conv':
        n, c, size = task['batch'], task['channels'], task['size']
        x, w = read('x', n, c, size, size), read('w', c, c, 3, 3)
        run = lambda: F.conv2d(x, w, padding=1)
    elif task['kind'] == 'gemm':
        x, w = read('x', task['size'], task['size']), read('w', task['size'], task['size'])
        run = lambda: x @ w
    else:
        config, parameters = read_safetensors(task['weights'])
        net = UNet(config, parameters)
        n = task['batch']
        x, t = read('x', n, 3, 32, 32), read('t', n)
        run = lambda: net.forward(x, t)
        if task['kind'] == 'training':
            cotangent = read('cotangent', n, 6, 32, 32)
            for p in parameters.values():
                p.requires_grad_(True)

            def run():
                for p in parameters.values():
                    p.grad = None
                y = net.forward(x, t)
                y.backward(cotangent)
                return y

            write('y', run())
            write('gradients', torch.cat([parameters[key].grad.reshape(-1) for key in sorted(parameters)]))
            return run, note
        if task['kind'] == 'step':
            # The squared error alone: Tweedie's step has the variance head's term too.
            write('y', torch.no_grad()(run)())
            for p in parameters.values():
                p.requires_grad_(True)
            trained = list(parameters.values())
            average = [p.detach().clone() for p in trained]
            optimizer = torch.optim.AdamW(trained, lr=1e-6, foreach=True)

            def run():
                noise = torch.randn_like(x)
                optimizer.zero_grad(set_to_none=True)
                loss = ((net.forward(x, t)[:, :3] - noise) ** 2).mean()
                loss.backward()
                optimizer.step()
                with torch.no_grad():
                    torch._foreach_mul_(average, 0.9995)
                    torch._foreach_add_(average, trained, alpha=0.0005)
                return loss.item()

            return run, note
    inference = torch.no_grad()(run)
    write('y', inference())
    return inference, note


serve(prepare)
