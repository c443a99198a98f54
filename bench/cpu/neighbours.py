"""scikit-learn and PyTorch as contenders in the search for nearest neighbours, answering the bench's questions.

The protocol is protocol.ts's, as in unet.py. Usage: neighbours.py NAME THREADS sklearn|torch-cdist
"""
import os
import sys

import numpy as np

from contender import serve

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


serve(prepare)
