"""Packing: what is stored, what is left out, what is refused, and that nothing depends on chance."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import ArgumentError, DatasetExistsError, ImageError, NotAnImageError, SourceError, WriteError
from kseq.images.codecs import decode
from kseq.images.resize import resize_to
from tests.helpers.datasets import files
from tests.helpers.messages import Parts, assert_says, raises
from tests.helpers.photos import photo, write_numbered, write_photos
from tests.helpers.processes import RunPython


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Photos of every format, and files that cannot be packed, in classes a and b."""
    folder = tmp_path / "mixed"
    for number, (name, suffix) in enumerate(
        [("a", "jpg"), ("a", "png"), ("a", "bmp"), ("b", "gif"), ("b", "webp"), ("b", "tiff")]
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(number, 30, 40)).save(folder / name / f"{number}.{suffix}")
    whole = (folder / "a/0.jpg").read_bytes()
    (folder / "a/half.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    (folder / "a/empty.png").write_bytes(b"")
    (folder / "b/notes.txt").write_text("not a photo")
    (folder / "b/gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "stray.png").write_bytes((folder / "a/1.png").read_bytes())
    return folder


def test_the_report_counts_every_file(mixed: Path, tmp_path: Path) -> None:
    report = kseq.pack(mixed, tmp_path / "packed", workers=0)
    assert (report.num_found, report.num_samples) == (11, 6)
    assert report.num_samples + len(report.rejected) == report.num_found
    reasons = {os.fsdecode(rejection.path): rejection.reason for rejection in report.rejected}
    assert_says(reasons["a/empty.png"], "empty")
    assert_says(reasons["b/notes.txt"], "format")
    assert_says(reasons["b/gone.jpg"], os.strerror(errno.ENOENT))
    assert_says(reasons["stray.png"], "class folder")
    assert_says(reasons["a/half.jpg"], "JPEG")
    assert report.class_counts == {"train": [3, 3]}
    assert report.num_bytes == sum(len(data) for data in files(tmp_path / "packed").values())
    assert report.num_shards == len(files(tmp_path / "packed")) - 1
    assert report.seconds > 0


def test_the_dataset_lists_what_was_left_out(mixed: Path, tmp_path: Path) -> None:
    report = kseq.pack(mixed, tmp_path / "packed", workers=0)
    assert kseq.ShardDataset(tmp_path / "packed").rejected() == report.rejected


def test_keep_stores_jpeg_and_png_as_they_are_and_others_as_png(mixed: Path, tmp_path: Path) -> None:
    kseq.pack(mixed, tmp_path / "packed", workers=0)
    dataset = kseq.ShardDataset(tmp_path / "packed")
    for number in range(len(dataset)):
        original = (mixed / dataset.source(number)).read_bytes()
        if dataset.source(number).endswith(("jpg", "png")):
            assert dataset.stored_bytes(number) == original
        else:
            assert dataset.stored_bytes(number).startswith(b"\x89PNG")
        assert np.array_equal(dataset[number]["image"], decode(original, "rgb"))


def test_keep_stores_the_jpeg_of_a_camera_that_holds_more_pictures_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "photos/a").mkdir(parents=True)
    more = [Image.fromarray(photo(1, 30, 40))]
    Image.fromarray(photo(0, 30, 40)).save(tmp_path / "photos/a/0.jpg", "MPO", save_all=True, append_images=more)
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0)
    assert kseq.ShardDataset(tmp_path / "packed").stored_bytes(0) == (tmp_path / "photos/a/0.jpg").read_bytes()


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_raw_stores_decoded_and_resized_pixels(mixed: Path, tmp_path: Path, fit: str) -> None:
    kseq.pack(
        mixed, tmp_path / "packed", images=kseq.ImageSettings("raw", (20, 20), resize=fit, interpolation="bicubic"), workers=0
    )
    dataset = kseq.ShardDataset(tmp_path / "packed")
    for number in range(len(dataset)):
        expected = np.empty((20, 20, 3), np.uint8)
        resize_to(decode((mixed / dataset.source(number)).read_bytes(), "rgb"), expected, fit, "bicubic")
        assert np.array_equal(dataset[number]["image"], expected)


