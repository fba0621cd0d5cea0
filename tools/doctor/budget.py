"""The time that an examination may take, and what there was no time for."""

from __future__ import annotations

import time

__all__ = ["Budget"]


class Budget:
    """Seconds that go by, from now on.

    Args:
        seconds: How many there are.

    Attributes:
        seconds: The same.
        cuts: What was left out or measured more briefly, a few words each.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.cuts: list[str] = []
        self._missing = 0.0
        self._started = time.perf_counter()

    @property
    def passed(self) -> float:
        """How many seconds have gone by."""
        return time.perf_counter() - self._started

    @property
    def left(self) -> float:
        """How many seconds are left; 0 where it is over."""
        return max(0.0, self.seconds - self.passed)

    def share(self, share: float) -> float:
        """A share of all seconds, or what is left of them if that is less."""
        return min(share * self.seconds, self.left)

    def cut(self, what: str, missing: float = 0.0) -> None:
        """Note that there was no time for something, and about how many seconds it would have taken."""
        self.cuts.append(what)
        self._missing += missing

    @property
    def seconds_for_all(self) -> int | None:
        """About how many seconds nothing would be cut short in; None if nothing was."""
        if not self.cuts:
            return None
        # Twice what is known to be missing, since what is measured more briefly has to be measured longer, too.
        wanted = self.passed + 2 * self._missing
        return max(round(wanted / 10 + 0.5) * 10, round(2 * self.seconds))
