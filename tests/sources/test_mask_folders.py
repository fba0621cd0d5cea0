"""Images with masks in folders of their own, or beside them: which goes with which, and what becomes of it in a dataset."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import kseq
from kseq.errors import ArgumentError, KseqError, SourceError
from kseq.sources.mask_pairs import Pairing, pair_masks
from kseq.sources.registry import open_source
from kseq_tools.main import main
from tests.helpers.messages import assert_says, raises
from tests.helpers.urls import memory_url, upload

# What lies there, and the mask of each image.
PAIRS: dict[str, dict[str, str | None]] = {
    "folders": {"images/1.jpg": "masks/1.png", "images/10.JPG": "masks/10.PNG"},
    "splits": {"train/images/1.jpg": "train/masks/1.png", "val/images/1.jpg": "val/masks/1.png"},
    "splits below": {"images/train/1.jpg": "masks/train/1.png", "images/val/1.jpg": "masks/val/1.png"},
    "splits of images alone": {"images/train/1.jpg": "masks/1.png", "images/val/2.jpg": "masks/2.png"},
    "splits of masks alone": {"images/1.jpg": "masks/train/1.png", "images/2.jpg": "masks/val/2.png"},
    "one split without masks": {"train/images/1.jpg": "train/masks/1.png", "val/images/1.jpg": None},
    "splits of other words": {"training/images/1.jpg": "train_masks/1.png", "validation/images/1.jpg": "val_masks/1.png"},
    "a mask in another split": {"train/images/2.jpg": "train/masks/2.png", "val/images/1.jpg": None},
    "the same folders go first": {"cells/train/1.jpg": "cell masks/train/1.png", "cells/val/2.jpg": "cell masks/2.png"},
    "zeros before numbers": {"images/1.jpg": None, "images/2.jpg": None},
    "patients": {"p1/images/1.jpg": "p1/masks/1.png", "p2/images/1.jpg": None},
    "carvana": {"train/a_01.jpg": "train_masks/a_01_mask.gif", "train/a_02.jpg": "train_masks/a_02_mask.gif"},
    "camvid": {"train/a.png": "trainannot/a.png", "val/b.png": "valannot/b.png", "test/c.png": "testannot/c.png"},
    "isic": {
        "ISIC-2017_Training_Data/ISIC_1.jpg": "ISIC-2017_Training_Part1_GroundTruth/ISIC_1_segmentation.png",
        "ISIC-2017_Validation_Data/ISIC_1.jpg": "ISIC-2017_Validation_Part1_GroundTruth/ISIC_1_segmentation.png",
    },
    "words before": {"images/img_1.jpg": "masks/mask_1.png", "images/img_2.jpg": "masks/mask_2.png"},
    "words before numbers": {"images/img1.jpg": "masks/mask1.png", "images/img12.jpg": "masks/mask12.png"},
    "words behind": {"train/8_sat.jpg": "train/8_mask.png", "train/89_sat.jpg": "train/89_mask.png"},
    "suffix in the name": {"images/a.jpg": "masks/a.jpg.png", "images/b.jpg": "masks/b.jpg.png"},
    "beside": {"x (1).png": "x (1)_mask.png", "x (11).png": "x (11)_mask.png"},
    "twins": {"a.jpg": "a.png", "b.jpeg": "b.png"},
    "capitals": {"images/IMG_A.jpg": "masks/img_a.png", "images/IMG_B.jpg": "masks/img_b.png"},
    "unicode": {"images/a\u0308.jpg": "masks/\u00e4.png"},
    "folders of other words": {"cells/1.jpg": "cell masks/1.png", "cells/2.jpg": "cell masks/2.png"},
    "widths": {"images/1.jpg": None, "images/2.jpg": "masks/2_mask.png", "images/3.jpg": "masks/3_mask.png"},
    "one name in two forms": {"images/a.jpg": None, "images/a.png": None},
    "one mask of two": {"images/train/1.jpg": None, "images/val/1.jpg": None},
    "a folder of images goes first": {"images/1.jpg": "masks/1.png", "small/1.jpg": None},
    "names within names": {"images/a.jpg": "masks/a.png", "images/ab.jpg": "masks/ab.png", "images/b.jpg": "masks/b.png"},
    "two masks": {"x/a.png": "x/a_mask.png", "x/b.png": None, "x/c.png": "x/c_mask.png"},
    "voc": {"JPEGImages/a.jpg": "SegmentationClass/a.png", "JPEGImages/b.jpg": None},
    "cityscapes": {"leftImg8bit/train/a/a_0_leftImg8bit.png": "gtFine/train/a/a_0_gtFine_labelIds.png"},
    "maps too": {"images/1.jpg": "masks/1.png"},
    "images named like masks": {"images/a_mask.jpg": "masks/a_mask.png", "images/b_mask.jpg": "masks/b_mask.png"},
}
# Files that are no image, and no mask that is used.
MORE = {
    "a mask in another split": ("train/masks/1.png",),
    "the same folders go first": ("cell masks/1.png",),
    "zeros before numbers": ("masks/m001.png", "masks/m002.png"),
    "widths": ("masks/001_mask.png",),
    "one name in two forms": ("masks/a.png",),
    "one mask of two": ("masks/1.png",),
    "two masks": ("x/b_mask.png", "x/b_mask_1.png", "x/d_mask.png"),
    "voc": ("SegmentationObject/a.png", "SegmentationObject/b.png"),
    "cityscapes": tuple(f"gtFine/train/a/a_0_gtFine_{end}.png" for end in ("color", "instanceIds", "labelTrainIds")),
    "maps too": ("depth/1.png",),
}


@pytest.mark.parametrize("layout", PAIRS)
def test_each_image_has_the_mask_of_its_name_and_folders(layout: str) -> None:
    expected = PAIRS[layout]
    files = [*expected, *filter(None, expected.values()), *MORE.get(layout, ())]
    assert pair_masks(reversed(files)).pairs == expected


@pytest.mark.parametrize(
    ("layout", "what", "expected"),
    [
        ("voc", "unused", ["SegmentationObject/a.png"]),
        ("two masks", "strays", ["x/d_mask.png"]),
        ("maps too", "maps", ["depth/1.png"]),
        ("cityscapes", "unused", sorted(MORE["cityscapes"])),
        ("splits of masks alone", "splits", {"masks/train/1.png": "train", "masks/val/2.png": "val"}),
        ("isic", "splits", {"ISIC-2017_Validation_Data/ISIC_1.jpg": "val"}),
        ("carvana", "splits", {"train/a_01.jpg": "train"}),
        ("patients", "folders", {"p1/images/1.jpg": "p1", "p2/images/1.jpg": "p2"}),
    ],
)
def test_what_is_told_besides_pairs(layout: str, what: str, expected: Any) -> None:
    found = getattr(paired(layout), what)
    assert expected.items() <= found.items() if isinstance(expected, dict) else found == expected


def paired(layout: str) -> Pairing:
    return pair_masks([*PAIRS[layout], *filter(None, PAIRS[layout].values()), *MORE.get(layout, ())])


@pytest.mark.parametrize(
    ("layout", "image", "parts"),
    [
        ("widths", "images/1.jpg", ("masks/001_mask.png",)),
        ("one name in two forms", "images/a.jpg", ("masks/a.png", "images/a.png")),
        ("a folder of images goes first", "small/1.jpg", ("masks/1.png", "images/1.jpg")),
        ("two masks", "x/b.png", (2, "x/b_mask.png", "x/b_mask_1.png")),
    ],
)
def test_an_image_without_one_mask_says_why(layout: str, image: str, parts: tuple[object, ...]) -> None:
    assert_says(paired(layout).faults[image], *parts)


FOLDERS = ["images", "masks", "train/images", "train/masks", "val/images", "masks/val", "depth", "small", ""]
NAMES = ["1", "01", "10", "a", "A", "a_mask", "a_mask_2", "mask_1", "img_1", "a\u0308", "\u00e4", "1_color", "\udce9"]


@given(st.sets(st.builds("{}/{}{}".format, *map(st.sampled_from, (FOLDERS, NAMES, [".jpg", ".png", ".PNG"]))), max_size=12))
def test_every_file_is_an_image_a_mask_or_a_map(paths: set[str]) -> None:
    found = pair_masks(paths)
    used = [mask for mask in found.pairs.values() if mask is not None]
    assert len(used) == len(set(used))
    assert found.faults.keys() <= {image for image, mask in found.pairs.items() if mask is None}
    groups = (set(found.pairs), set(used), set(found.unused), set(found.strays), set(found.maps))
    assert sum(map(len, groups)) == len(set.union(*groups))
    # What is left are masks of images that have several, or that share one.
    left = paths - set.union(*groups)
    assert not left or found.faults or any(mask is None for mask in found.pairs.values())


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.sets(st.builds("{}/{}{}".format, *map(st.sampled_from, (FOLDERS[:6], NAMES[:9], [".jpg", ".png"]))), max_size=9))
def test_every_image_of_any_tree_is_packed_with_its_mask_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, paths: set[str]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    numbers = {path: number for number, path in enumerate(sorted(paths), 1)}
    for path, number in numbers.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(root / path, "PNG")
    expected = pair_masks(paths).pairs
    try:
        report = kseq.pack(root, root.parent / f"{root.name}-packed", workers=0, source_format="masks")
    except SourceError:
        assert not any(expected.values())
        return
    assert report.num_found == len(expected) == report.num_samples + len(report.rejected)
    with kseq.ShardDataset(report.path) as dataset:
        packed = {str(dataset.source(row)): sample["mask"] for row, sample in enumerate(dataset)}
    assert {path: int(mask[0, 0, 0]) for path, mask in packed.items()} == {
        path: numbers[mask] for path, mask in expected.items() if mask is not None
    }


# The folders of images and masks, and how many dimensions the pixels in them have.
KINDS = (("images", 3), ("masks", 2))


def write(root: Path, layout: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Write the files of a layout; returns image and mask of each pair."""
    rng = np.random.default_rng(0)
    files = [*PAIRS[layout], *filter(None, PAIRS[layout].values()), *MORE.get(layout, ())]
    drawn = {}
    masks = {mask for mask in PAIRS[layout].values() if mask} | set(MORE.get(layout, ()))
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        drawn[name] = rng.integers(0, 4, (12, 16) if name in masks else (12, 16, 3), np.uint8)
        Image.fromarray(drawn[name]).save(root / name)
    return {image: (drawn[image], drawn[mask]) for image, mask in PAIRS[layout].items() if mask is not None}