@pytest.mark.parametrize(("color_mode", "channels"), [("grayscale", 1), ("rgb", 3), ("rgba", 4)])
@pytest.mark.parametrize("encoding", ["keep", "raw"])
def test_the_colour_mode_gives_the_channels(mixed: Path, tmp_path: Path, color_mode: str, channels: int, encoding: str) -> None:
    size = (30, 40) if encoding == "raw" else None
    kseq.pack(mixed, tmp_path / "packed", images=kseq.ImageSettings(encoding, size, color_mode=color_mode), workers=0)
    assert kseq.ShardDataset(tmp_path / "packed").read(range(6))["image"].shape == (6, 30, 40, channels)


def test_jpeg_encodes_anew_and_shrinks(mixed: Path, tmp_path: Path) -> None:
    kseq.pack(mixed, tmp_path / "packed", images=kseq.ImageSettings("jpeg", max_side=20, quality=95), workers=0)
    dataset = kseq.ShardDataset(tmp_path / "packed")
    assert {dataset.stored_bytes(number)[:2] for number in range(6)} == {b"\xff\xd8"}
    assert dataset.read(range(6))["image"].shape == (6, 15, 20, 3)
    assert dataset.fields["image"].shape == (15, 20, 3)


def test_jpeg_quality_changes_the_bytes(mixed: Path, tmp_path: Path) -> None:
    sizes = [
        kseq.pack(mixed, tmp_path / str(quality), images=kseq.ImageSettings("jpeg", quality=quality), workers=0).num_bytes
        for quality in (30, 95)
    ]
    assert sizes[0] < sizes[1]


def test_kept_photos_that_are_turned_are_read_upright(tmp_path: Path) -> None:
    (tmp_path / "photos/a").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo(0, 30, 40)).save(tmp_path / "photos/a/turned.jpg", exif=exif)
    for encoding, size in (("keep", None), ("raw", (40, 30)), ("jpeg", None)):
        kseq.pack(tmp_path / "photos", tmp_path / encoding, images=kseq.ImageSettings(encoding, size), workers=0)
        image = kseq.ShardDataset(tmp_path / encoding)[0]["image"]
        assert image.shape == (40, 30, 3)
        assert np.abs(image.astype(int) - np.rot90(photo(0, 30, 40), -1)).mean() < 10


def test_no_check_leaves_the_decoding_out(mixed: Path, tmp_path: Path) -> None:
    report = kseq.pack(mixed, tmp_path / "packed", images=kseq.ImageSettings(check=False), workers=0)
    assert b"a/half.jpg" not in [rejection.path for rejection in report.rejected]
    assert report.num_samples == 7


def test_an_image_that_does_not_fit_into_a_jpeg_is_left_out(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"a": 2})
    Image.new("RGB", (1, 65_501)).save(tmp_path / "photos/a/tall.png")
    report = kseq.pack(tmp_path / "photos", tmp_path / "packed", images=kseq.ImageSettings("jpeg"), workers=0)
    assert [rejection.path for rejection in report.rejected] == [b"a/tall.png"]


@pytest.mark.parametrize("workers", [0, 2])
def test_on_error_fail_stops_and_names_the_file(mixed: Path, tmp_path: Path, workers: int) -> None:
    with raises(ImageError, mixed):
        kseq.pack(mixed, tmp_path / "packed", on_error="fail", workers=workers)


