"""A bar of progress, where a person looks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from kseq.arguments import spelled
from kseq.errors import ArgumentError

__all__ = ["ProgressArgument", "progress_shown"]

# What `progress` of a long call may be.
ProgressArgument = Callable[[int, int], None] | bool | None

# A call that ends sooner shows no bar, in seconds.
_DELAY = 0.5


@contextmanager
def progress_shown(progress: ProgressArgument, unit: str) -> Iterator[Callable[[int, int], None] | None]:
    """What a long call calls with how much is done and how much there is, in the block.

    Args:
        progress: A function, which is that. None: a bar on stderr if that is a terminal, or in a notebook, and nothing
            elsewhere. True: a bar in any case. False: nothing.
        unit: What is counted: `"images"`, `"samples"` or `"bytes"`.

    Raises:
        ArgumentError: If it is something else.
    """
    if progress is not None and not isinstance(progress, bool) and not callable(progress):
        raise ArgumentError(
            f"{spelled('progress', progress)}: allowed are a function of two numbers, True for a bar, False for none, and None "
            "for a bar where a person looks"
        )
    if progress is None:
        progress = _somebody_looks()
    if callable(progress):
        yield progress
    elif progress:
        bar = _Bar(unit)
        try:
            yield bar.show
        finally:
            bar.close()
    else:
        yield None


def _somebody_looks() -> bool:
    """Whether stderr is a terminal, or this process serves a notebook."""
    try:
        if sys.stderr.isatty():
            return True
    except (AttributeError, ValueError):
        # There is none, or it was closed.
        return False
    # Of IPython, only the shell of a notebook has a kernel. Who runs in one has imported it.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return getattr(shell, "kernel", None) is not None


class _Bar:
    """A bar of tqdm, which begins with the first number."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._bar: Any = None

    def show(self, done: int, total: int) -> None:
        if self._bar is None:
            is_bytes = self._unit == "bytes"
            unit = "B" if is_bytes else f" {self._unit}"
            self._bar = _tqdm()(
                total=total, unit=unit, unit_scale=is_bytes, initial=done, delay=_DELAY, dynamic_ncols=True, file=sys.stderr
            )
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _tqdm() -> Any:
    # Without ipywidgets, a notebook gets a bar of characters, and nobody needs to be told, as tqdm.auto does.
    if find_spec("ipywidgets") is None:
        from tqdm import tqdm
    else:
        from tqdm.auto import tqdm
    return tqdm
