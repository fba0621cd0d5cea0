"""Exports: a dataset back to image files, tars and TFRecords, which other tools read and kseq packs again."""

from __future__ import annotations

import errno
import io
import json
import os
import shlex
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import kseq
from kseq.editing.transaction import begin_transaction
from kseq.errors import ArgumentError, DamagedError, DatasetExistsError, WriteError
from kseq.exporting.export import EXPORT_FORMATS
from kseq.exporting.folder import _kept_name
from kseq.images.formats import JPEG, PNG, FileFormat
from kseq.reading.dataset import sample_reader
from kseq_tools.main import main
from tests.helpers.messages import assert_says, raises
from tests.helpers.photos import FAST_DCT, photo, write_numbered, write_photos
from tests.helpers.processes import RunPython


def tree(folder: Path) -> dict[bytes, bytes]:
    """Path below a folder to content, of all files in it."""
    top = os.fsencode(folder)
    found = {}
    for place, _, names in os.walk(top):
        for name in names:
            path = os.path.join(place, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, top)] = file.read()
    return found


def pack_again(report: kseq.ExportReport, dataset: Path) -> None:
    """What the report says packs it again, into a dataset in its place."""
    words = shlex.split(report.pack_command)
    assert words[:2] == ["kseq", "pack"]
    words[words.index("DATASET")] = str(dataset)
    assert main([*words[1:], "--workers", "0"]) == 0


def checksums(path: Path) -> dict[str, list[int]]:
    """Split name to the checksum of each sample's stored bytes: of images, labels and all that it holds."""
    found = {}
    for split in kseq.ShardDataset(path).splits:
        dataset = kseq.ShardDataset(path, split)
        places = sample_reader(dataset).locate(dataset.sample_ids(np.arange(len(dataset))))
        found[split] = [int(reader.array("checksum")[row]) for reader, row in places]
    return found


def write_odd_photos(folder: Path) -> None:
    """Photos in two classes, with all that names and files may be: no UTF-8, a newline, EXIF, PNG, JPEG called PNG, WebP."""
    write_photos(folder, {"cat": 6, "dog": 4})
    pixels = Image.fromarray(photo(99, 30, 20))
    turned = Image.Exif()
    turned[0x0112] = 6
    pixels.save(folder / "cat" / "turned.JPEG", exif=turned)
    pixels.save(folder / "dog" / "plain.png")
    pixels.save(folder / "dog" / "is a jpeg.png", "JPEG")
    pixels.save(folder / "dog" / "lossless.webp", lossless=True)
    (folder / "dog" / "deep,er").mkdir()
    for name in (b"\xff\xfe.jpg", b'new\nline, "quoted" .jpg', b"deep,er/a.jpg"):
        shutil.copy(folder / "cat" / "00000.jpg", os.path.join(os.fsencode(folder / "dog"), name))