def saved(root: Path, files: dict[str, tuple[int, ...]]) -> Path:
    """Write images of a shape by their paths, each with other values."""
    for number, (name, shape) in enumerate(files.items()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(shape, number + 1, np.uint8)).save(root / name)
    return root


def table_of(root: Path, layout: str) -> Path:
    """A table of the pairs of a layout."""
    path = root.parent / "table.csv"
    with open(path, "w", newline="") as file:
        rows = [(image, mask, image.partition("/")[0]) for image, mask in sorted(PAIRS[layout].items()) if mask is not None]
        csv.writer(file).writerows([("image", "mask", "split"), *rows])
    return path


@pytest.mark.parametrize("kind", ["folder", "zip", "url", "zip at a url"])
def test_images_and_masks_are_packed_as_their_table_is(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "in"
    expected = write(root, "splits")
    for path in root.rglob("*.jpg"):
        # So that their pixels are known.
        Image.fromarray(expected[path.relative_to(root).as_posix()][0]).save(path, "PNG")
    source: Any = Path(shutil.make_archive(str(root), "zip", root)) if kind.startswith("zip") else root
    source = upload(source, memory_url("in.zip" if kind.startswith("zip") else "in")) if "url" in kind else source
    report = kseq.pack(source, tmp_path / "out", workers=0)
    assert (report.num_found, report.splits, report.class_names) == (2, {"train": 1, "val": 1}, ())
    assert_says(report.notes[0], "train/images/1.jpg", "train/masks/1.png", re_format(kind))
    assert len(report.notes) == 1
    columns = kseq.Columns(mask="mask", split="split")
    kseq.pack(table_of(root, "splits"), tmp_path / "of-table", workers=0, columns=columns, root=root)
    with kseq.ShardDataset(tmp_path / "out") as dataset, kseq.ShardDataset(tmp_path / "of-table") as other:
        assert (dataset.digest, dataset.fields) == (other.digest, other.fields)
        assert list(dataset.fields) == ["image", "mask"]
        for number in range(len(dataset)):
            image, mask = expected[str(dataset.source(number))]
            np.testing.assert_array_equal(dataset[number]["image"], image)
            np.testing.assert_array_equal(dataset[number]["mask"][..., 0], mask)


def re_format(kind: str) -> str:
    return f"source_format={'zip' if kind.startswith('zip') else 'folder'!r}"


def test_what_has_no_partner_is_counted_and_said(tmp_path: Path) -> None:
    files = {f"images/{number}.png": (6, 8, 3) for number in range(4)} | {
        f"masks/{number}.png": (6, 8) for number in range(1, 6)
    }
    root = saved(tmp_path / "in", files)
    # Masks of colours are refused as those of a table are, and so is what is no image.
    Image.new("RGB", (8, 6), (1, 2, 3)).save(root / "masks" / "1.png")
    (root / "masks" / "2.png").write_bytes(b"no image")
    report = kseq.pack(root, tmp_path / "out", workers=0)
    assert (report.num_found, report.num_samples) == (4, 1)
    reasons = {rejected.path.decode(): rejected.reason for rejected in report.rejected}
    assert reasons.keys() == {"images/0.png", "images/1.png", "images/2.png"}
    assert_says(reasons["images/0.png"], "mask")
    assert_says(reasons["images/1.png"], "its mask")
    assert_says(report.notes[1], 1, "images/0.png", "label=''")
    assert_says(report.notes[2], 2, "masks/4.png")


@pytest.mark.parametrize(
    ("columns", "class_names"),
    [
        (kseq.Columns(), ("benign", "normal")),
        (kseq.Columns(label=""), ()),
        (kseq.Columns(label="folder"), ("benign", "normal")),
    ],
)
def test_masks_beside_their_images_leave_classes_of_folders(
    tmp_path: Path, columns: kseq.Columns, class_names: tuple[str, ...]
) -> None:
    names = [f"all_with_GT/{name}/{name} ({number})" for name in ("benign", "normal") for number in (1, 2)]
    root = saved(tmp_path / "in", {f"{name}{end}.png": (6, 8, 3)[: 3 - (end != "")] for name in names for end in ("", "_mask")})
    report = kseq.pack(root, tmp_path / "out", workers=0, columns=columns)
    assert (report.num_samples, report.class_names) == (4, class_names)
    with kseq.ShardDataset(tmp_path / "out") as dataset:
        assert list(dataset.fields) == ["image", *(["label"] if class_names else []), "mask"]
        of_benign = [dataset[number].get("label") for number in range(4) if "benign" in str(dataset.source(number))]
        assert of_benign == [0 if class_names else None] * 2


def test_folders_of_patients_are_groups_and_no_classes_unless_somebody_says_so(tmp_path: Path) -> None:
    names = [f"scan {patient}/slice_{number}" for patient in range(4) for number in range(3)]
    root = saved(tmp_path / "in", {f"{name}{end}.tif": (6, 8, 3)[: 3 - (end != "")] for name in names for end in ("", "_mask")})
    report = kseq.pack(root, tmp_path / "out", workers=0)
    assert (report.num_samples, report.class_names) == (12, ())
    assert_says(report.notes[1], "scan 0", "label='folder'", "group='folder'")
    grouped = kseq.pack(root, tmp_path / "grouped", workers=0, columns=kseq.Columns(group="folder"), val=0.5)
    assert grouped.splits == {"train": 6, "val": 6}
    with kseq.ShardDataset(tmp_path / "grouped") as dataset:
        patients = [
            {str(dataset.source(row)).partition("/")[0] for row in dataset.split_ids(name)} for name in ("train", "val")
        ]
    assert not patients[0] & patients[1]


@pytest.mark.parametrize(
    "columns",
    [
        kseq.Columns(image={"a": "image", "b": "image"}),
        kseq.Columns(image=["image", "mask"]),
        kseq.Columns(mask="folder"),
        kseq.Columns(label="mask"),
        kseq.Columns(targets={"depth": "mask"}, kinds={"depth": "map"}),
        kseq.Columns(text="image"),
        kseq.Columns(group="patient"),
    ],
)
def test_columns_are_those_of_images_masks_and_folders(tmp_path: Path, columns: kseq.Columns) -> None:
    root = saved(tmp_path / "in", {f"{kind}/a.png": (6, 8, 3)[:dims] for kind, dims in KINDS})
    with raises(KseqError, root, re.compile("image|mask|folder")):
        kseq.pack(root, tmp_path / "out", workers=0, columns=columns)


def test_names_that_differ_are_refused_and_become_no_classes(tmp_path: Path) -> None:
    root = saved(tmp_path / "in", {"images/1.png": (6, 8, 3), "masks/001.png": (6, 8)})
    with raises(SourceError, root, "images/1.png", "masks/001.png", "mask='mask'"):
        kseq.pack(root, tmp_path / "out", workers=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("is_zip", [False, True])
def test_where_all_masks_have_colours_the_error_says_what_was_guessed(tmp_path: Path, is_zip: bool) -> None:
    root = tmp_path / "in"
    for name in ("images/a.png", "masks/a.png"):
        (root / name).parent.mkdir(parents=True)
        Image.new("RGB", (8, 6), (1, 2, 3)).save(root / name)
    source = shutil.make_archive(str(root), "zip", root) if is_zip else root
    with raises(SourceError, f"{source}: ", "images/a.png", "masks/a.png", re_format("zip" if is_zip else "folder")):
        kseq.pack(source, tmp_path / "out", workers=0)


@pytest.mark.skipif(os.name != "posix", reason="makes links as POSIX does")
def test_links_and_members_that_may_not_be_read_are_rejected(tmp_path: Path) -> None:
    root = saved(tmp_path / "in", {f"{kind}/{n}.png": (6, 8, 3)[:dims] for n in range(4) for kind, dims in KINDS})
    for name in ("images/1.png", "masks/2.png"):
        (root / name).rename(tmp_path / name.replace("/", "-"))
        (root / name).symlink_to(tmp_path / name.replace("/", "-"))
    (root / "images" / "more").symlink_to(saved(tmp_path / "elsewhere", {"a.png": (6, 8, 3)}))
    # Beside a folder of another name, masks are not told for certain.
    report = kseq.pack(root, tmp_path / "out", workers=0, source_format="masks")
    assert (report.num_found, report.num_samples) == (5, 2)
    reasons = {rejected.path.decode(): rejected.reason for rejected in report.rejected}
    assert reasons.keys() == {"images/1.png", "images/2.png", "images/more"}
    assert_says(reasons["images/2.png"], "masks/2.png", "link")
    followed = kseq.pack(root, tmp_path / "followed", workers=0, follow_links=True, source_format="masks")
    assert (followed.num_found, followed.num_samples) == (5, 4)
    twice = tmp_path / "twice.zip"
    with zipfile.ZipFile(twice, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for name in ("images/0.png", "masks/0.png", "images/3.png", "masks/3.png", "images/3.png"):
            archive.write(root / name, name)
    assert kseq.pack(twice, tmp_path / "of-zip", workers=0).num_found == 3
    with raises(ArgumentError, twice, "follow_links=True"):
        kseq.pack(twice, tmp_path / "of-zip", workers=0, follow_links=True, overwrite=True)


def test_the_bytes_of_a_dataset_do_not_depend_on_where_its_zip_lay(tmp_path: Path) -> None:
    root = saved(tmp_path / "in", {f"{kind}/a.png": (6, 8, 3)[:dims] for kind, dims in KINDS})
    archive = Path(shutil.make_archive(str(root), "zip", root))
    kseq.pack(archive, tmp_path / "one", workers=0)
    kseq.pack(archive.rename(tmp_path / "moved.zip"), tmp_path / "two", workers=0)
    assert (tmp_path / "one" / "index.h5").read_bytes() == (tmp_path / "two" / "index.h5").read_bytes()


def test_a_packing_goes_on_unless_a_mask_was_drawn_again(tmp_path: Path) -> None:
    root = saved(tmp_path / "in", {f"{kind}/{n}.png": (6, 8, 3)[:dims] for n in range(4) for kind, dims in KINDS})
    stamps = open_source(str(root), None, kseq.Columns(), None, None).image_stamps()
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(root / "masks" / "2.png")
    os.utime(root / "masks" / "2.png", (1, 1))
    again = open_source(str(root), None, kseq.Columns(), None, None).image_stamps()
    np.testing.assert_array_equal(stamps != again, [False, False, True, False])


def test_a_part_of_images_and_masks_names_the_whole(tmp_path: Path) -> None:
    root = saved(tmp_path / "in", {"images/a.png": (6, 8, 3), "masks/a.png": (6, 8)})
    with raises(SourceError, root / "images", f"kseq.pack({str(root)!r}"):
        kseq.pack(root / "images", tmp_path / "out", workers=0)


def test_the_command_says_what_it_took_and_adds_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(saved(tmp_path, {f"a/{kind}/{n}.png": (6, 8, 3)[:dims] for n in range(6) for kind, dims in KINDS}))
    saved(tmp_path, {f"b/{kind}/{n}.png": (7, 8, 3)[:dims] for n in range(2) for kind, dims in KINDS})
    assert main(["pack", "a", "out", "--val", "0.5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"] == {"train": 3, "val": 3}
    assert main(["append", "out", "b"]) == 0
    assert main(["pack", "a", "other", "--dry-run", "--mask", "shape=mask"]) == 0
    assert_says(" ".join(capsys.readouterr().out.split()), "images/0.png", "masks/0.png", "--from folder")
    assert len(kseq.ShardDataset("out")) == 8
    monkeypatch.chdir(tmp_path / "a")
    assert main(["pack"]) == 0
    assert_says(" ".join(capsys.readouterr().out.split()), "kseq pack . ../a-packed --val 0.2")


@pytest.mark.parametrize(("values", "is_told"), [((0, 255), True), ((0, 1), False), ((0, 1, 255), False), ((255,), False)])
def test_masks_of_black_and_white_are_kept_and_told_with_what_makes_classes_of_them(
    tmp_path: Path, values: tuple[int, ...], is_told: bool
) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "in" / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    drawn = rng.choice(np.array(values, np.uint8), (20, 30))
    Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(tmp_path / "in/images/a.png")
    Image.fromarray(drawn).save(tmp_path / "in/masks/a.png")
    report = kseq.pack(tmp_path / "in", tmp_path / "out", workers=0)
    assert any("BatchFunction" in note for note in report.image_notes) is is_told
    with kseq.ShardDataset(tmp_path / "out") as dataset:
        assert np.array_equal(dataset[0]["mask"][..., 0], drawn)
    if is_told:
        halved = kseq.BatchFunction(lambda batch: {"mask": batch["mask"] // 255})
        masks = kseq.ShardSequence(tmp_path / "out", batch_size=1, augment=halved)[0][1]
        assert np.array_equal(masks[0, ..., 0], drawn // 255)
