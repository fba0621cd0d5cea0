"""Datasets that mean harm, with digests that fit: each is refused in one line, before it takes memory, time, or other files."""

from __future__ import annotations

import gc
import io
import json
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageFile

import kseq
from kseq.errors import ArgumentError, DamagedError, FormatError, ImageError, KseqError
from kseq.storage.fields import Field
from kseq.storage.index import Contents, Index
from kseq.storage.index_writer import write_index
from kseq.storage.shard_reader import ShardReader
from kseq.storage.shard_writer import EncodedImage, ShardWriter
from kseq.training.augment import RandomResizedCrop
from kseq.training.batch_maker import BatchMaker
from kseq.training.image_spec import ImageSpec
from kseq.training.transforms import AugmentationList
from tests.helpers.datasets import rewrite_index
from tests.helpers.hostile import exercise, forge_index
from tests.helpers.messages import Parts, assert_says, raises
from tests.helpers.objects import pack_objects, write_objects

Arrays = dict[str, Any]


def edit_json(*names: str, **changes: Any) -> Callable[[Arrays], None]:
    """Changes the first entry of JSON lists, or a JSON object, in arrays of an index."""

    def edit(arrays: Arrays) -> None:
        for name in names:
            value = json.loads(arrays[name].tobytes())
            (value[0] if isinstance(value, list) else value).update(changes)
            arrays[name] = np.frombuffer(json.dumps(value).encode(), np.uint8)

    return edit


def put_text(name: str, text: str) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.update({name: np.frombuffer(text.encode(), np.uint8)})


def put(name: str, place: Any, value: int) -> Callable[[Arrays], None]:
    def edit(arrays: Arrays) -> None:
        arrays[name][place] = value

    return edit


def rename(name: str, other: str) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.update({other: arrays.pop(name)})


def large_pixels(arrays: Arrays) -> None:
    """Images of more than a gigabyte, in files that are said to be as large as it takes."""
    edit_json("fields", "stored_fields", "shard_arrays", shape=[20_000, 20_000, 3])(arrays)
    described = json.loads(arrays["shard_arrays"].tobytes())
    described[0]["shape"] = [None]
    described[[each["name"] for each in described].index("image")]["shape"] = [None, 20_000, 20_000, 3]
    arrays["shard_arrays"] = np.frombuffer(json.dumps(described).encode(), np.uint8)
    arrays["shards/bytes"][:] = 1 << 45


