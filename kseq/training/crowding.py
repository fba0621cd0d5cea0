"""Whether other jobs take the cores while a training waits for batches."""

from __future__ import annotations

import threading
import time

from kseq.platforms.processes import busy_seconds, usable_cores

__all__ = ["Crowding"]

# Seconds between two looks: the system counts in hundredths.
_INTERVAL = 0.5

# Other jobs take so much of the cores, and the training waits for so much of the time: more threads get more of the cores.
_MUCH, _WAITING = 0.25, 0.5
# Below so much of either, as many threads as cores are the fastest.
_LITTLE = 0.1


class Crowding:
    """Notices that other jobs take the cores while somebody waits for batches.

    The system shares the cores out among all threads that want one, whoever they belong to. A process with as many threads as
    cores gets half of them beside as many busy threads of others.

    Attributes:
        is_crowded: What was seen in the last half second.
    """

    def __init__(self) -> None:
        self.is_crowded = False
        self._waited = 0.0
        self._since = self._now()
        # Held by the one thread that looks; others do not wait for it.
        self._looking = threading.Lock()

    @staticmethod
    def _now() -> tuple[float, float, float | None]:
        return time.monotonic(), time.process_time(), busy_seconds()

    def waited(self, seconds: float) -> None:
        """Somebody has waited so long for a batch."""
        # A sum that another thread changes at the same moment is off by one wait.
        self._waited += seconds
        if time.monotonic() - self._since[0] >= _INTERVAL and self._looking.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._looking.release()

    def _look(self) -> None:
        if time.monotonic() - self._since[0] < _INTERVAL:
            # Another thread has looked since this one saw that it is time.
            return
        before, self._since = self._since, self._now()
        waited, self._waited = self._waited, 0.0
        if before[2] is None or self._since[2] is None:
            return
        passed = self._since[0] - before[0]
        others = (self._since[2] - before[2] - (self._since[1] - before[1])) / (passed * usable_cores())
        waiting = waited / passed
        if others > _MUCH and waiting > _WAITING:
            self.is_crowded = True
        elif others < _LITTLE or waiting < _LITTLE:
            self.is_crowded = False
