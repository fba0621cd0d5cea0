"""How many images of a packing are done."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["PROGRESS_INTERVAL", "Progress"]

# Seconds between two checks of what workers have done.
PROGRESS_INTERVAL = 0.1


class Progress:
    """Counts images that are done, and calls a function with the number.

    The number never falls, even if a shard has to be built again.

    Args:
        done: How many images are done already.
        total: How many images there are.
        call: Called with both numbers; None for no call.
    """

    def __init__(self, done: int, total: int, call: Callable[[int, int], None] | None) -> None:
        self._done = self._shown = done
        self._total = total
        self._call = call

    def add(self, count: int) -> bool:
        """Count more images as done. Returns True: go on."""
        self._done += count
        self.show()
        return True

    def show(self, in_progress: int = 0) -> None:
        """Call the function; `in_progress` images are done in shards that are not finished."""
        self._shown = max(self._shown, self._done + in_progress)
        if self._call is not None:
            self._call(self._shown, self._total)
