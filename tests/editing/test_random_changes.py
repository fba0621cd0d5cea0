"""Any changes of a dataset, one after the other: it holds what a plain list would, whole at every moment."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kseq
from kseq.editing.transaction import begin_transaction
from kseq.errors import DamagedError
from kseq.storage.index import Index
from tests.helpers.datasets import files
from tests.helpers.messages import raises
from tests.helpers.photos import numbered_pixels, numbers_of, write_numbered

CLASSES = ("a", "b", "c", "d")
OPERATIONS = ("append", "drop", "relabel", "merge", "compact", "compact for good")


@dataclass
class Model:
    """What a dataset holds, in plain Python: number and class of every sample, and the places of those in each split."""

    samples: list[tuple[int, str]] = field(default_factory=list)
    splits: dict[str, list[int]] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)

    def remaining(self) -> list[int]:
        return [place for place in range(len(self.samples)) if place not in self.dropped]

    def append(self, samples: list[tuple[int, str]]) -> None:
        self.splits["train"] = self.splits["train"] + list(range(len(self.samples), len(self.samples) + len(samples)))
        self.samples = self.samples + samples

    def drop(self, places: set[int]) -> None:
        self.dropped = self.dropped | places
        self.splits = {name: [number for number in split if number not in places] for name, split in self.splits.items()}

    def compact(self) -> None:
        new = {place: number for number, place in enumerate(self.remaining())}
        self.samples = [self.samples[place] for place in new]
        self.splits = {name: [new[number] for number in split] for name, split in self.splits.items()}
        self.dropped = set()

    def merge(self, other: Model) -> None:
        start = len(self.samples)
        self.samples = self.samples + other.samples
        self.dropped = self.dropped | {start + place for place in other.dropped}
        names = sorted({*self.splits, *other.splits})
        moved = {name: [start + place for place in split] for name, split in other.splits.items()}
        self.splits = {name: self.splits.get(name, []) + moved.get(name, []) for name in names}


def model_of(path: Path) -> Model:
    dataset = kseq.ShardDataset(path)
    splits = {name: dataset.split_ids(name).tolist() for name in dataset.splits}
    return Model(read(dataset), splits, set())


def read(dataset: kseq.ShardDataset) -> list[tuple[int, str]]:
    values = dataset.read(range(len(dataset)))
    classes = [dataset.class_names[label] for label in values["label"]]
    return list(zip(numbers_of(values["image"]).tolist(), classes, strict=True))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small datasets of several shards: `one` of classes a, b, `two` of c, a, with a column."""
    root = tmp_path_factory.mktemp("parts")
    for name, counts in (("one", {"a": 9, "b": 5}), ("two", {"a": 4, "c": 4})):
        write_numbered(root / f"{name}-photos", counts)
        options = {"images": kseq.ImageSettings("raw", (4, 4)), "shard_bytes": 200, "workers": 0}
        kseq.pack(root / f"{name}-photos", root / name, val=0.25, **options)
    with begin_transaction(root / "two") as change:
        change.publish("relabel", columns={"label": np.arange(8).astype("<i4") % 2})
    return root


def change(operation: str, path: Path, model: Model, other: Path, data: st.DataObject) -> None:
    """Do the same to a dataset and to its model."""
    chance = random.Random(data.draw(st.integers(0, 10**6), "seed"))
    if operation == "append":
        samples = [(chance.randrange(2000), chance.choice(CLASSES)) for _ in range(chance.randint(1, 6))]
        source = ({"image": numbered_pixels(number), "label": name} for number, name in samples)
        kseq.append(path, source, workers=0, shard_bytes=200, again=True)
        model.append(samples)
    elif operation == "drop":
        places = {place for place in model.remaining() if chance.random() < chance.choice((0.1, 0.5, 1))}
        model.drop(places)
        with begin_transaction(path) as under_way:
            splits = {name: np.array(split, "<u8") for name, split in model.splits.items()}
            under_way.publish("drop", dropped=np.array(sorted(model.dropped), "<u8"), splits=splits)
    elif operation == "relabel":
        classes = Index.open(str(path)).class_names
        labels = [chance.randrange(len(classes)) for _ in model.samples]
        model.samples = [(number, classes[label]) for (number, _), label in zip(model.samples, labels, strict=True)]
        with begin_transaction(path) as under_way:
            under_way.publish("relabel", columns={"label": np.array(labels, "<i4")})
    elif operation == "merge":
        out = path.parent / "merged"
        kseq.merge([path, other], out)
        shutil.rmtree(path)
        out.rename(path)
        model.merge(model_of(other))
    else:
        kseq.compact(path, undo=operation == "compact")
        model.compact()


