"""`on_error`: what becomes of damaged samples that are met in training, and who is told."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from kseq.errors import ArgumentError, DamagedError, DatasetNotFoundError, ReadError, WorkerDiedError
from kseq.platforms.files import read_into
from kseq.storage.index import Index
from tests.helpers.messages import assert_says, raises
from tests.helpers.photos import numbers_of
from tests.helpers.processes import RunPython
from tests.helpers.trouble import OwnError, Trouble

pytestmark = pytest.mark.usefixtures("told_late")

WAYS = [
    {"workers": 0},
    {"workers": 2},
    pytest.param({"workers": 2, "use_multiprocessing": True}, marks=pytest.mark.slow),
]
OPTIONS: dict[str, Any] = {"batch_size": 16, "shuffle": False}


def damage(packed: Path, *samples: int) -> None:
    """Change a byte of some samples, 16 of which are in each shard."""
    for sample in samples:
        shard, row = divmod(sample, 16)
        location = Index.open(str(packed)).entry(shard).arrays["image"]
        with open(packed / f"shard-{shard:05d}.h5", "r+b") as file:
            file.seek(location.offset + row * 48)
            file.write(b"\xff")


def read(batches: kseq.Batches, epoch: int = 0) -> tuple[list[Any], list[str]]:
    """All batches of an epoch, and what was told."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = list(batches.epoch(epoch))
    return found, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("ways", WAYS)
def test_a_substitute_is_the_next_whole_row_with_weight_0_and_told_once_an_epoch(packed: Path, ways: dict[str, Any]) -> None:
    damage(packed, 18, 19, 47)
    with kseq.Batches(packed, "all", on_error="substitute", **OPTIONS, **ways) as batches:
        for epoch in (0, 1):
            found, (line,) = read(batches, epoch)
            assert [len(images) for images, _, _ in found] == [16] * 6 + [4]
            numbers = np.concatenate([numbers_of(images) for images, _, _ in found])
            weights = np.concatenate([weights for _, _, weights in found])
            labels = np.concatenate([labels for _, labels, _ in found])
            expected = np.arange(100)
            # The next whole row of the batch; the first one after the last.
            expected[[18, 19, 47]] = 20, 20, 32
            assert numbers.tolist() == expected.tolist()
            assert labels.tolist() == np.searchsorted([50, 80], expected, side="right").tolist()
            assert np.flatnonzero(weights == 0).tolist() == [18, 19, 47]
            assert set(weights.tolist()) == {0, 1}
            assert_says(line, f"{packed}, all", f"epoch {epoch}", 3, "18", "19", "47", "checksum", "a/00018.png")
        assert [(one.sample_id, one.epoch, one.batch) for one in batches.damaged_samples] == [
            (18, 1, 1),
            (19, 1, 1),
            (47, 1, 2),
        ]
        assert_says(batches.damaged_samples[0].reason, packed / "shard-00001.h5", "row 2", "sample 18", "a/00018.png")


@pytest.mark.parametrize("ways", WAYS)
def test_skipped_samples_make_their_batch_smaller(packed: Path, ways: dict[str, Any]) -> None:
    damage(packed, 18, 47)
    with kseq.Batches(packed, "all", on_error="skip", **OPTIONS, **ways) as batches:
        found, (line,) = read(batches)
    assert [len(labels) for _, labels in found] == [16, 15, 15, 16, 16, 16, 4]
    assert np.concatenate([numbers_of(images) for images, _ in found]).tolist() == [n for n in range(100) if n not in (18, 47)]
    assert_says(line, "2", "18", "47")


def test_without_damage_nothing_is_told_and_batches_look_the_same(packed: Path) -> None:
    with kseq.Batches(packed, "all", on_error="substitute", **OPTIONS) as batches:
        found, told = read(batches)
    assert not told
    assert batches.damaged_samples == ()
    assert {tuple(weights.tolist()) for _, _, weights in found} == {(1.0,) * 16, (1.0,) * 4}


def test_damage_of_an_epoch_that_breaks_off_is_told_with_the_next_one_or_in_the_end(packed: Path) -> None:
    damage(packed, 18, 47)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with kseq.Batches(packed, "all", on_error="skip", **OPTIONS) as batches:
            batches.batch(0, 1)
            assert not caught
            batches.batch(1, 6)
            batches.batch(2, 2)
            assert len(caught) == 1
    first, second = [str(warning.message) for warning in caught]
    assert_says(first, "epoch 0", "1 damaged", "sample 18")
    assert_says(second, "epoch 2", "1 damaged", "sample 47")


def test_damage_is_told_where_batches_are_let_go_of_and_where_the_program_ends(packed: Path, run_python: RunPython) -> None:
    damage(packed, 18, 47)
    code = """
import gc, sys, threading, kseq
options = {"on_error": "skip", "batch_size": 16, "shuffle": False}
first, second = (kseq.Batches(sys.argv[1], "all", **options) for _ in range(2))
first.batch(0, 1)
second.batch(0, 2)
del first
gc.collect()
for thread in threading.enumerate():
    if thread.name == "kseq-close":
        thread.join(100)
print("not yet", file=sys.stderr)
"""
    dropped, told, ended = run_python(code, packed).stderr.partition("not yet")
    assert_says(dropped, "epoch 0", "sample 18")
    assert_says(ended, "epoch 0", "sample 47")
    assert told


