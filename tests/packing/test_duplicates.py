"""Byte-identical images: counted, dropped or kept together, whatever lies around them."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import kseq
from kseq.errors import ArgumentError
from kseq.packing.plan import _with_copies
from tests.helpers.messages import assert_says, raises
from tests.helpers.photos import write_photos
from tests.helpers.records import example, png, write_records

# Paths, each with the number of its picture: two leaks into val, one of them of another class, and a copy within train.
LEAKING = {
    "train/cat/a": 1,
    "train/cat/b": 1,
    "train/dog/c": 2,
    "train/dog/d": 3,
    "val/cat/e": 1,
    "val/cat/f": 2,
    "val/dog/g": 7,
}


def write(root: Path, pictures: dict[str, int]) -> Path:
    for name, number in pictures.items():
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png((number, 0, 0), (8, 8)))
    return root


@pytest.mark.slow
def test_copies_are_counted_within_splits_and_across_them_in_whichever_way_they_are_packed(tmp_path: Path) -> None:
    source = write(tmp_path / "photos", LEAKING)
    expected = kseq.DuplicateCounts(3, 1, {"train": 1}, {"train, val": 2})
    raw = kseq.ImageSettings("raw", (4, 4))
    with ThreadPoolExecutor(2) as executor:
        ways = [{"workers": 0}, {"workers": 2}, {"executor": executor}, {"workers": 0, "images": raw}]
        for number, way in enumerate(ways):
            report = kseq.pack(source, tmp_path / f"{number}", shard_bytes=100, **way)  # type: ignore[arg-type]  # of many types
            assert report.num_shards > 1
            assert report.duplicates == expected
            leak = next(line for line in report.lines if "leak" in line)
            assert_says(leak, 2, "val", "train", "duplicates='drop'", "duplicates='group'")
            assert kseq.ShardDataset(tmp_path / f"{number}").packing_notes == tuple(report.lines)
    report = kseq.pack(source, f"file://{tmp_path}/at-a-url", workers=0)
    assert report.duplicates == expected
    # Of shards that an earlier run has built, the images are read.
    last = tmp_path / "0" / "index.h5"
    index = last.read_bytes()
    last.unlink()
    report = kseq.pack(source, tmp_path / "0", workers=0, shard_bytes=100, resume=True)
    assert report.num_resumed == report.num_shards
    assert report.duplicates == expected
    assert last.read_bytes() == index
    assert kseq.append(tmp_path / "1", source, again=True, workers=0).duplicates == expected


def test_the_first_of_all_copies_stays_and_the_others_are_listed_with_it(tmp_path: Path) -> None:
    source = write(tmp_path / "photos", LEAKING)
    (source / "train" / "cat" / "broken.png").write_bytes(b"\x89PNG no picture")
    (source / "val" / "cat" / "broken.png").write_bytes(b"\x89PNG no picture")
    report = kseq.pack(source, tmp_path / "packed", duplicates="drop", workers=0)
    assert report.num_samples + len(report.rejected) == report.num_found == 9
    assert report.splits == {"train": 3, "val": 1}
    assert report.duplicates == kseq.DuplicateCounts(0, 0, {}, {})
    listed = {rejected.path.decode(): rejected.reason for rejected in report.rejected if "broken" not in rejected.path.decode()}
    first = {"train/cat/b.png": "train/cat/a.png", "val/cat/e.png": "train/cat/a.png", "val/cat/f.png": "train/dog/c.png"}
    assert listed.keys() == first.keys()
    for path, reason in listed.items():
        assert_says(reason, first[path])
        assert ("label" in reason) == (path == "val/cat/f.png")
    assert kseq.pack(source, tmp_path / "dry", duplicates="drop", dry_run=True).splits == {"train": 4, "val": 2}


def test_copies_are_drawn_into_one_split(tmp_path: Path) -> None:
    pictures = {f"cat/{number}": number % 10 for number in range(30)} | {f"dog/{number}": 100 + number for number in range(30)}
    source = write(tmp_path / "photos", pictures)
    for seed in range(3):
        report = kseq.pack(source, tmp_path / "packed", duplicates="group", val=0.3, seed=seed, workers=0, overwrite=True)
        assert report.duplicates is not None
        assert (report.duplicates.num_copies, report.duplicates.across) == (20, {})
        assert 10 <= report.splits["val"] <= 26
    report = kseq.pack(source, tmp_path / "packed", val=0.3, workers=0, overwrite=True)
    assert report.duplicates is not None
    assert report.duplicates.across["train, val"] > 0


def test_groups_and_copies_hold_each_other_together(tmp_path: Path) -> None:
    # a and b are copies, b and c of one patient, c and d copies: one unit of four, whichever of them is first.
    rows = [(picture, group) for picture, group in ((1, "x"), (1, "y"), (2, "y"), (2, None))]
    rows += [(10 + number, None) for number in range(12)]
    names = [f"a{number}" for number in range(len(rows))]
    for number, (picture, _) in enumerate(rows):
        write(tmp_path, {names[number]: picture})
    table = ["image,label,patient", *(f"{name}.png,a,{group or ''}" for name, (_, group) in zip(names, rows, strict=True))]
    (tmp_path / "t.csv").write_text("\n".join(table))
    for seed in range(4):
        columns = kseq.Columns(group="patient")
        kseq.pack(
            tmp_path / "t.csv",
            tmp_path / "o",
            columns=columns,
            val=0.4,
            duplicates="group",
            seed=seed,
            overwrite=True,
            workers=0,
        )
        splits = {
            split: {dataset.source(number) for number in range(len(dataset))}
            for split in ("train", "val")
            for dataset in [kseq.ShardDataset(tmp_path / "o", split)]
        }
        unit = {f"{name}.png" for name in names[:4]}
        assert any(unit <= sources for sources in splits.values())


@pytest.mark.parametrize("seed", range(20))
def test_units_are_the_connected_images_led_by_their_first(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = 40

    def leaders(labels: Sequence[int]) -> np.ndarray:
        return np.array([labels.index(label) for label in labels])

    groups, copies = (leaders(rng.integers(0, 30, count).tolist()) for _ in range(2))
    is_drawn = rng.random(count) < 0.8
    links: dict[int, set[int]] = {number: {number} for number in range(count)}
    for a, b in itertools.combinations(np.flatnonzero(is_drawn).tolist(), 2):
        if groups[a] == groups[b] or copies[a] == copies[b]:
            joined = links[a] | links[b]
            for number in joined:
                links[number] = joined
    assert _with_copies(groups, copies, is_drawn).tolist() == [min(links[number]) for number in range(count)]


def test_a_sample_of_several_images_is_a_copy_where_all_of_them_are(tmp_path: Path) -> None:
    pictures = [png((number, 0, 0), (8, 8)) for number in range(3)]
    pairs = [(0, 1), (0, 2), (0, 1), (1, 0)]
    samples = [{"left": pictures[left], "right": pictures[right], "label": 0} for left, right in pairs]
    columns = kseq.Columns(image=["left", "right"])
    report = kseq.pack(samples, tmp_path / "a", columns=columns, workers=0)
    assert report.duplicates == kseq.DuplicateCounts(1, 0, {"train": 1}, {})
    report = kseq.pack(samples, tmp_path / "b", columns=columns, duplicates="drop", workers=0)
    assert [rejected.path for rejected in report.rejected] == [b"2"]


def test_records_and_pixels_have_copies_too(tmp_path: Path) -> None:
    same = [example({"image": [png()], "label": [label]}) for label in (1, 1000)]
    write_records(tmp_path / "a.tfrecord", *same)
    report = kseq.pack(tmp_path / "a.tfrecord", tmp_path / "a", duplicates="drop", workers=0)
    assert_says(report.rejected[0].reason, "label", "a.tfrecord/0")
    np.savez(tmp_path / "x.npz", images=np.zeros((3, 4, 4), np.uint8), labels=np.arange(3))
    report = kseq.pack(tmp_path / "x.npz", tmp_path / "b", workers=0)
    assert report.duplicates == kseq.DuplicateCounts(2, 2, {"train": 2}, {})


def test_a_packing_does_not_go_on_with_another_rule_and_values_are_checked(tmp_path: Path) -> None:
    source = tmp_path / "photos"
    write_photos(source, {"cat": 4, "dog": 4})
    with raises(ArgumentError, "duplicates='ignore'", "keep", "drop", "group"):
        kseq.pack(source, tmp_path / "packed", duplicates="ignore")
    shutil.copy(source / "cat" / sorted(path.name for path in (source / "cat").iterdir())[0], source / "dog" / "zz.jpg")
    report = kseq.pack(source, tmp_path / "packed", workers=0)
    assert report.duplicates is not None
    assert (report.duplicates.num_copies, report.duplicates.num_contradictions) == (1, 1)
    (tmp_path / "packed" / "index.h5").rename(tmp_path / "index.h5")
    with raises(kseq.errors.DatasetExistsError, tmp_path / "packed"):
        kseq.pack(source, tmp_path / "packed", duplicates="drop", workers=0, resume=True)