@pytest.mark.parametrize("below", [("",), ("train", "val", "test")], ids=["classes", "splits"])
def test_a_folder_that_is_packed_exported_and_packed_again_has_the_same_digest(tmp_path: Path, below: tuple[str, ...]) -> None:
    for split in below:
        write_odd_photos(tmp_path / "photos" / split)
    options: dict[str, Any] = {"workers": 0, **({"val": 0.25, "seed": 3} if len(below) == 1 else {})}
    kseq.pack(tmp_path / "photos", tmp_path / "a", **options)
    report = kseq.export(tmp_path / "a", tmp_path / "out")
    kseq.pack(tmp_path / "out", tmp_path / "b", **options)
    pack_again(report, tmp_path / "c")
    digest = kseq.ShardDataset(tmp_path / "a").digest
    assert kseq.ShardDataset(tmp_path / "b").digest == digest
    assert kseq.ShardDataset(tmp_path / "c").digest == digest
    found = tree(tmp_path / "out")
    del found[b"samples.csv"]
    originals = tree(tmp_path / "photos")
    assert found.keys() == originals.keys()
    # That one was stored as PNG.
    assert {name for name in found if found[name] != originals[name]} == {name for name in found if name.endswith(b".webp")}
    assert (report.num_samples, report.num_files) == (len(found), len(found) + 1)
    assert report.num_bytes == sum(map(len, found.values())) + (tmp_path / "out" / "samples.csv").stat().st_size


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of samples that hold all that there is, in three splits; sample ids are what their heights say."""
    root = tmp_path_factory.mktemp("everything")
    write_photos(root / "photos", {"cat": 9, "dog": 9})
    lines = []
    for number, path in enumerate(sorted((root / "photos").rglob("*.jpg"))):
        with Image.open(path) as image:
            Image.fromarray(np.full(image.size[::-1], number, np.uint8)).save(root / f"{number}.png")
        # The first of the first file that is exported, number 2, has no topics: it still has to say that there is such a field.
        row = {
            "image": str(path.relative_to(root)),
            "label": path.parent.name,
            "part": ("val", "train", "test")[number % 3],
            "outline": f"{number}.png",
            "boxes": [[1.5, 2, 20.1, 30 + step] for step in range(number % 3)],
            "kinds": ["bee", "a|b"][: number % 3],
            "topics": ["ünter|weg", "garden"][number % 2 :] if number % 4 != 2 else [],
            "height": number,
            "big": 10**18 + number,
            "ratio": 0.1 * number,
            "vector": [number, 0.3],
            "matrix": [[1, 2.5], [number, 4]],
            "some": [0.5] * (number % 3),
            "single": [number + 0.5],
            "words": f'  [{number}], "a"|b\n\udcff nan  ' if number else "",
            "importance": number / 3,
        }
        lines.append(json.dumps(row))
    (root / "all.jsonl").write_text("\n".join(lines))
    targets = ["topics", "height", "big", "ratio", "vector", "matrix", "some", "single"]
    columns = kseq.Columns(
        mask="outline",
        boxes="boxes",
        box_labels="kinds",
        text="words",
        split="part",
        targets=targets,
        sample_weight="importance",
    )
    kseq.pack(root / "all.jsonl", root / "packed", columns=columns, workers=0)
    return root / "packed"


@pytest.mark.parametrize("split", [None, "test"])
@pytest.mark.parametrize("kind", EXPORT_FORMATS)
def test_all_that_samples_hold_comes_back_by_the_command_in_the_report(
    everything: Path, tmp_path: Path, kind: str, split: str | None
) -> None:
    report = kseq.export(everything, tmp_path / "out", format=kind, split=split)
    pack_again(report, tmp_path / "again")
    expected, found = kseq.ShardDataset(everything), kseq.ShardDataset(tmp_path / "again")
    assert found.splits == (expected.splits if split is None else {split: 6})
    assert found.fields.keys() == expected.fields.keys()
    assert found.class_names == expected.class_names
    assert checksums(tmp_path / "again") == {name: sums for name, sums in checksums(everything).items() if name in found.splits}
    assert report.splits == found.splits
    assert kseq.verify(tmp_path / "again").damaged == []


@pytest.mark.parametrize("kind", EXPORT_FORMATS)
def test_several_images_come_back_under_their_names(tmp_path: Path, kind: str) -> None:
    rows = []
    for number in range(4):
        # Of both kinds, which end differently.
        for side, suffix in (("left", ".jpg" if number % 2 else ".png"), ("path", ".png")):
            Image.fromarray(photo(10 * number + len(side), 20, 30)).save(tmp_path / f"{side}{number}{suffix}")
        rows.append(f"left{number}{'.jpg' if number % 2 else '.png'},path{number}.png,cat")
    (tmp_path / "pairs.csv").write_text("left,path,label\n" + "\n".join(rows))
    kseq.pack(tmp_path / "pairs.csv", tmp_path / "a", columns=kseq.Columns(image=["left", "path"], label="label"), workers=0)
    pack_again(kseq.export(tmp_path / "a", tmp_path / "out", format=kind), tmp_path / "b")
    assert list(kseq.ShardDataset(tmp_path / "b").fields) == ["left", "label", "path"]
    assert checksums(tmp_path / "b") == checksums(tmp_path / "a")


@pytest.mark.parametrize("kind", EXPORT_FORMATS)
@pytest.mark.parametrize("image", ["front", {"photo": "front"}, {"front": "front"}])
@pytest.mark.parametrize("mask", ["lesion_mask", {"mask": "lesion_mask"}, {"image_shape": "lesion_mask"}])
def test_an_image_and_a_mask_come_back_under_their_names(tmp_path: Path, kind: str, image: Any, mask: Any) -> None:
    rows = []
    for number in range(3):
        Image.fromarray(photo(number, 20, 30)).save(tmp_path / f"{number}.jpg")
        Image.fromarray(np.full((20, 30), number, np.uint8)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.jpg,{number}.png")
    (tmp_path / "t.csv").write_text("front,lesion_mask\n" + "\n".join(rows))
    kseq.pack(tmp_path / "t.csv", tmp_path / "a", columns=kseq.Columns(image=image, mask=mask, label=""), workers=0)
    names = ["image" if image == "front" else next(iter(image)), mask if isinstance(mask, str) else next(iter(mask))]
    assert list(kseq.ShardDataset(tmp_path / "a").fields) == names
    pack_again(kseq.export(tmp_path / "a", tmp_path / "out", format=kind), tmp_path / "b")
    assert list(kseq.ShardDataset(tmp_path / "b").fields) == names
    assert checksums(tmp_path / "b") == checksums(tmp_path / "a")


@pytest.mark.parametrize("kind", EXPORT_FORMATS)
def test_raw_pixels_come_back_from_png(numbered: Path, tmp_path: Path, kind: str) -> None:
    report = kseq.export(numbered, tmp_path / "out", format=kind)
    pack_again(report, tmp_path / "again")
    for split in ("train", "val"):
        before, after = (kseq.ShardDataset(path, split) for path in (numbered, tmp_path / "again"))
        expected, found = (dataset.read(range(len(dataset))) for dataset in (before, after))
        np.testing.assert_array_equal(found["image"], expected["image"])
        np.testing.assert_array_equal(found["label"], expected["label"])
        assert after.class_names == before.class_names


def test_raw_pixels_are_files_that_say_what_they_are(photos: Path, tmp_path: Path) -> None:
    kseq.pack(photos, tmp_path / "raw", images=kseq.ImageSettings("raw", (8, 8)), workers=0)
    kseq.export(tmp_path / "raw", tmp_path / "out")
    with Image.open(tmp_path / "out" / "cat" / "00003.png") as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), kseq.ShardDataset(tmp_path / "raw")[3]["image"])


def test_jpegs_made_by_packing_come_back_as_they_are(photos: Path, tmp_path: Path) -> None:
    kseq.pack(photos, tmp_path / "a", images=kseq.ImageSettings("jpeg", max_side=30), val=0.1, workers=0)
    pack_again(kseq.export(tmp_path / "a", tmp_path / "out"), tmp_path / "b")
    assert checksums(tmp_path / "b") == checksums(tmp_path / "a")


def test_the_webdataset_package_reads_the_tars(packed_photos: Path, tmp_path: Path) -> None:
    kseq.export(packed_photos, tmp_path / "out", format="webdataset", file_bytes=30_000)
    tars = sorted(str(path) for path in (tmp_path / "out").glob("val-*.tar"))
    assert [Path(tar).name for tar in tars] == [f"val-{number:06d}.tar" for number in range(len(tars))]
    assert len(tars) > 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = list(webdataset.WebDataset(tars, shardshuffle=False).decode("rgb8"))
    val = kseq.ShardDataset(packed_photos, "val")
    assert [int(sample["__key__"]) for sample in samples] == val.sample_ids(np.arange(len(val))).tolist()
    for number, entry in enumerate(samples):
        assert np.abs(entry["jpg"].astype(int) - val[number]["image"]).max() <= FAST_DCT
        assert entry["cls"] == val[number]["label"]
        assert entry["json"] == {"source": val.source(number), "label": val.class_names[entry["cls"]]}


def test_tensorflow_reads_the_records(everything: Path, tmp_path: Path) -> None:
    kseq.export(everything, tmp_path / "out", format="tfrecord", split="test")
    test = kseq.ShardDataset(everything, "test")
    lists: dict[str, Any] = {
        **{f"image/object/bbox/{side}": tf.io.VarLenFeature(tf.float32) for side in ("xmin", "ymin", "xmax", "ymax")},
        "image/object/class/label": tf.io.VarLenFeature(tf.int64),
        "image/object/class/text": tf.io.VarLenFeature(tf.string),
    }
    single = {"image/encoded": tf.string, "image/format": tf.string, "image/filename": tf.string, "image/class/text": tf.string}
    single |= {"image/segmentation/class/encoded": tf.string, "sample_weight": tf.float32, "text": tf.string}
    single |= dict.fromkeys(("image/class/label", "image/height", "image/width", "height"), tf.int64)
    features = lists | {name: tf.io.FixedLenFeature((), dtype) for name, dtype in single.items()}
    features["vector"] = tf.io.FixedLenFeature((2,), tf.float32)
    records = list(tf.data.TFRecordDataset([str(path) for path in (tmp_path / "out").glob("*.tfrecord")]))
    assert len(records) == len(test)
    for number, record in enumerate(records):
        found, sample = tf.io.parse_single_example(record, features), test[number]
        height, width, _ = sample["image"].shape
        assert found["image/encoded"].numpy() == test.stored_bytes(number)
        assert found["image/format"].numpy() == b"jpeg"
        assert (found["image/height"], found["image/width"]) == (height, width)
        np.testing.assert_array_equal(tf.io.decode_png(found["image/segmentation/class/encoded"]), sample["outline"])
        sides = [found[f"image/object/bbox/{side}"].values.numpy() for side in ("xmin", "ymin", "xmax", "ymax")]
        np.testing.assert_allclose(np.stack(sides, 1) * [width, height, width, height], sample["boxes"], rtol=1e-6)
        assert found["image/object/class/label"].values.numpy().tolist() == sample["labels"].tolist()
        assert found["image/filename"].numpy().decode() == test.source(number)
        assert (found["image/class/label"], found["height"]) == (sample["label"], sample["height"])
        assert found["text"].numpy() == test.stored_bytes(number, "text")
        np.testing.assert_array_equal(found["vector"], sample["vector"])


@pytest.mark.parametrize("kind", EXPORT_FORMATS)
def test_the_same_samples_make_the_same_bytes(everything: Path, tmp_path: Path, kind: str) -> None:
    for name in ("a", "b"):
        kseq.export(everything, tmp_path / name, format=kind)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_samples_that_were_dropped_are_left_out_and_ids_stay(numbered: Path, tmp_path: Path) -> None:
    shutil.copytree(numbered, tmp_path / "packed")
    with begin_transaction(tmp_path / "packed") as change:
        dropped = np.array([0, 17, 99], "<u8")
        splits = {name: np.setdiff1d(ids, dropped) for name, ids in change.index.splits.items()}
        change.publish("dropped some", dropped=dropped, splits=splits)
    report = kseq.export(tmp_path / "packed", tmp_path / "out", format="webdataset")
    assert report.num_samples == 97
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tars = sorted(str(path) for path in (tmp_path / "out").iterdir())
        found = {int(shard["__key__"]) for shard in webdataset.WebDataset(tars, shardshuffle=False)}
    assert found == set(range(100)) - {0, 17, 99}


def test_samples_of_several_splits_are_written_once_and_those_of_none_as_the_rest(numbered: Path, tmp_path: Path) -> None:
    shutil.copytree(numbered, tmp_path / "packed")
    with begin_transaction(tmp_path / "packed") as change:
        folds = {"fold0-val": np.array([3, 2, 3, 1]), "fold0-train": np.arange(3, 60), "train": np.array([59])}
        change.publish("folds", splits=folds)
    report = kseq.export(tmp_path / "packed", tmp_path / "out", format="tfrecord")
    assert report.splits == {"train": 1, "fold0-train": 56, "fold0-val": 2}
    names = {entry.decode() for entry in tree(tmp_path / "out")}
    assert names == {f"{name}-000000.tfrecord" for name in (*folds, "rest")}
    report = kseq.export(tmp_path / "packed", tmp_path / "fold", split="fold0-val")
    assert (report.num_samples, report.splits) == (3, {"fold0-val": 3})
    assert (tmp_path / "fold" / "samples.csv").read_text().splitlines() == [
        "path,split,label",
        *(f"a/0000{number}.png,,a" for number in (1, 2, 3)),
    ]


def test_classes_that_would_be_numbered_otherwise_are_in_the_command(photos: Path, tmp_path: Path) -> None:
    kseq.pack(photos, tmp_path / "a", class_names=["dog", "cat"], workers=0)
    report = kseq.export(tmp_path / "a", tmp_path / "out")
    assert report.pack_command.endswith(" --class-names dog cat")
    pack_again(report, tmp_path / "b")
    assert kseq.ShardDataset(tmp_path / "b").digest == kseq.ShardDataset(tmp_path / "a").digest


def test_a_sample_that_was_given_another_label_lies_in_the_folder_of_its_class(photos: Path, tmp_path: Path) -> None:
    kseq.pack(photos, tmp_path / "a", workers=0)
    (tmp_path / "new.csv").write_text("id,label\n0,dog\n59,cat\n")
    kseq.relabel(tmp_path / "a", tmp_path / "new.csv")
    report = kseq.export(tmp_path / "a", tmp_path / "out")
    assert {b"dog/00000000.jpg", b"cat/00000059.jpg", b"cat/00001.jpg"} < tree(tmp_path / "out").keys()
    pack_again(report, tmp_path / "b")
    kseq.pack(tmp_path / "out", tmp_path / "c", workers=0)
    before, after = (kseq.ShardDataset(tmp_path / name) for name in ("a", "b"))
    np.testing.assert_array_equal(after.values("label"), before.values("label"))
    again = kseq.ShardDataset(tmp_path / "c")
    assert [len(again.where(label=name)) for name in ("cat", "dog")] == [40, 20]
    for number in range(60):
        assert again.source(number).split("/")[0] == again.class_names[again[number]["label"]]


def test_a_sample_that_was_given_to_another_split_lies_in_the_folder_of_its_split(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write_photos(tmp_path / "photos" / split, {"cat": 3})
    kseq.pack(tmp_path / "photos", tmp_path / "a", workers=0)
    with begin_transaction(tmp_path / "a") as change:
        change.publish("split", splits={"train": np.array([1, 2, 3]), "val": np.array([0, 4, 5])})
    kseq.export(tmp_path / "a", tmp_path / "out")
    moved = {b"val/cat/00000000.jpg", b"train/cat/00000003.jpg"}
    stay = {b"train/cat/00001.jpg", b"train/cat/00002.jpg", b"valid/cat/00001.jpg", b"valid/cat/00002.jpg"}
    assert tree(tmp_path / "out").keys() == {*moved, *stay, b"samples.csv"}


def test_names_that_no_file_below_a_folder_can_have_give_way_to_class_and_id(tmp_path: Path) -> None:
    write_numbered(tmp_path / "beside", {"x": 5})
    (tmp_path / "photos" / ".hidden").mkdir(parents=True)
    (tmp_path / "photos" / "train.tar").mkdir()
    paths = ["../beside/x/00000.png", f"{tmp_path}/beside/x/00001.png", ".hidden/a.png", "train.tar/b.png", "no suffix"]
    for number, path in enumerate(paths[2:], start=2):
        shutil.copy(tmp_path / "beside" / "x" / f"{number:05d}.png", tmp_path / "photos" / path)
    rows = [f"{path},{kind}" for path, kind in zip(paths, ["cat", "..", "a/b", ".x", "c" * 300], strict=True)]
    (tmp_path / "photos" / "all.csv").write_text("path,label\n" + "\n".join(rows))
    kseq.pack(tmp_path / "photos" / "all.csv", tmp_path / "a", workers=0)
    report = kseq.export(tmp_path / "a", tmp_path / "out")
    folders = ["cat", "0", "2", "1", "4"]
    assert kseq.ShardDataset(tmp_path / "a").class_names == ("..", ".x", "a/b", "cat", "c" * 300)
    wanted = {f"train/{folder}/{number:08d}.png".encode() for number, folder in enumerate(folders)}
    assert tree(tmp_path / "out").keys() == {*wanted, b"samples.csv"}
    pack_again(report, tmp_path / "b")
    assert checksums(tmp_path / "b") == checksums(tmp_path / "a")


def test_a_name_that_is_taken_gives_way_and_no_file_is_written_over(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", {"cat": 2})
    # As a folder and a file cannot both be called; and as the first would be called where its name is taken.
    (tmp_path / "photos" / "samples.csv").mkdir()
    for name in ("samples.csv/a.jpg", "cat/00000002.jpg"):
        shutil.copy(tmp_path / "photos" / "cat" / "00001.jpg", tmp_path / "photos" / name)
    rows = ["cat/00000.jpg,cat", "cat/00000002.jpg,cat", "samples.csv/a.jpg,cat"]
    (tmp_path / "photos" / "all.csv").write_text("path,label\n" + "\n".join(rows))
    kseq.pack(tmp_path / "photos" / "all.csv", tmp_path / "a", workers=0)
    kseq.export(tmp_path / "a", tmp_path / "out")
    assert tree(tmp_path / "out").keys() == {b"cat/00000.jpg", b"cat/00000002.jpg", b"00000002.jpg", b"samples.csv"}


@settings(max_examples=300)
@given(
    source=st.one_of(
        st.binary(max_size=30),
        st.lists(st.sampled_from(["a", "..", ".", "", ".b", "x.tar", "a.jpg", ".jpg", "B.PNG", "\0"]), max_size=4).map(
            lambda parts: "/".join(parts).encode()
        ),
    ),
    file_format=st.sampled_from([JPEG, PNG]),
    keeps=st.booleans(),
)
def test_no_name_leads_out_of_the_folder(source: bytes, file_format: FileFormat, keeps: bool) -> None:
    name = _kept_name(source, file_format.suffixes, keeps)
    if name is not None:
        assert os.path.normpath(name) == name
        assert not name.startswith((b"/", b".")) and b"/." not in name and b"\0" not in name
        assert name == source or not keeps
        assert name.lower().endswith((b".jpg", b".jpeg", b".png", b".bmp", b".gif", b".webp", b".tif", b".tiff"))


def test_what_is_refused_before_anything_is_written(packed_photos: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with raises(DatasetExistsError, "there"):
        kseq.export(packed_photos, tmp_path / "there")
    with raises(ArgumentError, "'tset'", "train", "val", "all"):
        kseq.export(packed_photos, tmp_path / "out", split="tset")
    with raises(ArgumentError, "format='zip'", "folder", "webdataset", "tfrecord"):
        kseq.export(packed_photos, tmp_path / "out", format="zip")
    with raises(ArgumentError, "file_bytes=5"):
        kseq.export(packed_photos, tmp_path / "out", file_bytes=5)
    with raises(ArgumentError, packed_photos):
        kseq.export(packed_photos, packed_photos / "out")
    assert os.listdir(tmp_path) == ["there"]


@pytest.mark.parametrize("kind", EXPORT_FORMATS)
def test_a_disk_that_refuses_is_one_line_and_leaves_nothing(
    photos: Path, tmp_path: Path, kind: str, run_python: RunPython
) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)).save(tmp_path / "noise.png")
    (tmp_path / "all.csv").write_text(f"path,label\n{photos}/cat/00000.jpg,cat\nnoise.png,noise\n")
    kseq.pack(tmp_path / "all.csv", tmp_path / "a", workers=0)
    code = """