def test_what_is_no_image_is_told_apart_with_on_error_fail(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"a": 2})
    (tmp_path / "photos/a/x.txt").write_text("hello")
    with raises(NotAnImageError, "x.txt"):
        kseq.pack(tmp_path / "photos", tmp_path / "packed", on_error="fail", workers=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"images": kseq.ImageSettings("raw", (20, 20))}, {"images": kseq.ImageSettings("jpeg")}], ids=str
)
def test_the_bytes_do_not_depend_on_the_workers_nor_on_the_run(mixed: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    for name, workers in (("one", 0), ("two", 0), ("three", 1), ("four", 3)):
        kseq.pack(mixed, tmp_path / name, val=0.3, shard_bytes=4000, workers=workers, **options)
    assert files(tmp_path / "one") == files(tmp_path / "two") == files(tmp_path / "three") == files(tmp_path / "four")
    assert len(files(tmp_path / "one")) > 2


def test_the_bytes_do_not_depend_on_the_times_of_the_files(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "copy", copy_function=shutil.copyfile)
    kseq.pack(photos, tmp_path / "one", workers=0)
    kseq.pack(tmp_path / "copy", tmp_path / "two", workers=0)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_an_existing_dataset_is_refused_and_stays(photos: Path, tmp_path: Path) -> None:
    kseq.pack(photos, tmp_path / "packed", workers=0)
    before = files(tmp_path / "packed")
    with raises(DatasetExistsError, tmp_path / "packed"):
        kseq.pack(photos, tmp_path / "packed", images=kseq.ImageSettings("jpeg"), workers=0)
    assert files(tmp_path / "packed") == before


def test_overwrite_replaces_a_dataset(photos: Path, tmp_path: Path) -> None:
    kseq.pack(photos, tmp_path / "packed", shard_bytes=10_000, workers=0)
    kseq.pack(photos, tmp_path / "packed", images=kseq.ImageSettings("jpeg"), workers=0, overwrite=True)
    kseq.pack(photos, tmp_path / "new", images=kseq.ImageSettings("jpeg"), workers=0)
    assert files(tmp_path / "packed") == files(tmp_path / "new")


@pytest.mark.parametrize("fault", ["all broken", "stops at the first", "disk error"])
def test_an_overwriting_that_fails_leaves_the_old_dataset(
    photos: Path, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kseq.pack(photos, tmp_path / "packed", workers=0)
    before = files(tmp_path / "packed")
    write_numbered(tmp_path / "new", {"a": 2})
    for path in (tmp_path / "new/a").iterdir() if fault == "all broken" else [tmp_path / "new/a/x.png"]:
        path.write_bytes(b"broken")
    if fault == "disk error":
        monkeypatch.setattr(
            "kseq.packing.destination.write_index", lambda *_, **__: (_ for _ in ()).throw(WriteError("disk full"))
        )
    with pytest.raises((SourceError, ImageError, WriteError)):
        kseq.pack(
            tmp_path / "new",
            tmp_path / "packed",
            overwrite=True,
            workers=0,
            on_error="skip" if fault != "stops at the first" else "fail",
        )
    assert files(tmp_path / "packed") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "packed"]


def test_overwriting_goes_on_where_an_overwriting_was_killed(photos: Path, tmp_path: Path) -> None:
    kseq.pack(photos, tmp_path / "packed", workers=0)
    shutil.copytree(tmp_path / "packed", tmp_path / ".kseq-new-packed")
    (tmp_path / ".kseq-new-packed/index.h5").unlink()
    kseq.pack(photos, tmp_path / "packed", images=kseq.ImageSettings("jpeg"), overwrite=True, workers=0)
    assert kseq.ShardDataset(tmp_path / "packed").stored_bytes(0) != (photos / "cat/00000.jpg").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["packed"]


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}], ids=str)
def test_a_folder_with_other_things_is_refused_and_stays(photos: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with raises(DatasetExistsError, "'thesis.txt'"):
        kseq.pack(photos, tmp_path / "mine", workers=0, **options)
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"


def test_a_folder_by_the_name_of_a_shard_is_not_overwritten(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "packed/shard-00000.h5").mkdir(parents=True)
    with raises(DatasetExistsError, "packed", "'shard-00000.h5'"):
        kseq.pack(photos, tmp_path / "packed", workers=0, overwrite=True)


@pytest.mark.parametrize(("source", "target"), [("p", "p"), ("p", "p/packed"), ("p/in", "p")])
def test_source_and_dataset_must_lie_apart(tmp_path: Path, source: str, target: str) -> None:
    write_numbered(tmp_path / source, {"a": 2})
    with raises(ArgumentError, tmp_path / source, tmp_path / target):
        kseq.pack(tmp_path / source, tmp_path / target, overwrite=True, workers=0)


def test_when_nothing_can_be_packed_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "photos/a").mkdir(parents=True)
    (tmp_path / "photos/a/x.jpg").write_bytes(b"broken")
    with raises(SourceError, 1, "a/x.jpg"):
        kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0)
    assert not (tmp_path / "packed").exists()


def test_a_split_whose_files_are_all_broken_is_left_out(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos/train", {"a": 3})
    (tmp_path / "photos/val/a").mkdir(parents=True)
    (tmp_path / "photos/val/a/x.jpg").write_bytes(b"broken")
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0)
    assert kseq.ShardDataset(tmp_path / "packed").splits == {"train": 3}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"on_error": "ignore"}, ("on_error='ignore'", "skip", "fail")),
        ({"workers": -1}, ("workers=-1", 0)),
        ({"overwrite": True, "resume": True}, ("overwrite", "resume")),
        ({"workers": "2"}, ("workers='2'",)),
        ({"niceness": 20}, ("niceness=20", 0, 19)),
        ({"niceness": 1, "executor": ThreadPoolExecutor(1)}, ("niceness", "executor")),
        ({"val": "0.1"}, ("val='0.1'",)),
        ({"val": 0.001}, ("val=0.001", 60, "val")),
        ({"seed": 1.5}, ("seed=1.5",)),
        ({"shard_bytes": "64M"}, ("shard_bytes='64M'",)),
        ({"columns": {"label": "kind"}}, ("columns={'label': 'kind'}", "kseq.Columns")),
        ({"images": "raw"}, ("images='raw'", "kseq.ImageSettings")),
    ],
)
def test_refuses_arguments_in_one_line(photos: Path, tmp_path: Path, options: dict[str, Any], words: Parts) -> None:
    with raises(ArgumentError, *words):
        kseq.pack(photos, tmp_path / "packed", **options)
    assert not (tmp_path / "packed").exists()


