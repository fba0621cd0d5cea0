"""Errors in reading, and those of a user's functions: their class stays, their text says where."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from kseq.errors import DamagedError, DatasetNotFoundError
from kseq.storage.index import Index
from kseq.training.error_places import add_place, list_samples
from tests.helpers.messages import assert_says, raises
from tests.helpers.trouble import OwnError, Trouble

THREADS_OR_PROCESSES = [False, pytest.param(True, marks=pytest.mark.slow)]


class SlottedError(Exception):
    """An error without room for attributes, and with a text of its own."""

    __slots__ = ()

    def __str__(self) -> str:
        return "as ever"


class SilentError(Exception):
    """An error without a text."""


@pytest.mark.parametrize(
    "error",
    [
        ValueError("my augment failed"),
        ZeroDivisionError(),
        SilentError(),
        KeyError("label"),
        KeyError(7),
        OSError(2, "No such file or directory", "photo.jpg"),
        FileNotFoundError("photo.jpg"),
        OwnError("function", 3),
        StopAsyncIteration("odd"),
    ],
    ids=repr,
)
def test_a_place_comes_after_the_text_of_any_error(error: Exception) -> None:
    kind, before = type(error), str(error)
    add_place(error, "in batch 3 of epoch 0")
    assert type(error) is kind
    add_place(error, "of flowers")
    assert type(error) is kind
    words = re.findall(r"\w+", before)
    assert re.search(".*".join([*words[:7], "in batch 3 of epoch 0; of flowers", *words[7:]]), str(error))


@pytest.mark.parametrize(
    "error", [SlottedError(), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), ValueError(1, "a\"'")], ids=repr
)
def test_where_a_text_cannot_be_changed_the_place_is_a_note(error: Exception) -> None:
    args, before = error.args, str(error)
    add_place(error, "of 'a.jpg'")
    assert (error.args, str(error)) == (args, before) or "of 'a.jpg'" in str(error)
    if hasattr(error, "add_note") and "of 'a.jpg'" not in str(error):
        assert error.__notes__ == ["of 'a.jpg'"]  # type: ignore[attr-defined]  # from Python 3.11 on


def test_many_samples_are_named_by_the_first() -> None:
    assert list_samples(np.array([7])) == "sample 7"
    assert list_samples(np.arange(40)) == "samples 0, 1, 2, 3, 4, 5, 6, 7 and 32 others"


def read_all(batches: kseq.Batches, epoch: int = 2) -> int:
    return sum(len(batch[1]) for batch in batches.epoch(epoch))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("processes", THREADS_OR_PROCESSES)
def test_an_error_of_an_augmentation_keeps_its_class_and_names_all_places(
    numbered: Path, processes: bool, workers: int
) -> None:
    options: dict[str, Any] = {"batch_size": 16, "shuffle": False, "workers": workers, "use_multiprocessing": processes}
    with kseq.Batches(numbered, "all", augment=Trouble(18, "raise"), **options) as batches:
        with raises(
            OwnError,
            "my augmentation failed",
            "Trouble.apply_to_image",
            numbered / "shard-00001.h5",
            "row 2",
            "sample 18",
            "a/00018.png",
            "batch 1",
            "epoch 2",
            re.compile(f"{re.escape(str(numbered))}, all$"),
        ) as caught:
            read_all(batches)
        assert caught.value.number == 18  # type: ignore[attr-defined]  # an attribute of that error
        assert len(batches.batch(2, 0)[1]) == 16


def fails(_: Any) -> Any:
    raise OwnError("function", 0)


@pytest.mark.parametrize("augment", [fails, kseq.BatchFunction(fails)])
def test_an_error_of_a_function_over_a_batch_names_the_batch_and_its_samples(
    numbered: Path, augment: Callable[..., Any]
) -> None:
    with (
        kseq.Batches(numbered, "all", augment=augment, batch_size=3, shuffle=False) as batches,
        raises(OwnError, "my function failed", "augment function fails", "samples 3, 4, 5", "batch 1", "epoch 7", numbered),
    ):
        batches.batch(7, 1)


class FailsAtDrawing(kseq.Augmentation):
    """Raises before it knows any sample."""

    def parameters(self, draws: np.ndarray) -> Any:
        return draws[5]

    def apply_to_image(self, pixels: np.ndarray, parameters: Any) -> np.ndarray:
        return pixels * parameters


def test_an_error_before_a_sample_is_known_names_those_among_which_it_is(numbered: Path) -> None:
    batches = kseq.Batches(numbered, "all", augment=FailsAtDrawing(), batch_size=3, shuffle=False)
    with batches, raises(IndexError, "FailsAtDrawing.parameters", "samples 0, 1, 2", "batch 0", "epoch 0", numbered):
        batches.batch(0, 0)


@pytest.mark.parametrize("read", ["map", "pread"])
@pytest.mark.parametrize("processes", THREADS_OR_PROCESSES)
def test_a_damaged_sample_is_named_by_dataset_shard_sample_id_and_source(packed: Path, processes: bool, read: str) -> None:
    location = Index.open(str(packed)).entry(1).arrays["image"]
    with open(packed / "shard-00001.h5", "r+b") as file:
        file.seek(location.offset + 2 * 48)
        file.write(b"\xff")
    batches = kseq.Batches(packed, "all", batch_size=16, shuffle=False, use_multiprocessing=processes, read=read)
    shard = packed / "shard-00001.h5"
    with batches, raises(DamagedError, shard, "row 2", "sample 18", "a/00018.png", "checksum", "batch 1", "epoch 2"):
        read_all(batches)


def test_a_missing_shard_is_named_with_the_samples_that_want_it(packed: Path) -> None:
    (packed / "shard-00001.h5").unlink()
    batches = kseq.Batches(packed, "all", batch_size=2, shuffle=False)
    with batches, raises(DatasetNotFoundError, packed / "shard-00001.h5", "samples 16, 17", "batch 8", "epoch 0"):
        batches.batch(0, 8)


def test_the_sample_ids_in_messages_are_those_of_the_mix(numbered: Path, second: Path) -> None:
    mix = {kseq.ShardDataset(numbered, "train"): 0.5, kseq.ShardDataset(second, "train"): 0.5}
    with kseq.Batches(mix, batch_size=4, augment=Trouble(3, "raise"), seed=1) as batches:
        with pytest.raises(OwnError) as caught:
            for number in range(len(batches)):
                batches.batch(0, number)
        found = re.search(r"(\S+): row \d+, sample (\d+) .*in batch (\d+) of", str(caught.value))
        assert found is not None
        assert int(found[2]) in batches.sample_ids(0, int(found[3])).tolist()
        assert int(found[2]) in (3, 103)
        assert_says(str(caught.value), (numbered if int(found[2]) == 3 else second) / Path(found[1]).name)
