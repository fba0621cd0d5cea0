"""The folder to pack into: who may write there, what can be gone on with, whether the disk has room; and dry runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import ArgumentError, DatasetExistsError, LockedError, SourceError, WriteError
from kseq.packing.plan import Plan
from kseq.packing.resume_record import ResumeRecord
from kseq.packing.settings import ImageSettings
from kseq.sources.base import FileSource, SourceImage
from kseq.storage.layout import LOCK_NAME, RESUME_RECORD_NAME
from kseq.storage.lock import locked
from kseq_tools.main import main
from tests.helpers.datasets import files
from tests.helpers.messages import Parts, raises
from tests.helpers.photos import write_numbered, write_photos
from tests.helpers.processes import RunPython

SHARD_BYTES = 10_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_photos(tmp_path / "photos", {"cat": 20, "dog": 10})
    return tmp_path / "photos"


def stop_after(shards: int, target: Path) -> Callable[[int, int], None]:
    """A `progress` that ends a packing as Ctrl-C does, once there are some shards."""

    def stop(*_: int) -> None:
        if len(list(target.glob("shard-*.h5"))) >= shards:
            raise KeyboardInterrupt

    return stop


def begin(source: Any, target: Path, shards: int = 2, **options: Any) -> dict[str, bytes]:
    """An unfinished packing."""
    with pytest.raises(KeyboardInterrupt):
        kseq.pack(source, target, workers=0, shard_bytes=SHARD_BYTES, progress=stop_after(shards, target), **options)
    found = files(target)
    assert sorted(found) == [RESUME_RECORD_NAME, *(f"shard-{number:05d}.h5" for number in range(shards))]
    return found


def resume(source: Any, target: Path, **options: Any) -> kseq.PackReport:
    return kseq.pack(source, target, **{"workers": 0, "shard_bytes": SHARD_BYTES, "resume": True, **options})


# Two packers on one output.


def test_a_second_packer_is_refused_whatever_it_wants(source: Path, tmp_path: Path) -> None:
    kseq.pack(source, tmp_path / "packed", workers=0)
    before = files(tmp_path / "packed")
    with locked(str(tmp_path / "packed")):
        for options in ({"overwrite": True}, {"resume": True}):
            with raises(LockedError, "packed", os.getpid()):
                kseq.pack(source, tmp_path / "packed", workers=0, **options)
    assert files(tmp_path / "packed") == before


@pytest.mark.parametrize("options", [[], ["--resume"], ["--overwrite"]])
def test_a_second_command_stops_in_one_line_and_the_first_goes_on(
    source: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "packed"

    def second(*_: int) -> None:
        assert main(["pack", str(source), str(target), *options]) == 1
        found = capsys.readouterr().err
        assert re.fullmatch(
            rf"kseq: {target}: is being changed by process {os.getpid()} on \S+: wait until it is done\n", found
        )

    kseq.pack(source, target, workers=0, progress=second)
    assert sorted(files(target)) == ["index.h5", "shard-00000.h5"]


OVERWRITE = """
import sys, os, kseq
def die(done, total):
    if done == total:
        os.kill(os.getpid(), 9)
kseq.pack(sys.argv[1], sys.argv[2], workers=0, overwrite=True, progress=die)
"""


def test_a_killed_overwriting_leaves_the_old_dataset_and_the_next_takes_over(
    source: Path, tmp_path: Path, run_python: RunPython
) -> None:
    kseq.pack(source, tmp_path / "packed", workers=0)
    before = files(tmp_path / "packed")
    assert run_python(OVERWRITE, source, tmp_path / "packed", check=False).returncode == -signal.SIGKILL
    assert {name: data for name, data in files(tmp_path / "packed").items() if name != LOCK_NAME} == before
    kseq.pack(source, tmp_path / "packed", workers=0, images=kseq.ImageSettings("jpeg"), overwrite=True)
    kseq.pack(source, tmp_path / "fresh", workers=0, images=kseq.ImageSettings("jpeg"))
    assert files(tmp_path / "packed") == files(tmp_path / "fresh")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["fresh", "packed", "photos"]


# How an old dataset gives way.


# Looks at the dataset before each step that concerns a name.
WATCHED = """
import sys, kseq
found, looking = [], False
def look(event, arguments):
    global looking
    if event.startswith("os.") and not looking:
        looking = True
        found.append(len(kseq.ShardDataset(sys.argv[2])))
        looking = False
