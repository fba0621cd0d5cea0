"""Files that a source keeps open, or what it has read of them, for the next call: each process for itself."""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from kseq.sources.file_reading import file_version

__all__ = ["kept_open"]

P = ParamSpec("P")
T = TypeVar("T")


def kept_open(most: int) -> Callable[[Callable[Concatenate[str, P], T]], _KeptOpen[P, T]]:
    """A decorator of a function that opens or reads a file: what it returns is kept for the next call with equal arguments.

    Kept is what belongs to this process, and to the file as it is now. The position in an open file is shared between a process
    and its forks, and locks and threads do not survive a fork: so a fork opens its own, and never touches what it inherited.
    Several threads get the same object.

    The function takes the path of the file first; its arguments are hashable and positional.

    Args:
        most: How many objects are kept. When another one is opened, the one that was used longest ago is dropped before.
    """
    return lambda function: _KeptOpen(function, most)


class _KeptOpen(Generic[P, T]):
    def __init__(self, function: Callable[Concatenate[str, P], T], most: int) -> None:
        self._function = function
        self._most = most
        # By process id. The objects of processes that this one was forked from are held and never closed: to close a reader may
        # mean to wait for its threads, which are not here.
        self._by_process: dict[int, OrderedDict[tuple[Any, ...], T]] = {}

    def __call__(self, path: str, *args: P.args, **kwargs: P.kwargs) -> T:
        # No lock, since a fork may copy it locked. Each step on the dictionary is whole; at worst, two threads open one file
        # twice.
        kept = self._by_process.setdefault(os.getpid(), OrderedDict())
        key = (path, file_version(path), *args)
        with contextlib.suppress(KeyError):
            kept.move_to_end(key)
            return kept[key]
        with contextlib.suppress(KeyError):
            while len(kept) >= self._most:
                kept.popitem(last=False)
        opened = kept[key] = self._function(path, *args, **kwargs)
        return opened
