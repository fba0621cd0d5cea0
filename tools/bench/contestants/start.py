"""A cold process up to its first batch: prints the seconds of each step. KERAS_BACKEND empty: without Keras."""

from __future__ import annotations

import json
import os
import sys
import time

_LAUNCHED = time.perf_counter()


def main() -> None:
    with open(sys.argv[1]) as file:
        job = json.load(file)
    steps = {}
    if os.environ["KERAS_BACKEND"]:
        import keras

        keras.ops.zeros(1)
        steps["import of Keras and its backend"] = time.perf_counter() - _LAUNCHED
    before = time.perf_counter()
    import kseq

    if os.environ["KERAS_BACKEND"]:
        sequence = kseq.ShardSequence(job["store"], batch_size=job["batch_size"])
        steps["import of kseq and opening"] = time.perf_counter() - before
        before = time.perf_counter()
        sequence[0]
    else:
        dataset = kseq.ShardDataset(job["store"])
        steps["import of kseq and opening"] = time.perf_counter() - before
        before = time.perf_counter()
        dataset.read(range(min(job["batch_size"], len(dataset))))
    steps["first batch"] = time.perf_counter() - before
    steps["all"] = time.perf_counter() - _LAUNCHED
    print(json.dumps(steps), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