sys.addaudithook(look)
kseq.pack(sys.argv[1], sys.argv[2], workers=0, images=kseq.ImageSettings("jpeg"), overwrite=True)
print(len(found), set(found))
"""


def test_a_dataset_that_is_overwritten_is_there_at_every_moment(source: Path, tmp_path: Path, run_python: RunPython) -> None:
    kseq.pack(source, tmp_path / "packed", workers=0)
    count, *numbers = run_python(WATCHED, source, tmp_path / "packed").stdout.split()
    assert int(count) > 20 and numbers == ["{30}"]


@pytest.mark.parametrize("killed_after", ["the first rename", "the second rename", "nothing"])
def test_where_names_cannot_be_exchanged_the_next_run_mends_what_a_kill_left(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_after: str
) -> None:
    target = tmp_path / "packed"
    kseq.pack(source, target, workers=0)
    kseq.pack(source, tmp_path / "fresh", workers=0, images=kseq.ImageSettings("jpeg"))
    monkeypatch.setattr("kseq.storage.output_folder.exchange", lambda *_: False)
    rename, left = os.rename, {"the first rename": 1, "the second rename": 2, "nothing": 9}[killed_after]

    class Killed(BaseException):
        pass

    def die(*names: Any) -> None:
        nonlocal left
        rename(*names)
        left -= 1
        if not left:
            raise Killed

    monkeypatch.setattr(os, "rename", die)
    if left < 9:
        with pytest.raises(Killed):
            kseq.pack(source, target, workers=0, images=kseq.ImageSettings("jpeg"), overwrite=True)
        monkeypatch.setattr(os, "rename", rename)
        assert target.exists() == (killed_after == "the second rename")
        with raises(DatasetExistsError):
            kseq.pack(source, target, workers=0)
        assert {name: data for name, data in files(target).items() if name != LOCK_NAME} == files(tmp_path / "fresh")
    kseq.pack(source, target, workers=0, images=kseq.ImageSettings("jpeg"), overwrite=True)
    assert files(target) == files(tmp_path / "fresh")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["fresh", "packed", "photos"]


def test_a_link_to_a_dataset_stays_when_that_is_overwritten(source: Path, tmp_path: Path) -> None:
    kseq.pack(source, tmp_path / "there", workers=0)
    (tmp_path / "link").symlink_to("there")
    kseq.pack(source, tmp_path / "link", workers=0, images=kseq.ImageSettings("jpeg"), overwrite=True)
    kseq.pack(source, tmp_path / "fresh", workers=0, images=kseq.ImageSettings("jpeg"))
    assert files(tmp_path / "there") == files(tmp_path / "fresh")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["fresh", "link", "photos", "there"]


def test_datasets_that_are_called_like_it_stay(source: Path, tmp_path: Path) -> None:
    for name in ("packed", "packed.old", "packed.new"):
        kseq.pack(source, tmp_path / name, workers=0)
    kseq.pack(source, tmp_path / "packed", workers=0, overwrite=True)
    assert files(tmp_path / "packed.old") == files(tmp_path / "packed.new") == files(tmp_path / "packed")


# The source or the arguments change between a killed run and its resume.


@pytest.mark.parametrize("name", ["shard-cats.h5", "shard-1.h5", "shard-00000.h5.bak", "index.h5~"])
def test_files_that_are_only_called_alike_are_never_removed(source: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / name).write_bytes(b"years of work")
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with raises(DatasetExistsError):
            kseq.pack(source, tmp_path / "packed", workers=0, **options)
    assert files(tmp_path / "packed") == {name: b"years of work"}


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
    plan = Plan(FileSource("photos", ("a",), images), ImageSettings(), ["train"] * count, [0, count], "0" * 32)
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
    assert sorted(each.name for each in tmp_path.iterdir()) == ["fresh", "packed"]


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive"])
def test_a_plan_that_cannot_be_read_is_done_without(source: Path, tmp_path: Path, content: bytes) -> None:
    begin(source, tmp_path / "packed")
    (tmp_path / "packed" / RESUME_RECORD_NAME).write_bytes(content)
    with raises(DatasetExistsError):
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


def test_a_path_with_a_zero_byte_is_refused(source: Path, tmp_path: Path) -> None:
    for paths in (("a\0b", tmp_path / "packed"), (source, "packed\0")):
        with raises(ArgumentError):
            kseq.pack(*paths)


def test_a_run_that_made_no_shard_leaves_nothing(source: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        kseq.pack(source, tmp_path / "packed", workers=0, progress=stop_after(0, tmp_path / "packed"))
    assert [each.name for each in tmp_path.iterdir()] == ["photos"]


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


# Dry runs and room.


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
    reds = [int(each["image"][0, 0, 0]) for each in kseq.ShardDataset(tmp_path / "packed")]
    assert reds == [1] * 10 + [3] * 10


def test_a_dry_run_tells_what_a_run_then_does_and_writes_nothing(source: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "images": kseq.ImageSettings("raw", (20, 30)),
        "val": 0.2,
        "shard_bytes": SHARD_BYTES,
        "workers": 0,
    }
    planned = kseq.pack(source, tmp_path / "packed", dry_run=True, **options)
    assert [each.name for each in tmp_path.iterdir()] == ["photos"]
    packed = kseq.pack(source, tmp_path / "packed", **options)
    counts = ("num_found", "num_samples", "num_shards", "num_resumed")
    for name in ("path", "class_names", "splits", "class_counts", "rejected", *counts):
        assert getattr(planned, name) == getattr(packed, name), name
    assert abs(planned.num_bytes - packed.num_bytes) < 1000 * (packed.num_shards + 1)
    assert planned.num_bytes_free > 0


def test_a_dry_run_lists_what_is_refused_before_it_is_read(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"a": 2})
    (tmp_path / "table.csv").write_text("image,label\nphotos/a/00000.png,a\nphotos/a/00001.png,\n")
    report = kseq.pack(tmp_path / "table.csv", tmp_path / "packed", dry_run=True)
    assert (report.num_found, report.num_samples, [each.path for each in report.rejected]) == (2, 1, [b"photos/a/00001.png"])


def test_a_dry_run_lists_files_that_are_missing(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"a": 1})
    table = tmp_path / "table.csv"
    table.write_text("image,label\nphotos/a/00000.png,a\nphotos/a/gone.png,a\n")
    report = kseq.pack(table, tmp_path / "packed", dry_run=True)
    assert report.num_samples == 1
    assert [(each.path, each.reason.split(":")[0]) for each in report.rejected] == [(b"photos/a/gone.png", "cannot be read")]
    with raises(SourceError, "photos", 2, "photos/a/00000.png"):
        kseq.pack(table, tmp_path / "packed", root=tmp_path / "photos", dry_run=True)


def test_a_dry_run_refuses_what_a_run_would(source: Path, tmp_path: Path) -> None:
    before = begin(source, tmp_path / "packed")
    with raises(DatasetExistsError):
        kseq.pack(source, tmp_path / "packed", dry_run=True)
    with raises(DatasetExistsError, "encoding", "'keep'"):
        resume(source, tmp_path / "packed", dry_run=True, images=kseq.ImageSettings("jpeg"))
    assert resume(source, tmp_path / "packed", dry_run=True).num_resumed == 2
    with raises(ArgumentError, "dry_run=True"):
        kseq.pack([], tmp_path / "new", dry_run=True)
    assert files(tmp_path / "packed") == before


def test_the_command_shows_the_plan(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["pack", str(source), str(tmp_path / "packed"), "--val", "0.2", "--dry-run"]
    assert main(arguments) == 0
    found = capsys.readouterr().out.splitlines()
    assert [line.split() for line in found[:4]] == [
        ["class", "train", "val"], ["cat", "16", "4"], ["dog", "8", "2"], ["all", "24", "6"],
    ]  # fmt: skip
    words = (
        rf"30 images would be packed into {tmp_path}/packed: 1 shard, about [0-9.]+ KiB, of [0-9.]+ [GT]iB that are free there"
    )
    assert re.fullmatch(words, found[5])
    assert [each.name for each in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    ("options", "share"),
    [({"images": kseq.ImageSettings("raw", (50, 50))}, 0.9), ({}, 0.9), ({"images": kseq.ImageSettings("jpeg")}, 0.25)],
    ids=str,
)
def test_a_disk_that_cannot_hold_it_is_refused_at_once_and_one_that_might_is_not(
    source: Path, tmp_path: Path, options: dict[str, Any], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = kseq.pack(source, tmp_path / "packed", dry_run=True, **options).num_bytes
    free = int(planned * share) - 100
    monkeypatch.setattr("kseq.packing.disk_space.free_bytes", lambda _: free)
    with raises(WriteError, tmp_path / "packed", f"{planned:,}", f"{free:,}"):
        kseq.pack(source, tmp_path / "packed", workers=0, **options)
    assert [each.name for each in tmp_path.iterdir()] == ["photos"]
    monkeypatch.setattr("kseq.packing.disk_space.free_bytes", lambda _: free + 200)
    assert kseq.pack(source, tmp_path / "packed", workers=0, **options).num_samples == 30


def test_a_file_system_that_does_not_tell_its_size_is_tried(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((512, 512, 0, 0, 0, 0, 0, 0, 0, 255)))
    report = kseq.pack(source, tmp_path / "packed", workers=0)
    assert (report.num_samples, report.num_bytes_free) == (30, 0)


def test_files_that_will_be_another_form_are_not_held_against_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos/a").mkdir(parents=True)
    Image.new("RGB", (400, 400)).save(tmp_path / "photos/a/large.bmp")
    monkeypatch.setattr("kseq.packing.disk_space.free_bytes", lambda _: 100_000)
    assert kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0).num_bytes < 100_000
