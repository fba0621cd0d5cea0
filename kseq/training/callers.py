"""Who calls a Sequence: Keras, for one of its iterations, or a place in somebody's own program."""

from __future__ import annotations

import functools
import inspect
from types import CodeType, FrameType
from typing import Any

__all__ = ["KerasCall", "KerasGenerator", "find_keras_call", "find_place"]

# Keras calls directly; a subclass, or a Sequence around this one, puts few functions in between.
_MOST_FRAMES = 12


class KerasGenerator:
    """Stands for a running generator of Keras, and equals only what stands for the same one.

    It does not hold the frame, since that keeps all that its function knows; and the place of a frame in memory is that of
    another one later. So it holds the numbers that the generator goes through, which nobody else has, once there are some.

    Args:
        frame: Of the generator.
    """

    def __init__(self, frame: FrameType) -> None:
        self._place = id(frame)
        self._numbers = next((value for value in frame.f_locals.values() if isinstance(value, (list, range))), None)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, KerasGenerator) or self._place != other._place:
            return False
        return self._numbers is other._numbers or self._numbers is None or other._numbers is None


class KerasCall:
    """A call by Keras.

    Args:
        adapter: Keras's `PyDatasetAdapter`; there is one for each `fit`, `evaluate` and `predict`, and one for all validations
            of a `fit`.
        frame: The function of the adapter that is running.
        is_over_this: Whether the adapter is over the Sequence itself, not over another one that reads it.
    """

    def __init__(self, adapter: Any, frame: FrameType, is_over_this: bool) -> None:
        self.adapter = adapter
        self.frame = frame
        self.is_over_this = is_over_this

    @functools.cached_property
    def generator(self) -> KerasGenerator | None:
        """The generator of the adapter that is running; None outside of generators."""
        return KerasGenerator(self.frame) if self.frame.f_code.co_flags & inspect.CO_GENERATOR else None

    @property
    def is_reset(self) -> bool:
        """Whether Keras throws its iterator away: what it had served was a look at shapes, or broke off."""
        caller = self.frame.f_back
        return caller is not None and caller.f_code.co_name == "reset"

    @property
    def is_within_pass(self) -> bool:
        """Whether an epoch of Keras's ends before its iterator does, as with `steps_per_epoch`."""
        caller = self.frame.f_back
        if caller is None or caller.f_code.co_name != "_enumerate_iterator":
            return False
        # How many batches the training took of the iterator, of which TensorFlow may have fetched more; 0 if it begins anew.
        return bool(getattr(caller.f_locals.get("self"), "_steps_seen", 0))


def find_keras_call(frame: FrameType | None, sequence: Any, module: str) -> KerasCall | None:
    """The call of Keras that a function was called by, directly or through a few others; None without one.

    Args:
        frame: The caller of the function.
        sequence: The Sequence whose function it is.
        module: The module of Keras's `PyDataset`, whose adapter is beside it.
    """
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return None
        if frame.f_globals.get("__name__") == module:
            adapter: Any = frame.f_locals.get("self")
            if not hasattr(adapter, "py_dataset"):
                return None
            return KerasCall(adapter, frame, adapter.py_dataset is sequence)
        frame = frame.f_back
    return None


def find_place(frame: FrameType) -> tuple[CodeType, int]:
    """The place in the program that asks for a batch: code, and a line of it.

    Args:
        frame: The caller of `__getitem__`, which may be that of a subclass.
    """
    while frame.f_code.co_name == "__getitem__" and frame.f_back is not None:
        frame = frame.f_back
    # Not the instruction, whose number changes when the interpreter specializes it.
    return frame.f_code, frame.f_lineno
