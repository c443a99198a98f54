"""PyTorch beside our networks, in one run on one card: the same weights by formula, the same passes.

torch_unet.py MODEL.json FOLDER BATCHES tiny|full   prints a JSON object a line. MODEL.json (of stages.ts) has the
configuration, the state dict's keys and shapes in their order, and the timestep; FOLDER/NAME-BATCH.f32 our output.
The network is that of bench/cpu/unet.py. Modes: f32 without TF32, TF32, f16 channels-last, and TF32 by a CUDA graph
for the forward pass, each with cudnn.benchmark. On a machine without CUDA, f32 on the CPU: a rehearsal.
"""
import importlib.util
import json
import math
import os
import statistics
import sys
import time
import types

try:
    import numpy as np
    import torch
except ImportError as error:
    print(json.dumps({'note': f'no torch here: {error}'}))
    sys.exit(0)

model_path, folder, batches, size = sys.argv[1:5]
batches = [int(b) for b in batches.split(',')]
name = os.path.basename(model_path)[: -len('.json')]
tiny = size == 'tiny'
cuda = torch.cuda.is_available()
device = torch.device('cuda' if cuda else 'cpu')


def load_unet():
    """The class UNet of bench/cpu/unet.py, whose program reads a protocol that is not spoken here."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'cpu', 'unet.py')
    sys.modules['contender'] = types.SimpleNamespace(serve=lambda prepare: None)
    argv, sys.argv = sys.argv, ['unet.py', 'torch', str(torch.get_num_threads())]
    spec = importlib.util.spec_from_file_location('unet', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.argv = argv
    return module.UNet


def formula(count, j, seed, scale, offset=0.0):
    """src/bench/formula.ts, to the bit."""
    with np.errstate(over='ignore'):
        h = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32((j * 40503 + seed * 69069) % 2**32)
        h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
        h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
        h = h ^ (h >> np.uint32(16))
    return (offset + (h.astype(np.float64) / 2**31 - 1) * scale).astype(np.float32)


def weights(state):
    tensors = {}
    for j, entry in enumerate(state):
        shape = entry['shape']
        count = math.prod(shape)
        if len(shape) >= 2:
            data = formula(count, j, 1, math.sqrt(3 / math.prod(shape[1:])))
        else:
            data = formula(count, j, 1, 0.1, 1.0 if entry['key'].endswith('weight') else 0.0)
        tensors[entry['key']] = torch.from_numpy(data.reshape(shape)).to(device)
    return tensors


def synchronise():
    if cuda:
        torch.cuda.synchronize()


def timed(run, samples, budget):
    """Median and quartiles in ms of `samples` runs, or of as many as the budget of seconds allows, at least 3."""
    for _ in range(1 if tiny else 3):
        run()
    synchronise()
    times = []
    began = time.perf_counter()
    while len(times) < samples and (len(times) < 3 or time.perf_counter() - began < budget):
        start = time.perf_counter()
        run()
        synchronise()
        times.append(1e3 * (time.perf_counter() - start))
    low, ms, high = statistics.quantiles(times, n=4, method='inclusive')
    return {'ms': ms, 'low': low, 'high': high, 'samples': len(times)}


with open(model_path) as f:
    model = json.load(f)
config = model['config']
config = json.loads(config) if isinstance(config, str) else config
parameters = weights(model['state'])
UNet = load_unet()
torch.backends.cudnn.benchmark = True
samples, budget = (3, 1) if tiny else (9, 1.2)


def say(**row):
    print(json.dumps(row), flush=True)


say(note=f'torch {torch.__version__}, {torch.cuda.get_device_name() if cuda else "CPU"}, cudnn {torch.backends.cudnn.version()}')
modes = ['f32', 'tf32', 'tf32 graph', 'f16 channels-last'] if cuda else ['f32']
side = config['image_size']
for batch in batches:
    x32 = torch.from_numpy(formula(batch * 3 * side * side, 1000, 1, math.sqrt(3)).reshape(batch, 3, side, side)).to(device)
    cotangent = torch.from_numpy(formula(batch * 6 * side * side, 1001, 1, 1.0).reshape(batch, 6, side, side)).to(device)
    t = torch.full((batch,), float(model['timestep']), device=device)
    for mode in modes:
        tf32 = mode.startswith('tf32')
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        half = mode.startswith('f16')
        layout = {'memory_format': torch.channels_last} if half else {}
        cast = lambda v: v.half().to(**layout) if half and v.dim() == 4 else v.half() if half else v
        net = UNet(config, {key: cast(value) for key, value in parameters.items()})
        net.dtype = torch.float16 if half else torch.float32
        x = cast(x32)

        def forward(images):
            return net.forward(images, t)

        def guided():
            """A forward pass, the gradient by x of the distance to its own prediction of x_0, and a second forward pass."""
            images = x.detach().requires_grad_(True)
            y = forward(images)
            with torch.no_grad():
                again = forward((images - 0.1 * y[:, :3]).detach())
            ((y[:, :3].float() - again[:, :3].float()) ** 2).sum().backward()
            return images.grad

        def training():
            for p in net.p.values():
                p.grad = None
                p.requires_grad_(True)
            y = forward(x)
            y.backward(cotangent.to(y.dtype))
            for p in net.p.values():
                p.requires_grad_(False)

        try:
            with torch.no_grad():
                output = forward(x).float().cpu().numpy().reshape(-1)
            theirs = os.path.join(folder, f'{name}-{batch}.f32')
            error = None
            if os.path.exists(theirs):
                ours = np.fromfile(theirs, dtype='<f4')
                error = float(np.abs(ours - output).max() / np.abs(output).max())
            if mode == 'tf32 graph':
                static = x.clone()
                stream = torch.cuda.Stream()
                with torch.cuda.stream(stream), torch.no_grad():
                    for _ in range(3):
                        forward(static)
                torch.cuda.synchronize()
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph), torch.no_grad():
                    forward(static)
                say(**{'pass': 'forward'}, batch=batch, mode=mode, error=error, **timed(graph.replay, samples, budget))
                continue

            def plain():
                with torch.no_grad():
                    forward(x)

            say(**{'pass': 'forward'}, batch=batch, mode=mode, error=error, **timed(plain, samples, budget))
            say(**{'pass': 'guided step'}, batch=batch, mode=mode, **timed(guided, samples, budget))
            if not half:
                say(**{'pass': 'training'}, batch=batch, mode=mode, **timed(training, samples, budget))
        except RuntimeError as error:
            say(batch=batch, mode=mode, note=str(error).splitlines()[0])
