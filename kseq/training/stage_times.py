"""How long batches take, stage by stage: until the bytes are there, to decode, to augment, and all else.

Of the rows that a worker fills, whole fills are timed always, and their stages only now and then: a look at the clock for each
image, and to wait for pages of a mapped file before they are decoded, would cost more than it is worth.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from kseq.storage.read_times import seconds_reading

__all__ = ["NO_TIMES", "StageTimes", "Stopwatch", "TimedSteps", "sum_times", "times_stages"]

# Of the first fills of a process, each second one is timed by stages, so that short runs are told something too; then one of
# so many.
_FIRST_FILLS, _TIMED_EVERY = 8, 8

READ, DECODE, AUGMENT, ASSEMBLE = "read", "decode", "augment", "assemble"


class StageTimes(NamedTuple):
    """What filling rows took, in seconds.

    Attributes:
        rows: How many were filled.
        cpu: The CPU time of the threads that filled them.
        timed_rows: For how many of them the stages were timed.
        read: How long the bytes of these were waited for, or copied.
        decode: CPU time to decode and resize them.
        augment: CPU time of augmentations, and of functions over samples.
        assemble: CPU time of all else.
    """

    rows: int = 0
    cpu: float = 0.0
    timed_rows: int = 0
    read: float = 0.0
    decode: float = 0.0
    augment: float = 0.0
    assemble: float = 0.0


NO_TIMES = StageTimes()


def sum_times(one: StageTimes, other: StageTimes) -> StageTimes:
    """What two fillings took together."""
    return StageTimes._make(map(operator.add, one, other))


def times_stages(number: int) -> bool:
    """Whether the stages of fill `number` of a process, from 0 on, are timed."""
    return number % 2 == 1 if number < _FIRST_FILLS else number % _TIMED_EVERY == _TIMED_EVERY - 1


class Stopwatch:
    """Times the stages of what one thread does.

    Args:
        is_running: Whether stages are timed at all; if not, only the whole is.

    Attributes:
        is_running: As passed.
        seconds: By stage, the time that passed.
        cpu: By stage, the CPU time of this thread.
    """

    def __init__(self, is_running: bool = True) -> None:
        self.is_running = is_running
        self.seconds: dict[str, float] = {}
        self.cpu: dict[str, float] = {}
        self._reading = seconds_reading() if is_running else 0.0
        self._start = self._last = time.perf_counter()
        self._cpu_start = self._cpu_last = time.thread_time()

    def lap(self, stage: str) -> None:
        """What was done since the last call was a stage; what it waited for calls that read is a stage of its own."""
        if not self.is_running:
            return
        now, cpu, reading = time.perf_counter(), time.thread_time(), seconds_reading()
        waited = reading - self._reading
        self.seconds[READ] = self.seconds.get(READ, 0.0) + waited
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last - waited
        self.cpu[stage] = self.cpu.get(stage, 0.0) + cpu - self._cpu_last
        self._last, self._cpu_last, self._reading = now, cpu, reading

    def times(self, rows: int) -> StageTimes:
        """What filling so many rows took, from the beginning until now."""
        whole = StageTimes(rows, time.thread_time() - self._cpu_start)
        if not self.is_running:
            return whole
        stages = (self.cpu.get(stage, 0.0) for stage in (DECODE, AUGMENT, ASSEMBLE))
        return StageTimes(*whole[:2], rows, self.seconds.get(READ, 0.0), *stages)


class TimedSteps:
    """Runs what is done to the pixels of each sample, as a `kseq.training.transforms.Chain` does, and times it.

    Args:
        run: Called with the number of a sample and its pixels.
        watch: Counts what comes before as decoding, and this as augmenting.
    """

    def __init__(self, run: Callable[[int, Any], Any], watch: Stopwatch) -> None:
        self._run = run
        self._watch = watch

    def run(self, number: int, value: Any) -> Any:
        """What becomes of the pixels of sample `number`."""
        self._watch.lap(DECODE)
        changed = self._run(number, value)
        self._watch.lap(AUGMENT)
        return changed
