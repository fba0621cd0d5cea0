"""What Keras hands to TensorFlow for a Sequence: untuned, not kept for ever, and with errors that stay what they are."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import weakref
from collections.abc import Iterator
from types import FrameType
from typing import Any

from kseq.platforms import interrupts

__all__ = ["adapt"]

# The attribute of an adapter that holds the last error in reading.
_ERROR = "_kseq_error"


def adapt(adapter: Any, caller: FrameType) -> None:
    """Change what an adapter, which Keras is making for a Sequence, does for TensorFlow.

    - **No autotuning.** With it, a thread computes from time to time how far to fetch ahead, at first every 10 ms, then half as
      often each time, up to a minute (`Model::OptimizeLoop` in TensorFlow's `core/framework/model.cc`). The end of an iterator
      wakes that thread, but marks it as ended only afterwards (`CancellationManager::StartCancel`). With an idle core the
      thread looks too early and goes on sleeping, and the training waits for it: for a second, say, after a pass of a second
      and a half. kseq reads ahead by itself, so there is nothing to tune. Where Keras fetches by workers of its own, it turns
      this off too.
    - **Nothing kept.** TensorFlow keeps the function that `Dataset.from_generator` is given for as long as the program runs (in
      the default graph, `_internal_py_func` in its `ops/script_ops.py`), and with Keras's function the adapter, the Sequence,
      its buffers and its files. It gets one that knows the adapter only as long as somebody else does.
    - **Errors stay.** TensorFlow makes of any error in a generator one of its own, with the text of the first. The first one is
      raised in its place, so that `except` finds its class.
    - **Ctrl-C.** The main thread waits in TensorFlow while a batch is read, and would notice Ctrl-C only afterwards: the thread
      that waits for the batch gives up then (see `kseq.platforms.interrupts`).

    Args:
        adapter: Keras's `PyDatasetAdapter`.
        caller: Who asks; nothing is done unless it is where the adapter is made.
    """
    if caller.f_code.co_name == "__init__" and hasattr(adapter, "get_tf_dataset"):
        # Its class, not its method: who holds a method of an object, or copies the object, would hold or copy the wrong one.
        adapter.__class__ = _adapted(adapter.__class__)


@functools.cache
def _adapted(adapter_class: Any) -> type:
    """The same class, but for the `tf.data.Dataset` that it makes."""

    class Adapter(adapter_class):
        def get_tf_dataset(self) -> Any:
            _raise_own_errors(self, sys._getframe(1).f_locals.get("self"))
            interrupts.watch()
            self._get_iterator = _Passes(self)
            try:
                dataset = super().get_tf_dataset()
            finally:
                del self._get_iterator
            options = type(dataset.options())()
            options.autotune.enabled = False
            return dataset.with_options(options)

    Adapter.__name__ = Adapter.__qualname__ = adapter_class.__name__
    return Adapter


class _Passes:
    """The function of an adapter that begins a pass, as TensorFlow may keep it for ever."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = weakref.ref(adapter)

    def __call__(self) -> Iterator[Any]:
        adapter = self._adapter()
        # Keras holds the adapter as long as it trains.
        return iter(()) if adapter is None else _Pass(adapter)


class _Pass:
    """A pass of Keras, in TensorFlow's threads."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = weakref.ref(adapter)
        self._batches = adapter._get_iterator()
        self._interrupts = interrupts.count()

    def __iter__(self) -> _Pass:
        return self

    def __next__(self) -> Any:
        try:
            with interrupts.breaks_off(self._interrupts):
                return next(self._batches)
        except StopIteration:
            raise
        except BaseException as error:
            if not threading.main_thread().is_alive():
                # The program ends: nobody is there to be told.
                raise StopIteration from None
            adapter = self._adapter()
            if adapter is not None:
                setattr(adapter, _ERROR, error)
            raise


def _raise_own_errors(adapter: Any, epoch_iterator: Any) -> None:
    """Let Keras's `EpochIterator`, which makes a dataset of an adapter, raise the errors of the adapter in place of others."""
    is_known = hasattr(epoch_iterator, "catch_stop_iteration") and getattr(epoch_iterator, "data_adapter", None) is adapter
    if is_known:
        epoch_iterator.__class__ = _raising(epoch_iterator.__class__)


@functools.cache
def _raising(iterator_class: Any) -> type:
    class EpochIterator(iterator_class):
        # Keras runs its loops over batches in this.
        @contextlib.contextmanager
        def catch_stop_iteration(self) -> Iterator[None]:
            try:
                with super().catch_stop_iteration():
                    yield
            except Exception as error:
                own = self.data_adapter.__dict__.pop(_ERROR, None)
                # Another error may come before TensorFlow has got to this one.
                if own is None or type(own).__name__ not in str(error):
                    raise
                raise own from None

    EpochIterator.__name__ = EpochIterator.__qualname__ = iterator_class.__name__
    return EpochIterator
