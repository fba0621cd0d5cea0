"""How long a training step takes: with a batch that is there, and with batches that are loaded."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import kseq
from kseq.errors import ArgumentError
from kseq.training.batches_inside import open_again

from .loading import Cursor

__all__ = ["RateStep", "Step", "Stepping", "measure_stepping", "model_step"]

_WARM_UP = 3
_LEAST_STEPS = 3

Step = Callable[[Any], object]


@dataclass(frozen=True)
class Stepping:
    """The time of a step, in seconds.

    Attributes:
        free: On a batch that is there: what a free loader would come to.
        fed: On batches that are loaded.
        batch_size: Samples per step.
    """

    free: float
    fed: float
    batch_size: int

    @property
    def waiting_share(self) -> float:
        """The share of a step that waits for input, from 0 to 1."""
        return max(0.0, 1 - self.free / self.fed)


@dataclass(frozen=True)
class RateStep:
    """What takes as long as a step of a training of so many images per second, in batches of any size."""

    rate: float

    def seconds(self, batch_size: int) -> float:
        """How long a step takes."""
        return batch_size / self.rate


def model_step(model: Any) -> Step:
    """A training step of a compiled model of Keras, until its loss is there."""
    if not callable(getattr(model, "train_on_batch", None)):
        raise ArgumentError(f"--model: gave a {type(model).__name__}, expected is a compiled model of Keras")
    if not getattr(model, "compiled", True):
        raise ArgumentError("--model: the model is not compiled: call model.compile in the function")

    def step(batch: Any) -> object:
        logs = model.train_on_batch(*batch) if isinstance(batch, tuple) else model.train_on_batch(batch)
        return [float(np.asarray(value)) for value in (logs if isinstance(logs, (list, tuple)) else [logs])]

    return step


def measure_stepping(batches: kseq.Batches, step: Step | RateStep, cursor: Cursor, seconds: float) -> Stepping:
    """Both times of a step, each measured for so many seconds.

    Raises:
        ArgumentError: If the step fails: the model does not go with the batches.
    """
    if isinstance(step, RateStep):
        return _measure_waiting(batches, step.seconds(batches.batch_size), cursor, seconds)
    # Nothing is read ahead meanwhile, which would take cores from a free step, and give a fed one a good start.
    with open_again(batches, workers=0, use_multiprocessing=False) as alone:
        batch = next(cursor.batches(alone))
    try:
        free = _mean_step(itertools.repeat(batch), step, seconds, _WARM_UP)
    except Exception as error:
        line = next(iter(str(error).splitlines()), "")
        raise ArgumentError(f"--model: a step on a batch fails: {type(error).__name__}: {line}") from error
    with open_again(batches) as fed:
        return Stepping(free, _mean_step(cursor.batches(fed), step, seconds, 1), batches.batch_size)


def _measure_waiting(batches: kseq.Batches, pause: float, cursor: Cursor, seconds: float) -> Stepping:
    """The same where a step only takes time: what it waits is known without the step, which the system may make longer."""
    waited, count, started = 0.0, 0, time.perf_counter()
    with open_again(batches) as fed:
        coming = cursor.batches(fed)
        next(coming)
        while time.perf_counter() - started < seconds or count < _LEAST_STEPS:
            time.sleep(pause)
            asked = time.perf_counter()
            next(coming)
            waited, count = waited + time.perf_counter() - asked, count + 1
    return Stepping(pause, pause + waited / count, batches.batch_size)


def _mean_step(batches: Iterator[Any], step: Step, seconds: float, warm_up: int) -> float:
    """The mean seconds of a step with its batch, after so many that are not counted."""
    for _ in range(warm_up):
        step(next(batches))
    count, started, passed = 0, time.perf_counter(), 0.0
    while passed < seconds or count < _LEAST_STEPS:
        step(next(batches))
        count += 1
        passed = time.perf_counter() - started
    return passed / count