@pytest.mark.parametrize("on_error", ["skip", "substitute"])
def test_a_batch_without_a_whole_sample_and_a_missing_shard_are_errors_still(packed: Path, on_error: str) -> None:
    damage(packed, *range(16, 32))
    (packed / "shard-00003.h5").unlink()
    with kseq.Batches(packed, "all", on_error=on_error, **OPTIONS) as batches:
        with raises(DamagedError, packed / "shard-00001.h5", "sample 16", 15, "batch 1", "epoch 0"):
            batches.batch(0, 1)
        assert len(batches.batch(0, 2)[1]) == 16
        with raises(DatasetNotFoundError, packed / "shard-00003.h5"):
            batches.batch(0, 3)
        assert [sample.sample_id for sample in batches.damaged_samples] == list(range(16, 32))


@pytest.mark.parametrize("ways", WAYS)
def test_a_system_that_refuses_to_read_is_an_error_and_no_damage(packed: Path, ways: dict[str, Any]) -> None:
    shard = packed / "shard-00001.h5"
    shard.unlink()
    # Too many levels of symbolic links: as for a permission that is missing, or too many open files.
    shard.symlink_to(shard)
    with kseq.Batches(packed, "all", on_error="substitute", **OPTIONS | {"batch_size": 20}, **ways) as batches:
        with raises(ReadError, shard, "batch 0", "epoch 0"):
            batches.batch(0, 0)
        assert batches.damaged_samples == ()


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc which file a descriptor is of")
@pytest.mark.filterwarnings("ignore:.*1 damaged sample:UserWarning")
@pytest.mark.parametrize(("number", "is_damage"), [(errno.EIO, True), (errno.ESTALE, False)], ids=["EIO", "ESTALE"])
def test_bytes_that_a_disk_cannot_read_are_damage_and_a_server_that_is_gone_is_none(
    packed: Path, number: int, is_damage: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Index.open(str(packed)).entry(1).arrays["image"].offset + 2 * 48

    def fail(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if name.endswith("shard-00001.h5") and offset <= bad < offset + sum(map(len, buffers)):
            raise OSError(number, os.strerror(number))
        return read_into(descriptor, buffers, offset)

    monkeypatch.setattr("kseq.storage.pread_array.read_into", fail)
    with kseq.Batches(packed, "all", on_error="skip", read="pread", workers=2, **OPTIONS) as batches:
        if is_damage:
            assert numbers_of(batches.batch(0, 1)[0]).tolist() == [n for n in range(16, 32) if n != 18]
            assert_says(batches.damaged_samples[0].reason, packed / "shard-00001.h5", "row 2", os.strerror(number))
        else:
            with raises(ReadError, packed / "shard-00001.h5", os.strerror(number), "batch 1"):
                batches.batch(0, 1)


@pytest.mark.parametrize("on_error", ["skip", "substitute"])
def test_errors_of_the_users_functions_are_never_passed_over(numbered: Path, on_error: str) -> None:
    batches = kseq.Batches(numbered, "all", on_error=on_error, augment=Trouble(18, "raise"), **OPTIONS)
    with batches, raises(OwnError, "sample 18"):
        batches.batch(0, 1)


@pytest.mark.slow
def test_a_sample_that_crashes_every_worker_process_is_damaged_too(numbered: Path, tmp_path: Path) -> None:
    augment = Trouble(18, "segfault", tmp_path)
    ways: dict[str, Any] = {"workers": 2, "use_multiprocessing": True}
    with kseq.Batches(numbered, "all", augment=augment, on_error="substitute", **OPTIONS, **ways) as batches:
        found, told = read(batches)
        assert numbers_of(found[1][0]).tolist() == [16, 17, 19, *range(19, 32)]
        assert found[1][2].tolist() == [1, 1, 0, *[1] * 13]
    assert_says(told[-1], "epoch 0", "18", "SIGSEGV")
    strict = kseq.Batches(numbered, "all", augment=augment, **OPTIONS, **ways)
    with strict, pytest.warns(UserWarning), pytest.raises(WorkerDiedError):
        strict.batch(0, 1)


def test_on_several_ranks_steps_and_sizes_stay_equal(packed: Path) -> None:
    damage(packed, 18, 47)
    sizes, weights = [], 0.0
    for rank in range(3):
        with kseq.Batches(
            packed, "all", batch_size=8, shuffle=True, rank=rank, world_size=3, remainder="pad", on_error="substitute"
        ) as batches:
            found, _ = read(batches)
        sizes.append([len(labels) for _, labels, _ in found])
        weights += float(sum(weights.sum() for _, _, weights in found))
    assert sizes == [[8] * 5] * 3
    # Padded, weights have the mean 1 over 120 rows of 100 samples; two of these do not count.
    assert weights == pytest.approx(98 * 1.2, rel=1e-5)
    with raises(ArgumentError, "on_error='skip'", "3 ranks", "on_error='substitute'"):
        kseq.Batches(packed, "all", batch_size=8, rank=0, world_size=3, remainder="pad", on_error="skip")


@pytest.mark.parametrize("on_error", ["ignore", None, True])
def test_on_error_is_one_of_three_words(numbered: Path, on_error: Any) -> None:
    with raises(ArgumentError, f"on_error={on_error!r}", "raise", "skip", "substitute"):
        kseq.Batches(numbered, on_error=on_error)


def test_a_whole_array_has_no_damaged_sample_or_is_refused(packed: Path) -> None:
    damage(packed, 18, 99)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with kseq.Batches(packed, "all", on_error="skip", workers=0, **OPTIONS) as batches:
            images, labels = batches.arrays()
            assert numbers_of(images).tolist() == [number for number in range(100) if number not in (18, 99)]
            assert len(labels) == 98
        with (
            kseq.Batches(packed, "all", on_error="skip", remainder="pad", workers=0, **OPTIONS) as batches,
            raises(ArgumentError, "on_error='skip'", "on_error='substitute'"),
        ):
            batches.arrays()
