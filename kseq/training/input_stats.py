"""InputStats: what loading has cost so far, and who adds that up."""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields

from kseq.training.stage_times import ASSEMBLE, AUGMENT, NO_TIMES, StageTimes, Stopwatch, sum_times

__all__ = ["InputMeter", "InputStats"]

# The stage in which a batch is waited for, by who asks for it.
WAIT = "wait"


@dataclass(frozen=True)
class InputStats:
    """What the batches that were handed out have cost, in seconds; subtract an earlier one for what happened in between.

    The stages are measured on some of the batches, and taken for all of them. Those of several workers add up, so that they may
    be longer than the time that passed.

    Attributes:
        num_batches: How many batches were handed out.
        num_samples: How many rows they had.
        waiting: How long those who asked waited until the readers were done; without workers, all that reading takes.
        reading: How long the readers waited for the stored bytes, or copied them.
        decoding: CPU time to decode and resize images.
        augmenting: CPU time of augmentations and of your functions, wherever they run.
        assembling: CPU time of all else: targets, and what makes of arrays the batch that a model gets.
        cpu: CPU time of the readers and of who asked, for all of this.

    Examples:
        >>> before = train.stats
        >>> model.fit(train)
        >>> (train.stats - before).waiting
        0.8
    """

    num_batches: int = 0
    num_samples: int = 0
    waiting: float = 0.0
    reading: float = 0.0
    decoding: float = 0.0
    augmenting: float = 0.0
    assembling: float = 0.0
    cpu: float = 0.0

    def __sub__(self, earlier: InputStats) -> InputStats:
        """What was added since an earlier one."""
        return InputStats(*(getattr(self, field.name) - getattr(earlier, field.name) for field in fields(self)))

    def per_thousand(self) -> dict[str, float]:
        """Seconds for 1,000 samples: `reading`, `decoding`, `augmenting`, `assembling` and `cpu`; 0 where there are none."""
        names = ("reading", "decoding", "augmenting", "assembling", "cpu")
        return {name: 1000 * getattr(self, name) / max(self.num_samples, 1) for name in names}

    def __str__(self) -> str:
        parts = self.per_thousand()
        stages = ", ".join(f"{name} {parts[name]:.2f}" for name in ("reading", "decoding", "augmenting", "assembling"))
        return f"s for 1,000 samples: {stages}; CPU {parts['cpu']:.2f}"


class InputMeter:
    """Adds up what batches cost; safe to use from many threads."""

    def __init__(self) -> None:
        self._fills = NO_TIMES
        self._num_batches = 0
        self._waiting = self._augmenting = self._assembling = self._cpu = 0.0
        # Guards all of these, for some additions at a time.
        self._lock = threading.Lock()

    def add(self, fills: StageTimes, watch: Stopwatch, *, fills_here: bool) -> None:
        """A batch is handed out.

        Args:
            fills: What filling it took.
            watch: What the thread that asked for it did.
            fills_here: Whether that was the same thread.
        """
        own_cpu = sum(watch.cpu.values()) - (fills.cpu if fills_here else 0.0)
        with self._lock:
            self._num_batches += 1
            self._fills = sum_times(self._fills, fills)
            self._waiting += watch.seconds.get(WAIT, 0.0)
            if fills_here:
                # The clock counts calls that read apart.
                self._waiting += watch.seconds.get("read", 0.0)
            self._augmenting += watch.cpu.get(AUGMENT, 0.0)
            self._assembling += watch.cpu.get(ASSEMBLE, 0.0)
            self._cpu += own_cpu + fills.cpu

    @property
    def stats(self) -> InputStats:
        """All so far."""
        with self._lock:
            fills, num_batches = self._fills, self._num_batches
            waiting, cpu = self._waiting, self._cpu
            augmenting, assembling = self._augmenting, self._assembling
        share = fills.rows / fills.timed_rows if fills.timed_rows else 0.0
        return InputStats(
            num_batches,
            fills.rows,
            waiting,
            share * fills.read,
            share * fills.decode,
            share * fills.augment + augmenting,
            share * fills.assemble + assembling,
            cpu,
        )