def test_numbers_of_numpy_are_numbers(photos: Path, tmp_path: Path) -> None:
    size = np.array([20, 16])
    kseq.pack(
        photos, tmp_path / "packed", images=kseq.ImageSettings("raw", size), seed=np.int64(3), val=np.float32(0.1), workers=0
    )
    assert kseq.ShardDataset(tmp_path / "packed").fields["image"].shape == (20, 16, 3)


def test_an_empty_path_is_refused(photos: Path) -> None:
    with raises(ArgumentError, "dataset"):
        kseq.pack(photos, "")
    with raises(ArgumentError, "dataset=5"):
        kseq.pack(photos, 5)  # type: ignore[arg-type]  # on purpose


def test_a_pipe_is_rejected_and_does_not_hang(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"a": 2})
    os.mkfifo(tmp_path / "photos/a/pipe.jpg")
    report = kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0)
    assert [rejection.reason for rejection in report.rejected] == ["is not a regular file"]


def test_progress_is_told_up_to_the_end(photos: Path, tmp_path: Path) -> None:
    for workers in (0, 2):
        calls: list[tuple[int, int]] = []
        kseq.pack(photos, tmp_path / str(workers), workers=workers, progress=lambda *call, calls=calls: calls.append(call))
        assert calls[0] == (0, 60)
        assert calls[-1] == (60, 60)
        assert calls == sorted(calls)


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux does a thread have a niceness of its own")
@pytest.mark.parametrize("steps", [0, 3])
def test_workers_stand_back_as_they_are_told(photos: Path, tmp_path: Path, steps: int) -> None:
    def look(*_: int) -> None:
        found.update(os.getpriority(os.PRIO_PROCESS, process.pid or 0) for process in multiprocessing.active_children())

    found: set[int] = set()
    own = os.getpriority(os.PRIO_PROCESS, 0)
    kseq.pack(photos, tmp_path / "packed", workers=1, niceness=steps, progress=look)
    # Until it has its first task, a worker is as its parent.
    assert {min(own + steps, 19)} <= found <= {own, min(own + steps, 19)}
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


@pytest.mark.parametrize("workers", [0, 2])
def test_packing_prints_nothing_and_warns_of_nothing(
    mixed: Path, tmp_path: Path, workers: int, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    exif = Image.Exif()
    exif[0x010F] = "the maker of the camera"
    Image.fromarray(photo(0, 8, 8)).save(mixed / "a/odd.jpg", exif=exif.tobytes()[:-9])
    with pytest.warns(UserWarning, match="Truncated File Read"), Image.open(mixed / "a/odd.jpg") as odd:
        odd.getexif()
    kseq.pack(mixed, tmp_path / "packed", workers=workers)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


@pytest.mark.slow
def test_a_plain_script_needs_no_guard(photos: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys, kseq\nprint(kseq.pack(sys.argv[1], sys.argv[2], workers=2).num_samples)\n")
    done = subprocess.run(
        [sys.executable, script, photos, tmp_path / "packed"], capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.stdout, done.stderr) == ("60\n", "")


GROWTH = """
import sys, kseq
from tests.helpers.memory import peak_kib
images = kseq.ImageSettings("raw", (256, 256))
kseq.pack(sys.argv[1], sys.argv[2], images=images, shard_bytes=16 << 20, workers=0)
print(peak_kib())
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path, run_python: RunPython) -> None:
    peaks = []
    for count in (150, 1200):
        write_photos(tmp_path / f"photos{count}", {"a": count})
        peaks.append(int(run_python(GROWTH, tmp_path / f"photos{count}", tmp_path / f"packed{count}").stdout))
    # 1,050 images more are 197 MiB more of pixels.
    assert peaks[1] - peaks[0] < 20 * 1024
