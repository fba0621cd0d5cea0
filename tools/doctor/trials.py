"""Other settings than the present one, each measured between two looks at that."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import kseq
from kseq.arguments import is_url
from kseq.platforms.processes import usable_cores
from kseq.reading.dataset import sample_reader
from kseq.training.batches_inside import arguments_of, dataset_of, num_workers, open_again

from .budget import Budget
from .disk import num_stored
from .loading import Cursor, measure_rate
from .packed_sample import open_packed_sample

__all__ = ["Outcome", "Trial", "list_trials", "measure_trials"]

# Waiting for a disk takes no core: so many threads for each of them are tried.
_READERS_PER_CORE = 8
_MOST_READERS = 64
# Images that are stored with so many times the pixels that a batch has are worth packing smaller.
_LARGER = 1.5
# What is cropped at random is packed larger than the crop, as 256 is to 224.
_CROP_MARGIN = 8 / 7
# So many samples tell how large stored images are.
_SAMPLES_LOOKED_AT = 64


@dataclass(frozen=True)
class Trial:
    """A setting to try.

    Attributes:
        name: As the user writes it.
        open: Opens batches with it, and closes them; gets how many seconds it may take to prepare something.
    """

    name: str
    open: Callable[[float], AbstractContextManager[kseq.Batches]]


@dataclass(frozen=True)
class Outcome:
    """What a trial came to.

    Attributes:
        name: As the user writes the setting.
        rate: Samples per second; None if it cannot be used.
        gain: How many times those of the present setting; None likewise.
        error: Why it cannot be used.
        num_bytes: About how large the dataset would be, if it has to be packed again.
    """

    name: str
    rate: float | None
    gain: float | None
    error: str | None = None
    num_bytes: int | None = None


def list_trials(batches: kseq.Batches, stage: str) -> list[Trial]:
    """What is worth trying, those that are easier to change first.

    Args:
        batches: Of the present setting.
        stage: That in which loading spends most.
    """
    changes = _changed_arguments(batches, stage)
    trials = [Trial(name, partial(_open_changed, batches, changed)) for name, changed in changes.items()]
    return [*trials, *_packings(batches, stage)]


def _open_changed(batches: kseq.Batches, changed: dict[str, Any], _: float) -> kseq.Batches:
    return open_again(batches, **changed)


def _changed_arguments(batches: kseq.Batches, stage: str) -> dict[str, dict[str, Any]]:
    arguments, present, cores = arguments_of(batches), num_workers(batches), usable_cores()
    changes: dict[str, dict[str, Any]] = {}
    for workers in (cores, min(_READERS_PER_CORE * cores, _MOST_READERS) if stage == "reading" else 2 * cores):
        if workers > present:
            changes[f"workers={workers}"] = {"workers": workers}
    if arguments["use_multiprocessing"]:
        changes["use_multiprocessing=False"] = {"use_multiprocessing": False}
    elif present:
        changes["use_multiprocessing=True"] = {"use_multiprocessing": True, "workers": present}
    else:
        changes[f"use_multiprocessing=True, workers={cores}"] = {"use_multiprocessing": True, "workers": cores}
    if arguments["decode"] == "exact" and any(field.encoded for field in _images(batches)):
        changes["decode='fast'"] = {"decode": "fast"}
    if stage == "reading":
        if batches.shuffle is True and not _draws(arguments):
            changes["shuffle='block'"] = {"shuffle": "block"}
        if not is_url(str(dataset_of(batches).path)):
            other = "map" if "pread" in repr(dataset_of(batches)) else "pread"
            changes[f"read={other!r}"] = {"read": other}
    return changes


def _draws(arguments: Any) -> bool:
    return arguments["balance"] is not None or arguments["sampling_weights"] is not None


def _images(batches: kseq.Batches) -> list[kseq.Field]:
    return [field for field in dataset_of(batches).fields.values() if field.is_image]


def _packings(batches: kseq.Batches, stage: str) -> Iterator[Trial]:
    """Encodings and sizes, where they can help: of datasets with one image, which is uint8."""
    images = _images(batches)
    if len(images) != 1 or images[0].name != "image" or images[0].color_mode is None or np.dtype(images[0].dtype) != np.uint8:
        return
    (image,), size = images, _packed_size(batches)
    dataset = dataset_of(batches)
    sizes = sample_reader(dataset).locate(dataset.sample_ids(_some(len(dataset)))).sizes(image.name)
    is_larger = float(sizes.prod(axis=1, dtype=np.int64).mean()) > _LARGER * size[0] * size[1]
    wanted = {
        "jpeg": is_larger if image.encoded else stage == "reading",
        "raw": image.encoded and stage in ("decoding", "assembling"),
    }
    for encoding in (encoding for encoding, is_wanted in wanted.items() if is_wanted):
        settings = kseq.ImageSettings(encoding, size, color_mode=image.color_mode or "rgb")
        name = f"kseq pack --encoding {encoding} --image-size {size[0]} {size[1]}"
        yield Trial(name, partial(open_packed_sample, batches, settings))


def _some(count: int) -> list[int]:
    return sorted({number * count // _SAMPLES_LOOKED_AT for number in range(_SAMPLES_LOOKED_AT)})


def _packed_size(batches: kseq.Batches) -> tuple[int, int]:
    """Height and width that images are to be packed with."""
    arguments = arguments_of(batches)
    height, width = batches.input_shape[1:] if arguments["data_format"] == "channels_first" else batches.input_shape[:2]
    augment = arguments["augment"]
    listed = augment if isinstance(augment, (list, tuple)) else [augment]
    if any(isinstance(step, kseq.Augmentation) and step.size is not None for step in listed):
        return round(height * _CROP_MARGIN), round(width * _CROP_MARGIN)
    return height, width


def measure_trials(batches: kseq.Batches, trials: list[Trial], cursor: Cursor, seconds: float, budget: Budget) -> list[Outcome]:
    """What each trial came to, beside the present setting before and after it: other jobs of the machine come and go.

    The last and the first come first, since what changes most and what is easiest to change are at the two ends.

    Args:
        batches: Of the present setting.
        trials: What to try.
        cursor: Where to read on.
        seconds: How long each measurement takes, if not longer; there are two for each trial, and one.
        budget: Trials for which it leaves no time are not begun, and noted there.
    """
    outcomes: dict[str, Outcome] = {}
    started = time.perf_counter()
    before = _measure_again(batches, cursor, seconds)
    # A trial takes about as long as the slowest so far; what comes first, twice as long as a look at the present setting.
    longest = 2 * (time.perf_counter() - started)
    for trial in _from_both_ends(trials):
        if budget.left < longest:
            break
        started = time.perf_counter()
        rate = error = num_bytes = None
        try:
            with trial.open(seconds) as changed:
                sample, whole = dataset_of(changed), dataset_of(batches)
                is_packed = sample.path != whole.path
                rate = measure_rate(changed, Cursor() if is_packed else cursor, seconds)
                num_bytes = sample.num_bytes * num_stored(whole) // num_stored(sample) if is_packed else None
        except Exception as failure:
            # Also of functions of the user, which may not bear another process, say.
            error = f"{type(failure).__name__}: {next(iter(str(failure).splitlines()), '')}"
        after = _measure_again(batches, cursor, seconds)
        gain = None if rate is None else rate / statistics.mean([before, after])
        outcomes[trial.name] = Outcome(trial.name, rate, gain, error, num_bytes)
        before = after
        longest = max(longest, time.perf_counter() - started)
    untried = [trial.name for trial in trials if trial.name not in outcomes]
    if untried:
        budget.cut(f"not tried: {', '.join(untried)}", len(untried) * longest)
    return [outcomes[trial.name] for trial in trials if trial.name in outcomes]


def _from_both_ends(trials: list[Trial]) -> list[Trial]:
    return [trials[number // 2 if number % 2 else -1 - number // 2] for number in range(len(trials))]


def _measure_again(batches: kseq.Batches, cursor: Cursor, seconds: float) -> float:
    """The rate of batches that are opened anew, as those of trials are."""
    with open_again(batches) as opened:
        return measure_rate(opened, cursor, seconds)