BOTH = ("fields", "stored_fields")
FORGED: dict[str, tuple[Callable[[Arrays], None], type[KseqError], Parts]] = {
    "a split named ..": (rename("splits/val", "splits/.."), FormatError, ("'..'",)),
    "a split with a backslash": (rename("splits/val", "splits/a\\b"), FormatError, (r"'a\\b'",)),
    "a split named all": (rename("splits/val", "splits/all"), FormatError, ("'all'",)),
    "a field named as a path": (edit_json(*BOTH, name="../image"), FormatError, ("'../image'",)),
    "a field named twice": (edit_json(*BOTH, name="label"), FormatError, ("label",)),
    "a field of no kind": (edit_json(*BOTH, kind="code"), FormatError, ("'code'",)),
    "a field of another dtype": (edit_json(*BOTH, dtype=">u1"), FormatError, (">u1",)),
    "a field whose dtype is a list": (edit_json(*BOTH, dtype=["|u1"]), FormatError, ("dtype",)),
    "a field of a negative shape": (edit_json(*BOTH, shape=[-4, 4, 3]), FormatError, ("shape", "[-4, 4, 3]")),
    "a field of a shape of truth values": (edit_json(*BOTH, shape=[True, 4, 3]), FormatError, ("shape",)),
    "a field of a shape beyond all memory": (edit_json(*BOTH, shape=[1 << 30, 1 << 30, 3]), FormatError, ("shape",)),
    "a field that is none": (put_text("fields", "[7]"), FormatError, ("fields",)),
    "fields that nest": (put_text("fields", "[" * 100_000), FormatError, ("fields",)),
    "settings that nest": (put_text("settings", '{"a":' * 100_000), FormatError, ("settings",)),
    "settings that are a list": (put_text("settings", "[]"), FormatError, ("settings",)),
    "settings of no encoding": (edit_json("settings", encoding="gif"), FormatError, ("settings",)),
    "changes that are no texts": (put_text("changes", "[7]"), FormatError, ("changes",)),
    "changes that nest": (put_text("changes", "[" * 100_000), FormatError, ("changes",)),
    "arrays that the fields do not have": (edit_json("shard_arrays", name="other"), FormatError, ("shard_arrays",)),
    "a dtype that the fields do not have": (edit_json("shard_arrays", dtype=">u8"), FormatError, ("shard_arrays",)),
    "pixels beyond the file": (put("shards/offsets", (1, 1), 1 << 40), DamagedError, ("shard-00001.h5", "'image'", 1 << 40)),
    "an offset that runs over": (put("shards/offsets", (1, 1), (1 << 64) - 48), DamagedError, ("shard-00001.h5", "'image'")),
    "an empty array beyond the file": (
        put("shards/offsets", (1, 3), (1 << 63) - 1), DamagedError, ("shard-00001.h5", "'rejected_path/bytes'"),
    ),
    "an array at byte 0": (put("shards/offsets", (1, 1), 0), DamagedError, ("shard-00001.h5", "'image'")),
    "rows beyond the file": (put("shards/lengths", (1, 1), 1 << 60), DamagedError, ("shard-00001.h5", "'image'", 1 << 60)),
    "fewer rows than the shard": (put("shards/lengths", (1, 1), 15), DamagedError, ("shard-00001.h5", "'image'", 15, 16)),
    "a digest beyond the file": (put("shards/digest_offset", 1, 1 << 63), DamagedError, ("shard-00001.h5", 1 << 63)),
    "rows without end": (put("shards/rows", 1, 1 << 62), DamagedError, ("index.h5",)),
    "pixels larger than their file": (large_pixels, DamagedError, ("shard-00000.h5", 1 << 45)),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_refuses_a_forged_index(packed: Path, name: str) -> None:
    edit, family, words = FORGED[name]
    forge_index(packed, edit)
    # What is freed amid a recursion that is too deep cannot say goodbye.
    gc.collect()
    with raises(family, "index.h5" if family is FormatError else "", *words):
        kseq.ShardDataset(packed).settings  # noqa: B018  # settings are parsed when they are asked for


def test_refuses_a_list_of_rejected_files_without_reasons(packed: Path) -> None:
    forge_index(packed, lambda arrays: arrays.update({"rejected_reason/offsets": np.zeros(3, "<u8")}))
    with raises(DamagedError, "index.h5", 0, 2):
        kseq.ShardDataset(packed).rejected()


def test_an_export_writes_only_into_its_folder(packed: Path, tmp_path: Path) -> None:
    forge_index(packed, rename("splits/train", "splits/.."))
    assert any("'..'" in refusal for refusal in exercise(packed, tmp_path / "scratch"))


@pytest.mark.parametrize("size", [None, [], [1, 2, 3], {"a": 1}])
def test_the_command_of_an_export_takes_the_size_of_pixels_from_the_pixels(packed: Path, tmp_path: Path, size: Any) -> None:
    forge_index(packed, edit_json("settings", image_size=size))
    assert "--image-size 4 4" in kseq.export(packed, tmp_path / "exported").pack_command


def with_classes(packed: Path, *names: bytes) -> None:
    """Give the classes a, b and c other names."""

    def edit(arrays: Arrays) -> None:
        arrays["class_names/bytes"] = np.frombuffer(b"".join(names), np.uint8)
        arrays["class_names/offsets"] = np.cumsum([0, *map(len, names)]).astype("<u8")

    forge_index(packed, edit)


@pytest.mark.parametrize("name", [b"..", b"../../x", b"/tmp/x", b".", b"", b"a\0b"])
def test_a_class_whose_name_is_a_path_is_exported_under_its_number(packed: Path, tmp_path: Path, name: bytes) -> None:
    with_classes(packed, name, b"b", b"c")
    out = tmp_path / "there" / "out"
    if b"\0" in name and sys.version_info < (3, 11):
        # Its csv module takes no zero byte.
        with raises(ArgumentError, "a/00000.png", "webdataset"):
            kseq.export(packed, out)
        return
    kseq.export(packed, out)
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["out"]
    assert {path.name for path in out.iterdir()} <= {"a", "b", "c", "0", "samples.csv", "train", "val"}


@pytest.mark.parametrize("label", [-1, 3, 2_000_000_000])
def test_a_label_of_no_class_is_an_error_in_a_batch_and_in_an_export(packed: Path, tmp_path: Path, label: int) -> None:
    ids = np.arange(100)
    labels = kseq.ShardDataset(packed).values("label")
    labels[17] = label
    rewrite_index(packed, columns={"label": labels})
    maker = BatchMaker(kseq.ShardDataset(packed), ["label"], ImageSpec(4, 4))
    with raises(DamagedError, "shard-00001.h5", "row 1", label, 3):
        maker.fill({"label": np.empty(100, "<i4")}, 0, ids, 0)
    with raises(DamagedError, "shard-00001.h5", "row 1", label, 3):
        kseq.export(packed, tmp_path / "out")


@pytest.mark.parametrize("label", [-256, -1, 3, 256, 259])
def test_a_label_of_no_class_is_never_counted_as_another_class(packed: Path, label: int) -> None:
    labels = kseq.ShardDataset(packed).values("label")
    labels[17] = label
    rewrite_index(packed, columns={"label": labels})
    with raises(DamagedError, packed, label, 3 if label == 3 else "uint8"):
        kseq.split(packed, val=0.2)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with boxes and texts."""
    folder = tmp_path_factory.mktemp("objects")
    return pack_objects(write_objects(folder), folder / "packed")


def test_lengths_that_are_too_short_are_an_error_and_not_a_batch(objects: Path, tmp_path: Path) -> None:
    packed = Path(shutil.copytree(objects, tmp_path / "packed"))
    forge_index(packed, put("lengths/boxes", slice(None), 1))
    dataset = kseq.ShardDataset(packed)
    maker = BatchMaker(dataset, ["boxes"], ImageSpec(8, 8))
    arrays = {name: np.empty(spec.shape, spec.dtype) for name, spec in maker.specs(np.arange(3)).items()}
    with raises(DamagedError, "shard-00000.h5", "row 0", "boxes", 2, 1):
        maker.fill(arrays, 0, np.arange(3), 0)
    report = kseq.verify(packed)
    assert len(report.damaged) == dataset.num_shards
    assert_says(report.damaged[0], "shard-00000.h5", "boxes", 2, 1)


@pytest.mark.parametrize("end", [1, 3])
def test_another_number_of_boxes_than_of_their_classes_is_an_error(objects: Path, tmp_path: Path, end: int) -> None:
    packed = Path(shutil.copytree(objects, tmp_path / "packed"))
    place = Index.open(str(packed)).entry(0).arrays["boxes/offsets"].offset + 8
    with open(packed / "shard-00000.h5", "r+b") as file:
        file.seek(place)
        file.write(end.to_bytes(8, "little"))
    maker = BatchMaker(kseq.ShardDataset(packed, verify="never"), ["labels"], ImageSpec(8, 8))
    arrays = {name: np.empty(spec.shape, spec.dtype) for name, spec in maker.specs(np.arange(1)).items()}
    with raises(DamagedError, "shard-00000.h5", "row 0", "boxes", end, "labels", 2):
        maker.fill(arrays, 0, np.arange(1), 0)


@pytest.mark.parametrize("number", [1000, (1 << 32) - 1])
def test_lengths_beyond_the_shard_take_no_memory(objects: Path, tmp_path: Path, number: int) -> None:
    packed = Path(shutil.copytree(objects, tmp_path / "packed"))
    forge_index(packed, put("lengths/boxes", 2, number))
    maker = BatchMaker(kseq.ShardDataset(packed), ["boxes"], ImageSpec(8, 8))
    with raises(DamagedError, "index.h5", "sample 2", "boxes", number):
        maker.specs(np.arange(3))


def test_lengths_of_a_shard_that_is_said_to_be_large_take_no_memory(objects: Path, tmp_path: Path) -> None:
    packed = Path(shutil.copytree(objects, tmp_path / "packed"))

    def edit(arrays: Arrays) -> None:
        names = [each["name"] for each in json.loads(arrays["shard_arrays"].tobytes())]
        arrays["shards/bytes"][0] = 1 << 45
        arrays["shards/lengths"][0, names.index("boxes/values")] = 1 << 30
        arrays["lengths/boxes"][0] = 1 << 30

    forge_index(packed, edit)
    maker = BatchMaker(kseq.ShardDataset(packed), ["boxes"], ImageSpec(8, 8))
    with raises(DamagedError, "shard-00000.h5", 1 << 45):
        maker.specs(np.arange(3))


def test_lengths_of_no_field_are_refused(objects: Path, tmp_path: Path) -> None:
    packed = Path(shutil.copytree(objects, tmp_path / "packed"))
    forge_index(packed, rename("lengths/boxes", "lengths/other"))
    with raises(FormatError, "index.h5", "other"):
        kseq.ShardDataset(packed)


# Images whose header says more than the dataset does.


def png_of(height: int, width: int) -> bytes:
    """A PNG of so many black pixels, of one bit each: a thousandth of them in bytes."""
    rows = zlib.compress(bytes((width + 7) // 8 + 1) * min(height, 2000), 9)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg_of(height: int, width: int) -> bytes:
    """A JPEG that says that it has so many pixels."""
    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, "JPEG")
    data = bytearray(out.getvalue())
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def webp_of(height: int, width: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height)).save(out, "WEBP")
    return out.getvalue()


PHOTO = Field("image", "image", True, "|u1", (None, None, 3))
MASK = Field("mask", "mask", True, "|u1", (None, None, 1))


def dataset_of(folder: Path, images: list[EncodedImage], field: Field = PHOTO) -> Path:
    """A dataset of these images, with digests that fit."""
    fields = (PHOTO,) if field is PHOTO else (PHOTO, field)
    good = EncodedImage(png_of(10, 10), 10, 10)
    folder.mkdir()
    path = str(folder / "shard-00000.h5")
    with ShardWriter.publishing(path, fields, "0" * 32, 0) as writer:
        for number, image in enumerate(images):
            writer.add(b"%d.png" % number, {"image": good, field.name: image})
        writer.finish()
    settings = json.dumps({"encoding": "keep", "color_mode": "rgb", "quality": 90})
    write_index(str(folder), Contents("0" * 32, fields, [], [ShardReader(path, fields).entry(0)], {}, [], settings))
    return folder


BOMBS = {
    "PNG": (png_of(30_000, 30_000), PHOTO),
    "JPEG": (jpeg_of(65_000, 65_000), PHOTO),
    "mask": (png_of(30_000, 30_000), MASK),
}


@pytest.mark.parametrize("form", BOMBS)
@pytest.mark.parametrize("crops", [False, True])
def test_an_image_whose_header_says_another_size_is_never_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, crops: bool
) -> None:
    data, field = BOMBS[form]
    packed = dataset_of(tmp_path / "packed", [EncodedImage(data, 10, 10)], field)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("it was decoded")

    if form != "mask":
        monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    monkeypatch.setattr(simplejpeg, "decode_jpeg", refuse)
    dataset = kseq.ShardDataset(packed)
    side = 65_000 if form == "JPEG" else 30_000
    with raises(ImageError, "shard-00000.h5", "row 0", side, 10):
        dataset[0]
    maker = BatchMaker(dataset, [field.name], ImageSpec(8, 8), AugmentationList([RandomResizedCrop(8)] if crops else []))
    arrays = {name: np.empty(spec.shape, spec.dtype) for name, spec in maker.specs(np.arange(1)).items()}
    with raises(ImageError, "shard-00000.h5", "row 0", side, 10):
        maker.fill(arrays, 0, np.arange(1), 0)


def test_a_format_that_no_dataset_stores_is_not_decoded(tmp_path: Path) -> None:
    packed = dataset_of(tmp_path / "packed", [EncodedImage(webp_of(10, 10), 10, 10)])
    with raises(ImageError, "shard-00000.h5", "row 0", "RIFF", "PNG"):
        kseq.ShardDataset(packed)[0]


@pytest.mark.parametrize("size", [(0, 10), (10, 0), (4_000_000_000, 4_000_000_000)])
def test_sizes_that_no_image_has_are_an_error(tmp_path: Path, size: tuple[int, int]) -> None:
    packed = dataset_of(tmp_path / "packed", [EncodedImage(png_of(10, 10), *size)])
    dataset = kseq.ShardDataset(packed)
    maker = BatchMaker(dataset, ["image"], ImageSpec(8, 8), AugmentationList([RandomResizedCrop(8)]))
    with raises(DamagedError, "shard-00000.h5", "row 0", *size):
        maker.fill({"image": np.empty((1, 8, 8, 3), np.uint8)}, 0, np.arange(1), 0)
    with raises(ImageError, "shard-00000.h5", "row 0", *size):
        dataset[0]


def test_an_orientation_that_exif_does_not_have_is_an_error(tmp_path: Path) -> None:
    packed = dataset_of(tmp_path / "packed", [EncodedImage(png_of(10, 10), 10, 10, orientation=77)])
    with raises(ImageError, "shard-00000.h5", "row 0", 77):
        kseq.ShardDataset(packed)[0]


def test_an_image_that_takes_more_memory_than_there_is_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = dataset_of(tmp_path / "packed", [EncodedImage(png_of(10, 10), 10, 10)])

    def refuse(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    with raises(ImageError, "shard-00000.h5", "row 0", "10 x 10"):
        kseq.ShardDataset(packed)[0]
