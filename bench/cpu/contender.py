"""The questions of the bench, as protocol.ts asks them, for a contender that is a Python program."""
import json
import sys
import time

import numpy as np


def serve(prepare):
    """Answers until stdin ends. `prepare(task)` gives what is to be timed, a function without arguments, and a note."""
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
