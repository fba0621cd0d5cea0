"""All that is measured of a dataset and its training, in order and in the time that is given."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import kseq
from kseq.arguments import is_url
from kseq.training.batches import describe
from kseq.training.batches_inside import arguments_of, dataset_of, num_workers, open_again

from .budget import Budget
from .disk import measure_disk, memory_bytes
from .loading import Cursor, measure_rate, measure_stages, without_checksums
from .stepping import RateStep, Step, Stepping, measure_stepping
from .trials import Outcome, list_trials, measure_trials

__all__ = ["STAGES", "Examination", "best_outcome", "examine", "find_culprit"]

STAGES = ("reading", "decoding", "augmenting", "assembling")

# Shares of the time: the disk, the stages, loading alone, steps (twice), trials.
_DISK, _STAGES, _LOADING, _STEPS, _TRIALS = 0.04, 0.06, 0.06, 0.12, 0.45
# Trials are planned to take at most such a share of what is left then.
_MOST_OF_THE_REST = 0.7
# Less than that of a step is no waiting that one could do something about.
_LITTLE_WAITING = 0.05
# What is tried is tried in batches that one thread fills in so many seconds; each worker has a sample of it.
_BATCH_SECONDS = 0.3
# A collection that takes more than this share of the memory is read from the disk in each epoch.
_MOST_IN_MEMORY = 0.8
# A setting that gains less is not worth changing; and among those that gain nearly the most, the easiest is proposed.
_LEAST_GAIN, _NEARLY = 1.1, 0.85
# A loader that is a little faster than the step is fast enough.
_ENOUGH = 1.2


@dataclass(frozen=True)
class Examination:
    """What was measured, and what follows from it.

    Attributes:
        path: Of the dataset.
        described: The batches, in a line.
        batch_size: Samples per batch.
        num_workers: Threads or processes that read.
        in_processes: Whether they are processes.
        costs: What loading costs on one thread.
        rate: Samples per second of all readers together, of who does nothing but to ask for batches.
        cpu: CPU seconds for 1,000 samples.
        disk_rate: Samples per second that come from the disk itself; None where that cannot be told.
        num_bytes: Of the dataset.
        memory: Bytes of this machine's memory; None where no one tells.
        stepping: The time of a step; None without a model and a rate.
        outcomes: What trials came to; none where nothing is to be gained.
        culprit: Who is waited for: `"step"`, or a stage of loading.
        best: The setting to change next; None if none of those that were tried gains enough.
        seconds: How long all of this took.
        cuts: What there was no time for, in words.
        seconds_for_all: About how long it would take with that; None if nothing was left out.
    """

    path: str
    described: str
    batch_size: int
    num_workers: int
    in_processes: bool
    costs: kseq.InputStats
    rate: float
    cpu: float
    disk_rate: float | None
    num_bytes: int
    memory: int | None
    stepping: Stepping | None
    outcomes: list[Outcome]
    culprit: str
    best: Outcome | None
    seconds: float = 0.0
    cuts: tuple[str, ...] = ()
    seconds_for_all: int | None = None

    @property
    def fits_in_memory(self) -> bool:
        """Whether the system can keep all shards in memory."""
        return self.memory is None or self.num_bytes <= _MOST_IN_MEMORY * self.memory


def examine(batches: kseq.Batches, step: Step | RateStep | None, seconds: float) -> Examination:
    """Measure for so many seconds, and by what is being measured when they are over; what there was no time for is noted.

    Args:
        batches: Of the present setting.
        step: A training step, or how many images per second it takes; None if there is none.
        seconds: How long.
    """
    budget, cursor, dataset = Budget(seconds), Cursor(), dataset_of(batches)
    path = str(dataset.path)
    disk_rate = None if is_url(path) else measure_disk(dataset, max(1, num_workers(batches)), budget.share(_DISK))
    costs = measure_stages(batches, cursor, budget.share(_STAGES))
    with _paced(batches, costs) as paced:
        stepping = None
        if step is not None:
            stepping = measure_stepping(batches, paced, step, cursor, budget.share(_STEPS), budget)
        before = paced.stats
        rate = measure_rate(paced, cursor, budget.share(_LOADING))
        cpu = (paced.stats - before).per_thousand()["cpu"]
        in_processes = bool(arguments_of(batches)["use_multiprocessing"])
        examined = Examination(
            path, describe(batches), batches.batch_size, num_workers(batches), in_processes, costs,
            rate, cpu, disk_rate, dataset.num_bytes, memory_bytes(), stepping, [], "", None,
        )  # fmt: skip
        culprit = find_culprit(examined)
        outcomes = []
        if culprit != "step":
            trials = list_trials(paced, culprit)
            # Each look takes longer by its start, which nobody knows beforehand.
            looking = min(_TRIALS * seconds, _MOST_OF_THE_REST * budget.left)
            outcomes = measure_trials(paced, trials, cursor, looking / (2 * len(trials) + 1), budget)
    best, cuts = best_outcome(outcomes, stepping), tuple(budget.cuts)
    return dataclasses.replace(
        examined, outcomes=outcomes, culprit=culprit, best=best, seconds=budget.passed, cuts=cuts,
        seconds_for_all=budget.seconds_for_all,
    )  # fmt: skip


def _paced(batches: kseq.Batches, costs: kseq.InputStats) -> kseq.Batches:
    """The same in smaller batches where one takes long, so that some of them fit into the time."""
    seconds_each = max(costs.waiting, costs.cpu) / max(costs.num_samples, 1)
    size = int(min(batches.batch_size, max(1, num_workers(batches), _BATCH_SECONDS / max(seconds_each, 1e-9))))
    changed: dict[str, Any] = {} if size == batches.batch_size else {"batch_size": size, "global_batch_size": None}
    return open_again(batches, **changed, **without_checksums(batches))


def find_culprit(examined: Examination) -> str:
    """Who is waited for."""
    stepping = examined.stepping
    if stepping is not None and stepping.waiting_share < _LITTLE_WAITING:
        return "step"
    if not examined.fits_in_memory and examined.disk_rate is not None and examined.disk_rate < examined.rate:
        return "reading"
    return max(STAGES, key=lambda stage: getattr(examined.costs, stage))


def best_outcome(outcomes: list[Outcome], stepping: Stepping | None) -> Outcome | None:
    """The easiest to change of those that gain about as much as any; more than the training can take is no gain."""
    wanted = math.inf if stepping is None else _ENOUGH * stepping.fed / stepping.free
    gains = [min(outcome.gain or 0.0, wanted) for outcome in outcomes]
    most = max(gains, default=0.0)
    if most < _LEAST_GAIN:
        return None
    least = max(_LEAST_GAIN, _NEARLY * most)
    return next(outcome for outcome, gain in zip(outcomes, gains, strict=True) if gain >= least)
