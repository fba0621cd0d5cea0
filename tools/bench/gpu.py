"""How long a GPU waits for its input: ResNet-50 in mixed precision, fed by kseq, beside the same step on a constant batch.

Run it with the backend to measure, on a dataset that `kseq pack` made (`--encoding raw --image-size 224 224`, or `--encoding
jpeg`):

    KERAS_BACKEND=jax python -m kseq_tools.bench.gpu flowers-raw --batch-size 256 --steps 200

It prints the median step on one batch that is given again and again, the median step on kseq's batches, and the share of the
second that is waiting for input. Both batches come from the host's memory. A step is `train_on_batch`, timed from asking for
the batch until the loss is there; what goes on meanwhile is kseq's reading ahead.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import kseq

from .photos import SIDE

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print three lines for each dataset."""
    arguments = _parse(argv)
    import keras

    keras.mixed_precision.set_global_policy("mixed_float16" if keras.backend.backend() == "tensorflow" else "mixed_bfloat16")
    for path in arguments.datasets:
        feed = _open(path, arguments)
        count, warm_up = arguments.steps, arguments.warm_up
        constant = _steps_on(_model(feed), _constant(feed), count, warm_up)
        fed = _steps_on(_model(feed), feed.generator(), count, warm_up)
        feed.close()
        waiting = max(0.0, 1 - constant / fed)
        print(f"{path}, {keras.backend.backend()}, batches of {arguments.batch_size}:")
        print(f"  step on a constant batch {1e3 * constant:.1f} ms, {arguments.batch_size / constant:,.0f} images/s")
        print(f"  step on kseq's batches   {1e3 * fed:.1f} ms, {arguments.batch_size / fed:,.0f} images/s")
        print(f"  waiting for input        {100 * waiting:.1f} % of the step")
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m kseq_tools.bench.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("datasets", nargs="+", metavar="DATASET", help="packed datasets, raw or JPEG")
    parser.add_argument("--batch-size", type=int, default=256, metavar="N", help="samples per step (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=200, metavar="N", help="steps that count (default: %(default)s)")
    parser.add_argument("--warm-up", type=int, default=20, metavar="N", help="steps before them (default: %(default)s)")
    parser.add_argument("--side", type=int, default=SIDE, metavar="PIXELS", help="of the images (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), metavar="N", help="threads (default: %(default)s)")
    parser.add_argument("--processes", action="store_true", help="read in processes")
    return parser.parse_args(argv)


def _open(path: str, arguments: argparse.Namespace) -> kseq.ShardSequence:
    with kseq.ShardDataset(path) as dataset:
        encoded = dataset.fields["image"].encoded
    return kseq.ShardSequence(
        path,
        batch_size=arguments.batch_size,
        remainder="drop",
        workers=arguments.workers,
        use_multiprocessing=arguments.processes,
        augment=[kseq.RandomResizedCrop(arguments.side), kseq.RandomFlip()] if encoded else kseq.RandomFlip(),
    )


def _model(feed: kseq.ShardSequence) -> Any:
    import keras

    inputs = keras.Input(feed.input_shape, dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 127.5, -1)(inputs)
    outputs = keras.applications.ResNet50(
        weights=None, input_shape=feed.input_shape, classes=len(feed.class_names), classifier_activation=None
    )(scaled)
    model = keras.Model(inputs, keras.layers.Activation("linear", dtype="float32")(outputs))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def _constant(feed: kseq.ShardSequence) -> Iterator[tuple[Any, Any]]:
    """One batch for ever."""
    return itertools.repeat(feed[0])


def _steps_on(model: Any, batches: Iterator[tuple[Any, Any]], count: int, warm_up: int) -> float:
    """The median seconds of a step, from asking for its batch until its loss is there."""
    import keras

    step: Callable[..., Any] = model.train_on_batch
    times = []
    for number in range(warm_up + count):
        started = time.perf_counter()
        images, labels = next(batches)
        keras.ops.convert_to_numpy(step(images, labels))
        if number >= warm_up:
            times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    raise SystemExit(main())
