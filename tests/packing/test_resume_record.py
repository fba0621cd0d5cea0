"""What an unfinished packing was begun with: which changes since then are refused, and how they are named."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import DatasetExistsError
from kseq.packing.plan import Plan
from kseq.packing.resume_record import ResumeRecord
from kseq.packing.settings import ImageSettings
from kseq.sources.base import FileSource, ImageTable, SourceImage
from kseq.sources.image_table import Splits
from kseq.storage.layout import RESUME_RECORD_NAME
from tests.helpers.datasets import files
from tests.helpers.messages import Parts, raises
from tests.helpers.unfinished import SHARD_BYTES, begin, resume


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"val": 0.3}, ("val", 0.2, 0.3)),
        ({"seed": 1}, ("seed", 0, 1)),
        ({"stratify": False, "val": 0.25}, ("val", 0.2, 0.25, "stratify", True, False)),
        ({"images": kseq.ImageSettings("jpeg")}, ("encoding", "'keep'", "'jpeg'")),
        ({"shard_bytes": 9_000}, ("shard_bytes", 10000, 9000)),
        ({"class_names": ["dog", "cat"]}, ("class_names", "['cat', 'dog']", "['dog', 'cat']")),
    ],
    ids=str,
)
def test_other_settings_are_refused_by_their_names(source: Path, tmp_path: Path, options: dict[str, Any], words: Parts) -> None:
    before = begin(source, tmp_path / "packed", val=0.2)
    with raises(DatasetExistsError, tmp_path / "packed", *words, "overwrite=True"):
        resume(source, tmp_path / "packed", **{"val": 0.2, **options})
    assert files(tmp_path / "packed") == before


def rewrite(path: Path) -> None:
    """Write other bytes of the same number, some time later."""
    data = path.read_bytes()
    before = path.stat().st_mtime_ns
    # In the last image: what follows it in a tar is to be nothing.
    place = data.rindex(b"\xff\xd9") - 1
    path.write_bytes(data[:place] + b"x" + data[place + 1 :])
    os.utime(path, ns=(before + 1_000_000, before + 1_000_000))


CHANGES: dict[str, tuple[Callable[[Path], object], Parts]] = {
    "added": (
        lambda photos: shutil.copy(photos / "cat/00000.jpg", photos / "cat/new.jpg"),
        (30, 31, "cat/new.jpg"),
    ),
    "removed": (
        lambda photos: [(photos / f"dog/{number:05d}.jpg").unlink() for number in range(20, 25)],
        (30, 25, "dog/00020.jpg", "dog/00021.jpg", "dog/00022.jpg", 2),
    ),
    "longer": (
        lambda photos: (photos / "dog/00029.jpg").write_bytes((photos / "dog/00029.jpg").read_bytes() + b"x"),
        ("dog/00029.jpg",),
    ),
    "moved": (
        lambda photos: (photos / "cat/00003.jpg").rename(photos / "dog/00003.jpg"),
        ("dog/00003.jpg", "cat/00003.jpg"),
    ),
    "written again": (lambda photos: rewrite(photos / "cat/00001.jpg"), ("cat/00001.jpg",)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_source_that_changed_is_refused_naming_what_changed(source: Path, tmp_path: Path, change: str) -> None:
    before = begin(source, tmp_path / "packed")
    act, words = CHANGES[change]
    act(source)
    with raises(DatasetExistsError, *words, "overwrite=True"):
        resume(source, tmp_path / "packed")
    assert files(tmp_path / "packed") == before


def test_a_tar_that_was_written_again_is_named(source: Path, tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "photos-0.tar", "w") as tar:
        tar.add(source, ".")
    begin(tmp_path / "photos-0.tar", tmp_path / "packed")
    rewrite(tmp_path / "photos-0.tar")
    with raises(DatasetExistsError, "photos-0.tar", "overwrite=True"):
        resume(tmp_path / "photos-0.tar", tmp_path / "packed")


def test_a_number_in_the_middle_of_a_long_vector_that_changed_is_named(source: Path, tmp_path: Path) -> None:
    rows = [{"image": f"cat/{number:05d}.jpg", "vector": list(range(2000))} for number in range(20)]

    def write() -> Path:
        (tmp_path / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / "table.jsonl"

    options: dict[str, Any] = {"root": source, "columns": kseq.Columns(label="", targets={"vector": "vector"})}
    begin(write(), tmp_path / "packed", **options)
    rows[7]["vector"][1000] = -1
    with raises(DatasetExistsError, "settings", "cat/00007.jpg"):
        resume(write(), tmp_path / "packed", **options)


def test_what_a_million_samples_are_begun_with_takes_seconds() -> None:
    count = 20_000
    boxes, vector = np.zeros((3, 4), np.float32), np.zeros(16, np.float32)
    images = [SourceImage(b"%d" % number, 0, None, 1, values=(boxes, vector)) for number in range(count)]
    splits = Splits(np.zeros(count, np.int8), ("train",))
    plan = Plan(FileSource("photos", ("a",), ImageTable.of(images)), ImageSettings(), splits, [0, count], "0" * 32)
    started = time.process_time()
    ResumeRecord.of(plan, {})
    assert (time.process_time() - started) * 1_000_000 / count < 60


def test_what_cannot_matter_is_not_refused(source: Path, tmp_path: Path) -> None:
    kseq.pack(source, tmp_path / "fresh", workers=0, shard_bytes=SHARD_BYTES)
    begin(source, tmp_path / "packed")
    # Only shards that are still to be made have this one; and without val and test a seed draws nothing.
    os.utime(source / "dog/00029.jpg", (1, 1))
    assert resume(source, tmp_path / "packed", seed=7, stratify=False, on_error="fail").num_resumed == 2
    assert files(tmp_path / "packed") == files(tmp_path / "fresh")


def test_a_source_that_moved_is_not_refused(source: Path, tmp_path: Path) -> None:
    begin(source, tmp_path / "packed")
    source.rename(tmp_path / "elsewhere")
    assert resume(tmp_path / "elsewhere", tmp_path / "packed").num_resumed == 2


def test_an_iterable_can_be_gone_on_with_and_its_spool_is_gone(tmp_path: Path) -> None:
    def samples() -> Any:
        return ({"image": np.full((30, 30, 3), number, np.uint8), "label": number % 3} for number in range(20))

    kseq.pack(samples(), tmp_path / "fresh", workers=0, shard_bytes=SHARD_BYTES)
    begin(samples(), tmp_path / "packed")
    assert resume(samples(), tmp_path / "packed").num_resumed == 2
    assert files(tmp_path / "packed") == files(tmp_path / "fresh")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "packed"]


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive"])
def test_a_plan_that_cannot_be_read_is_done_without(source: Path, tmp_path: Path, content: bytes) -> None:
    begin(source, tmp_path / "packed")
    (tmp_path / "packed" / RESUME_RECORD_NAME).write_bytes(content)
    with raises(DatasetExistsError, tmp_path / "packed"):
        resume(source, tmp_path / "packed", images=kseq.ImageSettings("jpeg"))
    assert resume(source, tmp_path / "packed").num_resumed == 2
    assert RESUME_RECORD_NAME not in files(tmp_path / "packed")


def test_a_plan_with_changed_bytes_is_done_without(source: Path, tmp_path: Path) -> None:
    begin(source, tmp_path / "packed")
    plan = tmp_path / "packed" / RESUME_RECORD_NAME
    data = plan.read_bytes()
    for place in range(0, len(data), 5):
        plan.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        ResumeRecord.read(str(plan.parent))
    np.save(tmp_path / "array.npy", np.arange(3))
    plan.write_bytes((tmp_path / "array.npy").read_bytes())
    assert ResumeRecord.read(str(plan.parent)) is None
    assert resume(source, tmp_path / "packed").num_resumed


def test_a_wrong_source_does_not_cost_the_shards_of_an_unfinished_packing(source: Path, tmp_path: Path) -> None:
    before = begin(source, tmp_path / "packed")
    with raises(kseq.KseqError, "nowhere"):
        resume(tmp_path / "nowhere", tmp_path / "packed")
    assert files(tmp_path / "packed") == before


def test_names_of_any_bytes_are_kept_as_they_are(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "photos/a")
    os.makedirs(folder)
    for name in (b"\xff\xfe.png", b"two\nlines.png", b"x" * 251 + b".png"):
        with open(os.path.join(folder, name), "wb") as file:
            Image.new("RGB", (40, 40)).save(file, "PNG")
    kept = {}

    def keep(*_: int) -> None:
        kept[0] = ResumeRecord.read(str(tmp_path / "packed"))

    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0, progress=keep)
    assert sorted(kept[0].names) == sorted(b"a/" + name for name in os.listdir(folder))


def test_an_iterable_whose_pixels_have_changed_is_not_gone_on_with(tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done >= 6:
            raise StoppedError

    def samples(red: int) -> list[dict[str, Any]]:
        return [{"image": np.full((8, 8, 3), red, np.uint8), "label": "a"} for _ in range(10)]

    options: dict[str, Any] = {"images": kseq.ImageSettings("raw", (8, 8)), "shard_bytes": 800, "workers": 0}
    with pytest.raises(StoppedError):
        kseq.pack(samples(1), tmp_path / "packed", progress=stop, **options)
    with raises(DatasetExistsError, "packed", 0, 1, 2):
        resume(samples(2), tmp_path / "packed", **options)
    assert resume(samples(1), tmp_path / "packed", **options).num_resumed == 1
    with pytest.raises(StoppedError):
        kseq.append(tmp_path / "packed", samples(2), progress=stop, workers=0, shard_bytes=800)
    report = kseq.append(tmp_path / "packed", samples(3), resume=True, workers=0, shard_bytes=800)
    assert report.num_resumed == 0
    reds = [int(sample["image"][0, 0, 0]) for sample in kseq.ShardDataset(tmp_path / "packed")]
    assert reds == [1] * 10 + [3] * 10
