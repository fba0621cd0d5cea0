"""InputMonitor: a callback of Keras that says for each epoch how much of a step waits for input, and what loading costs."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras

from kseq.arguments import whole
from kseq.errors import ArgumentError
from kseq.training.batch_listeners import listen
from kseq.training.input_stats import InputStats
from kseq.training.keras_fit import find_fit
from kseq.training.sequence import ShardSequence

__all__ = ["EpochInput", "InputMonitor"]


@dataclass(frozen=True)
class EpochInput:
    """How an epoch of a `fit` and its input got along, as [`InputMonitor`][kseq.InputMonitor] measured it.

    The first step of a `fit`, in which Keras compiles, is not counted, unless it is the only one.

    Attributes:
        epoch: Keras's number of the epoch, from 0.
        num_steps: How many steps are counted.
        seconds: How long they took, in seconds.
        waiting: How much of that the training loop waited for batches.
        hand_over: How much of `waiting` passed after kseq had handed out the batch, until Keras had it as it wants it.
        stats: What the batches that were handed out meanwhile cost.
    """

    epoch: int
    num_steps: int
    seconds: float
    waiting: float
    hand_over: float
    stats: InputStats

    @property
    def waiting_share(self) -> float:
        """The share of a step that waits for input, from 0 to 1."""
        return self.waiting / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        waiting, step, hand_over = (
            1000 * seconds / max(self.num_steps, 1) for seconds in (self.waiting, self.seconds, self.hand_over)
        )
        return (
            f"Epoch {self.epoch + 1}: {100 * self.waiting_share:.1f} % of a step waits for input "
            f"({waiting:.1f} of {step:.1f} ms, {hand_over:.1f} hand-over); {self.stats}"
        )


class _Served(NamedTuple):
    """A batch that Keras got: when it was asked for, and when it was handed out."""

    asked: float
    given: float


class _Steps(NamedTuple):
    """Some steps: how many, how long they took, how much of that they waited, and how much of this was hand-over."""

    num_steps: int = 0
    seconds: float = 0.0
    waiting: float = 0.0
    hand_over: float = 0.0

    def add(self, num_steps: int, seconds: float, waiting: float, hand_over: float) -> _Steps:
        """The same and more."""
        return _Steps(self.num_steps + num_steps, self.seconds + seconds, self.waiting + waiting, self.hand_over + hand_over)


_NOTHING = _Steps()


class InputMonitor(keras.callbacks.Callback):
    """Says in a line for each epoch how much of a step waits for input, and what loading costs.

    It measures what the training loop waits. A GPU that still computes meanwhile loses less: the share is an upper bound there,
    and what a free loader would gain, `kseq doctor --model` measures.

    Each epoch's figures are in `epochs`, and the share that waits, from 0 to 1, in the logs of the epoch as `input_wait`, where
    `history`, TensorBoard and CSV loggers that follow in the list find it.

    Args:
        verbose: 1: print the line, before the next epoch begins. 0: print nothing.

    Attributes:
        epochs: A list of `EpochInput`, one for each epoch of all `fit`s so far.

    Raises:
        ArgumentError: If an argument is not allowed. In `fit`: if it does not train on a `ShardSequence`.

    Examples:
        >>> monitor = kseq.InputMonitor()
        >>> model.fit(train, epochs=10, callbacks=[monitor])
        >>> monitor.epochs[-1].waiting_share
        0.013
    """

    def __init__(self, *, verbose: int = 1) -> None:
        super().__init__()
        self._verbose = whole("verbose", int(verbose) if isinstance(verbose, bool) else verbose, 0, 1)
        self.epochs: list[EpochInput] = []
        self._num_printed = 0
        # Not the Sequence, which would live as long as this; a `fit` holds it.
        self._sequence: weakref.ref[ShardSequence] | None = None
        self._steps_per_execution = 1
        self._thread = 0
        # Whether no step of this `fit` has ended yet.
        self._is_first = True
        # Appended to by the thread that Keras reads in, and emptied by the one that trains: each is a single step.
        self._served: deque[_Served] = deque()
        # Where one thread reads and trains: what it has waited since the last step, and the batch that Keras is working on.
        self._here = _NOTHING
        self._given_here: float | None = None
        self._stats = InputStats()
        self._steps = self._first = _NOTHING
        # When the step that is going on began; whether it is one at all, or what comes before the first of an epoch.
        self._began: float | None = None
        self._is_step = False

    def on_train_begin(self, logs: Any = None) -> None:
        """Called by Keras."""
        fit = find_fit(sys._getframe(1))
        sequence = None if fit is None else getattr(fit.adapter, "py_dataset", None)
        if fit is None or not isinstance(sequence, ShardSequence):
            found = "is not called by fit" if fit is None else f"fit trains on a {type(sequence or fit.adapter).__name__}"
            raise ArgumentError(
                f"InputMonitor watches a kseq.ShardSequence, found: {found}: give fit the ShardSequence itself, or read "
                "`stats` of what you read from"
            )
        self._sequence, self._steps_per_execution = weakref.ref(sequence), fit.iterator.steps_per_execution
        self._served.clear()
        self._is_first = True
        listen(fit.adapter, self)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Called by Keras."""
        self._print()
        self._stats = self._stats_now()
        self._steps = self._here = _NOTHING
        self._thread, self._given_here, self._is_step = threading.get_ident(), None, False
        self._began = time.perf_counter()

    def note_served(self, asked: float) -> None:
        """Keras is handed a batch that it asked for at `asked`."""
        now, thread = time.perf_counter(), threading.get_ident()
        if thread == self._thread:
            self._here = self._here.add(0, 0.0, now - asked, 0.0)
            self._given_here = now
        else:
            self._served.append(_Served(asked, now))

    def note_ready(self) -> None:
        """Keras has made of the batch what it wants."""
        if self._given_here is not None:
            seconds = time.perf_counter() - self._given_here
            self._here, self._given_here = self._here.add(0, 0.0, seconds, seconds), None

    # Not on_train_batch_end: who has that makes Keras fetch the metrics of each step, for which a GPU waits.

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Called by Keras."""
        self.note_ready()
        if self._is_step:
            self._end_step()
            self._began = time.perf_counter()
        self._is_step = True

    def on_test_begin(self, logs: Any = None) -> None:
        """Called by Keras, also between the last step of an epoch and its end."""
        self._end_step()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Called by Keras."""
        self._end_step()
        steps = self._steps if self._steps.num_steps else self._first
        self.epochs.append(EpochInput(epoch, *steps, self._stats_now() - self._stats))
        if logs is not None:
            logs["input_wait"] = self.epochs[-1].waiting_share

    def on_train_end(self, logs: Any = None) -> None:
        """Called by Keras."""
        self._print()
        self._sequence = None

    def _stats_now(self) -> InputStats:
        sequence = None if self._sequence is None else self._sequence()
        assert sequence is not None
        return sequence.stats

    def _print(self) -> None:
        for epoch in self.epochs[self._num_printed :] if self._verbose else ():
            print(epoch, flush=True)
        self._num_printed = len(self.epochs)

    def _end_step(self) -> None:
        """The step that is going on, if any, ends now."""
        if self._began is None:
            return
        began, now, self._began = self._began, time.perf_counter(), None
        if self._here is _NOTHING:
            served = [self._served.popleft() for _ in range(min(self._steps_per_execution, len(self._served)))]
            waiting, hand_over = _waiting(began, now, served, self._served[0].asked if self._served else now)
        else:
            (_, _, waiting, hand_over), self._here = self._here, _NOTHING
        step = (self._steps_per_execution, now - began, min(waiting, now - began), min(hand_over, now - began))
        if self._is_first:
            self._first, self._is_first = _Steps(*step), False
        else:
            self._steps = self._steps.add(*step)


def _waiting(began: float, ended: float, served: Sequence[_Served], next_asked: float) -> tuple[float, float]:
    """How long some steps that ran as one waited for batches that another thread fetched, and how much of it was hand-over.

    Args:
        began: When the first step began.
        ended: When the last one ended.
        served: The batch of each step.
        next_asked: When the batch after these was asked for.
    """
    if not served:
        return 0.0, 0.0
    count = len(served)
    # From the time on that a batch is there, all steps that follow on it have still to be computed, so that none takes longer
    # than that; and where the last wait ends, exactly that long.
    step = min((ended - max(batch.given, began)) / (count - number) for number, batch in enumerate(served))
    # Where a batch comes late, Keras has no other and asks for the next one as soon as it has stored this one.
    asked = [*(batch.asked for batch in served[1:]), next_asked]
    late = [max(0.0, after - batch.given) for batch, after in zip(served, asked, strict=True) if batch.given > began]
    hand_over = min(sum(late), max(0.0, count * step))
    return ended - began - count * max(step, 0.0) + hand_over, hand_over
