"""Counts epochs: which one the next pass is of."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EpochCount", "Pass"]


@dataclass(eq=False)
class Pass:
    """One pass over all batches.

    Attributes:
        epoch: Its epoch.
        setting: How often the epoch had been set when it began.
        is_finished: Whether it is complete.
    """

    epoch: int
    setting: int
    is_finished: bool = False


class EpochCount:
    """The epoch of the next pass: one more than the highest of which a pass is complete, or what was set since."""

    def __init__(self) -> None:
        self.epoch = 0
        # How often it was set: passes that had begun before do not count.
        self.setting = 0
        self._ending: list[Pass] = []

    def set(self, epoch: int) -> None:
        self.epoch = epoch
        self.setting += 1
        self._ending.clear()

    def begin(self, after: Pass | None = None) -> Pass:
        """A new pass; one that follows on another, complete one is of the epoch after that."""
        for served in list(self._ending):
            self.finish(served)
        return Pass(self.expected(after), self.setting)

    def expected(self, after: Pass | None) -> int:
        """The epoch of a pass that would begin now."""
        follows = after is not None and after.is_finished and after.setting == self.setting
        return after.epoch + 1 if after is not None and follows else self.epoch

    def will_finish(self, served: Pass) -> None:
        """A pass has handed out its last batch: it counts when it ends, or when the next one begins."""
        self._ending.append(served)

    def finish(self, served: Pass) -> None:
        """A pass is complete."""
        self._ending = [other for other in self._ending if other is not served]
        if not served.is_finished and served.setting == self.setting:
            self.epoch = max(self.epoch, served.epoch + 1)
        served.is_finished = True
