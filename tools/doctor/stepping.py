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

from .budget import Budget
from .loading import Cursor

__all__ = ["RateStep", "Step", "Stepping", "measure_stepping", "model_step"]

# So many steps are not counted; of steps that take long, one.
_WARM_UP = 3
# A fed step is measured with so many whole batches that are loaded, at least.
_FED_BATCHES = 3

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


def measure_stepping(
    batches: kseq.Batches, paced: kseq.Batches, step: Step | RateStep, cursor: Cursor, seconds: float, budget: Budget
) -> Stepping:
    """Both times of a step, each measured for so many seconds.

    Args:
        batches: Those of the training.
        paced: The same, smaller where one takes long.
        step: The step.
        cursor: Where to read on.
        seconds: How long.
        budget: Gets a note where the step is not measured with whole batches that are loaded.

    Raises:
        ArgumentError: If the step fails: the model does not go with the batches.
    """
    if isinstance(step, RateStep):
        # A step that takes its time whatever its batch is as well measured in smaller ones.
        return _measure_waiting(paced, step.seconds(paced.batch_size), cursor, seconds)
    started = time.perf_counter()
    # It is closed before a step: what is read ahead would take cores from a free step, and give a fed one a good start.
    with open_again(batches, max_queue_size=1) as first:
        batch = next(cursor.batches(first))
    loading = time.perf_counter() - started
    try:
        free = _mean_step(itertools.repeat(batch), step, seconds, _WARM_UP)
    except Exception as error:
        line = next(iter(str(error).splitlines()), "")
        raise ArgumentError(f"--model: a step on a batch fails: {type(error).__name__}: {line}") from error
    if _FED_BATCHES * loading > seconds and paced.batch_size < batches.batch_size:
        budget.cut(f"the step with loading: measured in batches of {paced.batch_size}", _FED_BATCHES * loading)
        pause = free * paced.batch_size / batches.batch_size
        fed = _measure_waiting(paced, pause, cursor, seconds).fed * batches.batch_size / paced.batch_size
        return Stepping(free, fed, batches.batch_size)
    with open_again(batches) as fed_batches:
        return Stepping(free, _mean_step(cursor.batches(fed_batches), step, seconds, 1), batches.batch_size)


def _measure_waiting(batches: kseq.Batches, pause: float, cursor: Cursor, seconds: float) -> Stepping:
    """The same where a step only takes time: what it waits is known without the step, which the system may make longer."""
    waited, count, started = 0.0, 0, time.perf_counter()
    with open_again(batches) as fed:
        coming = cursor.batches(fed)
        next(coming)
        while time.perf_counter() - started < seconds or not count:
            time.sleep(pause)
            asked = time.perf_counter()
            next(coming)
            waited, count = waited + time.perf_counter() - asked, count + 1
    return Stepping(pause, pause + waited / count, batches.batch_size)


def _mean_step(batches: Iterator[Any], step: Step, seconds: float, warm_up: int) -> float:
    """The mean seconds of a step with its batch, after so many that are not counted."""
    started = time.perf_counter()
    for _ in range(warm_up):
        step(next(batches))
        if time.perf_counter() - started >= seconds:
            break
    count, started, passed = 0, time.perf_counter(), 0.0
    while passed < seconds or not count:
        step(next(batches))
        count += 1
        passed = time.perf_counter() - started
    return passed / count
