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
        start: The number of its first batch, above 0 where another run has served those before.
        is_finished: Whether it is complete.
    """

    epoch: int
    setting: int
    start: int = 0
    is_finished: bool = False


class EpochCount:
    """The epoch of the next pass: one more than the highest of which a pass is complete, or what was set since."""

    def __init__(self) -> None:
        self.epoch = 0
        # The number with which a pass of this epoch begins.
        self.start = 0
        # Whether the program itself has set them, and no pass has become complete since.
        self.is_chosen = False
        # How often it was set: passes that had begun before do not count.
        self.setting = 0
        self._ending: list[Pass] = []

    def set(self, epoch: int, start: int = 0, *, is_chosen: bool = True) -> None:
        self.epoch = epoch
        self.start = start
        self.is_chosen = is_chosen
        self.setting += 1
        self._ending.clear()

    def begin(self, after: Pass | None = None) -> Pass:
        """A new pass; one that follows on another, complete one is of the epoch after that."""
        for served in list(self._ending):
            self.finish(served)
        epoch = self.expected(after)
        return Pass(epoch, self.setting, self.first_number(epoch))

    def first_number(self, epoch: int) -> int:
        """The number with which a pass of an epoch begins."""
        return self.start if epoch == self.epoch else 0

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
            if served.epoch >= self.epoch:
                self.epoch, self.start = served.epoch + 1, 0
            self.is_chosen = False
        served.is_finished = True
