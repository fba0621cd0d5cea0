"""Keeps TensorFlow from waiting whenever a pass of Keras over a Sequence ends."""

from __future__ import annotations

import functools
from types import FrameType
from typing import Any

__all__ = ["turn_off"]


def turn_off(adapter: Any, caller: FrameType) -> None:
    """Let an adapter that Keras is making for a Sequence make its `tf.data.Dataset` without autotuning.

    With autotuning, a thread computes from time to time how far to fetch ahead, at first every 10 ms, then half as often each
    time, up to a minute (`Model::OptimizeLoop` in TensorFlow's `core/framework/model.cc`). The end of an iterator wakes that
    thread, but marks it as ended only afterwards (`CancellationManager::StartCancel`). With an idle core the thread looks too
    early and goes on sleeping, and the training waits for it: for a second, say, after a pass of a second and a half. kseq
    reads ahead by itself, so there is nothing to tune. Where Keras fetches by workers of its own, it turns this off too.

    Args:
        adapter: Keras's `PyDatasetAdapter`.
        caller: Who asks; nothing is done unless it is where the adapter is made.
    """
    if caller.f_code.co_name == "__init__" and hasattr(adapter, "get_tf_dataset"):
        # Its class, not its method: who holds a method of an object, or copies the object, would hold or copy the wrong one.
        adapter.__class__ = _without_autotuning(adapter.__class__)


@functools.cache
def _without_autotuning(adapter_class: Any) -> type:
    """The same class, but for the options of the `tf.data.Dataset` that it makes."""

    class Adapter(adapter_class):
        def get_tf_dataset(self) -> Any:
            dataset = super().get_tf_dataset()
            options = type(dataset.options())()
            options.autotune.enabled = False
            return dataset.with_options(options)

    Adapter.__name__ = Adapter.__qualname__ = adapter_class.__name__
    return Adapter
