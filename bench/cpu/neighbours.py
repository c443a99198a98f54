"""scikit-learn and PyTorch as contenders in the search for nearest neighbours, answering the bench's questions.

The protocol is protocol.ts's, as in unet.py. Usage: neighbours.py NAME THREADS sklearn|torch-cdist
"""
import json
import os
import sys
import time

import numpy as np

name, threads, library = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def search(task):
    read = lambda what: np.fromfile(os.path.join(task['dir'], what), dtype='<f4').reshape(task['count'], task['dimension'])
    x, w, k, own = read('x'), read('w'), task['k'], task['own']
    if library == 'sklearn':
        import sklearn
        from sklearn.neighbors import NearestNeighbors
        index = NearestNeighbors(n_neighbors=k, algorithm='brute').fit(w)
        # Without queries it is the neighbours of each among the others.
        return lambda: index.kneighbors(None if own else x)[0], f'{sklearn.__version__}, brute'
    import torch
    torch.set_num_threads(threads)
    a, b = torch.from_numpy(x), torch.from_numpy(w)

    def run():
        distances = torch.cdist(a, b)
        if own:
            distances.fill_diagonal_(float('inf'))
        return torch.topk(distances, k, largest=False)[0].numpy()

    return run, f'{torch.__version__}, cdist and topk'


def prepare(task):
    run, note = search(task)
    run().astype('<f4').tofile(os.path.join(task['dir'], f'y.{name}'))
    return run, note


run = None
for line in sys.stdin:
    command = json.loads(line)
    try:
        if 'prepare' in command:
            run, note = prepare(command['prepare'])
            answer = {'note': note}
        else:
            times, cpu, begin = [], time.process_time(), time.perf_counter()
            while not times or time.perf_counter() - begin < command['round'] / 1000:
                start = time.perf_counter()
                run()
                times.append((time.perf_counter() - start) * 1000)
            answer = {'ms': float(np.median(times)), 'best': min(times), 'cores': (time.process_time() - cpu) / (time.perf_counter() - begin)}
    except Exception as error:  # the bench reports it and goes on without this contender
        answer = {'error': f'{type(error).__name__}: {error}'}
    print('@' + json.dumps(answer), flush=True)
