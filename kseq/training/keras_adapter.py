"""What Keras's adapter of a Sequence does otherwise for kseq: no riddles after errors, and nothing that is kept for ever."""

from __future__ import annotations

import contextlib
import functools
import itertools
import sys
import weakref
from collections.abc import Iterator
from types import FrameType
from typing import Any

from kseq.platforms import interrupts
from kseq.training.batch_listeners import note_ready
from kseq.training.tf_passes import ERROR, WeakPasses

__all__ = ["adapt"]

# Between the function of a model that loops over batches and the end of the loop's block.
_MOST_FRAMES = 4


def adapt(adapter: Any, caller: FrameType) -> None:
    """Change what an adapter does, which Keras is making for a Sequence.

    On tensorflow:

    - **No autotuning.** With it, a thread computes from time to time how far to fetch ahead, at first every 10 ms, then half as
      often each time, up to a minute (`Model::OptimizeLoop` in TensorFlow's `core/framework/model.cc`). The end of an iterator
      wakes that thread, but marks it as ended only afterwards (`CancellationManager::StartCancel`). With an idle core the
      thread looks too early and goes on sleeping, and the training waits for it: for a second, say, after a pass of a second
      and a half. kseq reads ahead by itself, so there is nothing to tune. Where Keras fetches by workers of its own, it turns
      this off too.
    - **Nothing kept.** TensorFlow keeps the function that `Dataset.from_generator` is given for as long as the program runs (in
      the default graph, `_internal_py_func` in its `ops/script_ops.py`), and with Keras's function the adapter, the Sequence,
      its buffers and its files. It gets one that knows the adapter only as long as somebody has the dataset.
    - **Errors stay.** TensorFlow makes of any error in a generator one of its own, with the text of the first. The first one is
      raised in its place, so that `except` finds its class.
    - **Ctrl-C.** The main thread waits in TensorFlow while a batch is read, and would notice Ctrl-C only afterwards: the thread
      that waits for the batch gives up then (see `kseq.platforms.interrupts`).

    On jax and torch, listeners are told when a batch is ready. On jax, a model outlives an error: Keras takes the variables out
    of it for as long as an epoch, an `evaluate` or a `predict` goes on (`_get_jax_state`), and loses them if the first batch
    cannot be read, or any other outside of `fit`. So the first batch is read before that, and the variables are put back.

    Args:
        adapter: Keras's `PyDatasetAdapter`.
        caller: Who asks; nothing is done unless it is where the adapter is made.
    """
    if caller.f_code.co_name == "__init__" and hasattr(adapter, "get_tf_dataset"):
        # Its class, not its method: who holds a method of an object, or copies the object, would hold or copy the wrong one.
        adapter.__class__ = _adapted(adapter.__class__)


@functools.cache
def _adapted(adapter_class: Any) -> type:
    """The same class, with these changes."""

    class Adapter(adapter_class):
        @property
        def num_batches(self) -> Any:
            # Keras's `EpochIterator` reads it when it is made.
            _watch_over(sys._getframe(1).f_locals.get("self"), self)
            return super().num_batches

        def get_tf_dataset(self) -> Any:
            interrupts.watch()
            self._get_iterator = WeakPasses(self, keeps_error=True)
            try:
                dataset = super().get_tf_dataset()
            finally:
                del self._get_iterator
            options = type(dataset.options())()
            options.autotune.enabled = False
            dataset = dataset.with_options(options)
            # Who goes through the dataset, or holds it, needs the adapter.
            dataset._kseq_adapter = self
            return dataset

        def get_jax_iterator(self) -> Any:
            batches = _announced(super().get_jax_iterator(), weakref.ref(self))
            epoch_iterator = sys._getframe(1).f_locals.get("self")
            # Keras makes an iterator at the end of an epoch, too, which may never be used.
            is_beginning = getattr(epoch_iterator, "_steps_seen", 1) == 0
            return itertools.chain(list(itertools.islice(batches, 1)), batches) if is_beginning else batches

        def get_torch_dataloader(self) -> Any:
            loader = super().get_torch_dataloader()
            loader.__class__ = _announcing(loader.__class__)
            loader._kseq_adapter = weakref.ref(self)
            return loader

    Adapter.__name__ = Adapter.__qualname__ = adapter_class.__name__
    return Adapter


@functools.cache
def _announcing(loader_class: Any) -> type:
    class DataLoader(loader_class):
        def __iter__(self) -> Iterator[Any]:
            return _announced(super().__iter__(), self._kseq_adapter)

    DataLoader.__name__ = DataLoader.__qualname__ = loader_class.__name__
    return DataLoader


def _announced(batches: Iterator[Any], adapter: weakref.ref[Any]) -> Iterator[Any]:
    """The same batches; each is said to be ready."""
    for batch in batches:
        note_ready(adapter())
        yield batch


def _watch_over(epoch_iterator: Any, adapter: Any) -> None:
    """Let Keras's `EpochIterator`, which goes through the batches of an adapter, end as it should when an error ends it."""
    is_known = hasattr(epoch_iterator, "catch_stop_iteration") and getattr(epoch_iterator, "data_adapter", None) is adapter
    if is_known and not hasattr(epoch_iterator, "_kseq_watched"):
        epoch_iterator.__class__ = _watched(epoch_iterator.__class__)


@functools.cache
def _watched(iterator_class: Any) -> type:
    class EpochIterator(iterator_class):
        _kseq_watched = True

        # Keras runs its loops over batches in this.
        @contextlib.contextmanager
        def catch_stop_iteration(self) -> Iterator[None]:
            try:
                with super().catch_stop_iteration():
                    yield
            except BaseException as error:
                _put_variables_back(sys._getframe(1))
                own = self.data_adapter.__dict__.pop(ERROR, None)
                # Another error may come before TensorFlow has got to this one.
                if own is None or not isinstance(error, Exception) or type(own).__name__ not in str(error):
                    raise
                raise own from None

    EpochIterator.__name__ = EpochIterator.__qualname__ = iterator_class.__name__
    return EpochIterator


def _put_variables_back(frame: FrameType | None) -> None:
    """Give the variables that a step has returned last to the model of Keras that a function of it, or of a caller, is of."""
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return
        put_back = getattr(frame.f_locals.get("self"), "jax_state_sync", None)
        if put_back is not None:
            put_back()
            return
        frame = frame.f_back