def check(path: Path, model: Model) -> None:
    dataset = kseq.ShardDataset(path)
    assert read(dataset) == [model.samples[place] for place in model.remaining()]
    assert {name: dataset.split_ids(name).tolist() for name in dataset.splits} == model.splits
    assert kseq.verify(path).damaged == []


def check_undo(path: Path, before: dict[str, bytes]) -> None:
    """The bytes before come back, and the change again."""
    after = files(path)
    kseq.undo(path)
    assert {name: data for name, data in files(path).items() if name in before and name != "index.h5.1"} == {
        name: data for name, data in before.items() if name != "index.h5.1" and name in files(path)
    }
    named = Index.open(str(path))
    assert all(os.path.basename(named.shard_path(place)) in before for place in range(named.num_shards))
    kseq.undo(path)
    assert files(path) == after


@pytest.mark.slow
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_dataset_holds_after_any_changes_what_a_list_would(
    parts: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("any")
    path = Path(shutil.copytree(parts / "one", root / "dataset"))
    model = model_of(path)
    for operation in data.draw(st.lists(st.sampled_from(OPERATIONS), min_size=2, max_size=5)):
        before = files(path)
        change(operation, path, model, parts / "two", data)
        check(path, model)
        if (path / "index.h5.1").exists() and (path / "index.h5.1").read_bytes() == before["index.h5"]:
            check_undo(path, before)
    shutil.rmtree(root)


@pytest.mark.parametrize("operation", ["append", "compact", "merge"])
def test_an_index_whose_bytes_have_changed_is_not_carried_on(parts: Path, tmp_path: Path, operation: str) -> None:
    path = Path(shutil.copytree(parts / "one", tmp_path / "dataset"))
    with h5py.File(path / "index.h5", "r+") as file:
        # Of no sample there is, but of one there would be.
        file["splits/val"][0] = 15
    before = files(path)
    with raises(DamagedError, "index.h5"):
        if operation == "append":
            kseq.append(path, [(numbered_pixels(0), "c")], workers=0)
        elif operation == "compact":
            kseq.compact(path)
        else:
            kseq.merge([path, parts / "two"], tmp_path / "both")
    assert files(path) == before
    assert os.listdir(tmp_path) == ["dataset"]


def killed_at(seconds: float, work: Callable[[], object]) -> None:
    """Work in a process of its own, killed after some seconds."""
    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.slow
def test_a_compact_that_is_killed_at_any_time_leaves_the_dataset_as_before_or_after(numbered: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(numbered, tmp_path / "packed"))
    dropped = np.arange(0, 100, 9)
    with begin_transaction(path) as under_way:
        splits = {name: np.setdiff1d(ids, dropped) for name, ids in under_way.index.splits.items()}
        under_way.publish("drop", dropped=dropped, splits=splits, columns={"label": np.full(100, 1, "<i4")})
    whole = Path(shutil.copytree(path, tmp_path / "whole"))
    started = time.monotonic()
    kseq.compact(whole)
    seconds = time.monotonic() - started
    before, after = (Index.open(str(dataset)).digest for dataset in (path, whole))
    samples = read(kseq.ShardDataset(path))
    chance, found = random.Random(1), []
    # How long it takes is another matter each time: as often as it takes to kill one that is not done.
    while len(found) < 5 or (before not in found and len(found) < 50):
        copy = Path(shutil.copytree(path, tmp_path / f"copy{len(found)}"))
        killed_at(chance.uniform(0, 1.3) * seconds, lambda copy=copy: kseq.compact(copy))
        found.append(Index.open(str(copy)).digest)
        assert found[-1] in (before, after)
        assert kseq.verify(copy).damaged == []
        assert read(kseq.ShardDataset(copy)) == samples
        kseq.compact(copy)
        assert Index.open(str(copy)).digest == after
        assert set(os.listdir(copy)) == set(os.listdir(whole))
    assert before in found