import resource, signal, sys
from kseq_tools.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
sys.exit(main(["export", *sys.argv[1:]]))
"""
    done = run_python(code, tmp_path / "a", tmp_path / "out", "--to", kind, check=False)
    assert done.returncode == 1
    assert_says(done.stderr, "kseq", tmp_path / "out", os.strerror(errno.EFBIG))
    assert sorted(os.listdir(tmp_path)) == ["a", "all.csv", "noise.png"]


def test_a_folder_that_nobody_may_write_to_is_one_line(packed_photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with raises(WriteError, "file/out", "Not a directory"):
        kseq.export(packed_photos, tmp_path / "file" / "out")


@pytest.mark.parametrize("kind", EXPORT_FORMATS)
def test_an_export_that_is_interrupted_leaves_nothing(packed_photos: Path, tmp_path: Path, kind: str) -> None:
    def interrupt(done: int, total: int) -> None:
        assert total == 60
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kseq.export(packed_photos, tmp_path / "out", format=kind, progress=interrupt)
    assert os.listdir(tmp_path) == []


def test_a_sample_whose_bytes_have_changed_is_not_exported(packed_photos: Path, tmp_path: Path) -> None:
    shutil.copytree(packed_photos, tmp_path / "packed")
    stored = kseq.ShardDataset(packed_photos).stored_bytes(2)
    shard = tmp_path / "packed" / "shard-00000.h5"
    data = bytearray(shard.read_bytes())
    data[data.index(stored) + len(stored) // 2] ^= 1
    shard.write_bytes(data)
    with raises(DamagedError, "row 2"):
        kseq.export(tmp_path / "packed", tmp_path / "out")
    assert os.listdir(tmp_path) == ["packed"]


def test_several_images_are_beside_each_other(photos: Path, tmp_path: Path) -> None:
    rows = [f"{photos}/cat/{number:05d}.jpg,{photos}/dog/{number + 40:05d}.jpg,{number}" for number in range(3)]
    (tmp_path / "pairs.csv").write_text("left,right,label\n" + "\n".join(rows))
    kseq.pack(tmp_path / "pairs.csv", tmp_path / "a", columns=kseq.Columns(image=["left", "right"], label="label"), workers=0)
    for kind in ("folder", "tfrecord"):
        pack_again(kseq.export(tmp_path / "a", tmp_path / kind, format=kind), tmp_path / f"{kind}-again")
        assert checksums(tmp_path / f"{kind}-again") == checksums(tmp_path / "a")
    kseq.export(tmp_path / "a", tmp_path / "tars", format="webdataset")
    (tar,) = (tmp_path / "tars").iterdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, shard in enumerate(webdataset.WebDataset(str(tar), shardshuffle=False)):
            assert shard["right.jpg"] == (photos / "dog" / f"{number + 40:05d}.jpg").read_bytes()


def test_the_command_says_what_it_wrote(packed_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(packed_photos), str(tmp_path / "out"), "--split", "val"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"     val\nall   12\n\n12 samples in {tmp_path}/out: 13 files, ")
    assert shown.endswith(
        f"packed again by\n  kseq pack {tmp_path}/out/samples.csv DATASET --image path --label label --split-column split\n"
    )
    assert main(["export", str(packed_photos), str(tmp_path / "tars"), "--to", "webdataset", "--file-bytes", "20K"]) == 0
    assert "train   val" not in capsys.readouterr().err
    with io.BytesIO((tmp_path / "tars" / "train-000000.tar").read_bytes()) as file:
        assert file.read(13) == b"000000000.jpg"


@pytest.mark.parametrize("kind", EXPORT_FORMATS)
def test_fields_come_back_of_their_kind_under_their_names(numbered: Path, tmp_path: Path, kind: str) -> None:
    """Two texts, labels that no sample has, and lists of whole numbers: their cells alone do not tell what they are."""
    shutil.copytree(numbered, tmp_path / "packed")
    rows = [{"id": number, "title": f"[{number}]", "tags": [], "trace": [7] * (number % 3)} for number in range(100)]
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = {
        "text": ("title", "text"),
        "title": ("title", "text"),
        "tags": ("tags", "multi_label"),
        "trace": ("trace", "numbers"),
    }
    for name, (column, field_kind) in fields.items():
        kseq.add_field(tmp_path / "packed", name, tmp_path / "more.jsonl", column=column, kind=field_kind)
    pack_again(kseq.export(tmp_path / "packed", tmp_path / "out", format=kind, split="val"), tmp_path / "again")
    before, after = kseq.ShardDataset(tmp_path / "packed", "val"), kseq.ShardDataset(tmp_path / "again", "val")
    assert {name: after.fields[name] for name in fields} == {name: before.fields[name] for name in fields}
    for name in fields:
        for one, other in zip(before.values(name), after.values(name), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", EXPORT_FORMATS)
def test_names_of_classes_that_cells_take_for_none_come_back_by_the_command(tmp_path: Path, kind: str) -> None:
    write_photos(tmp_path / "photos", {"nan": 2, " x": 2, "a": 2})
    kseq.pack(tmp_path / "photos", tmp_path / "a", workers=0)
    pack_again(kseq.export(tmp_path / "a", tmp_path / "out", format=kind), tmp_path / "b")
    before, after = (kseq.ShardDataset(tmp_path / name, "all") for name in "ab")
    assert (after.class_names, len(after)) == ((" x", "a", "nan"), 6) == (before.class_names, len(before))
    assert sorted(sample["label"] for sample in after) == sorted(sample["label"] for sample in before)
