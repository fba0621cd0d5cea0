"""How far a packing is."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["PROGRESS_EVERY", "Progress"]

# Seconds between two looks at what others have done.
PROGRESS_EVERY = 0.1


class Progress:
    """Counts images done and passes the number on; it never falls, though a shard may have to be built again.

    Args:
        done: How many are done.
        total: How many there are.
        call: Called with both numbers.
    """

    def __init__(self, done: int, total: int, call: Callable[[int, int], None] | None) -> None:
        self._done = self._shown = done
        self._total = total
        self._call = call

    def add(self, more: int) -> bool:
        """Some more are done; True: go on."""
        self._done += more
        self.show()
        return True

    def show(self, under_way: int = 0) -> None:
        """Beside those that are done, some are in shards that are not."""
        self._shown = max(self._shown, self._done + under_way)
        if self._call is not None:
            self._call(self._shown, self._total)
