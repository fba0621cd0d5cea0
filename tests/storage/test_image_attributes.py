"""The attributes by which viewers know images: those of the HDF5 Image and Palette Specification 1.2, and no others."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import kseq
from kseq.storage.fields import Field
from kseq.storage.shard_reader import ShardReader
from kseq.storage.shard_writer import EncodedImage, ShardWriter

# Table 1 of the specification: the types of attributes, H5T_C_S1 and H5T_NATIVE_UCHAR.
STRINGS = ("CLASS", "IMAGE_VERSION", "IMAGE_SUBCLASS", "INTERLACE_MODE", "DISPLAY_ORIGIN")
# Table 2: what each subclass requires, and what it may not have.
REQUIRED = {
    "IMAGE_GRAYSCALE": {"CLASS": b"IMAGE", "IMAGE_VERSION": b"1.2", "IMAGE_WHITE_IS_ZERO": 0},
    "IMAGE_TRUECOLOR": {"CLASS": b"IMAGE", "IMAGE_VERSION": b"1.2", "INTERLACE_MODE": b"INTERLACE_PIXEL"},
}
NOT_APPLICABLE = {"IMAGE_GRAYSCALE": {"INTERLACE_MODE"}, "IMAGE_TRUECOLOR": {"IMAGE_WHITE_IS_ZERO", "IMAGE_MINMAXRANGE"}}
SUBCLASSES = {1: "IMAGE_GRAYSCALE", 3: "IMAGE_TRUECOLOR", 4: "IMAGE_TRUECOLOR"}

PHOTO = Field("photo", "image", True, "|u1", (None, None, 3))
PLAIN = {
    "two channels": Field("image", "image", False, "|u1", (2, 3, 2)),
    "16 bits": Field("image", "image", False, "<u2", (2, 3, 3)),
    "a mask": Field("mask", "mask", False, "|u1", (2, 3, 1)),
    "a map": Field("depth", "map", False, "<f4", (2, 3, 1)),
    "three small numbers": Field("label", "label", False, "<i4", ()),
}


def raw(channels: int) -> Field:
    return Field("image", "image", False, "|u1", (2, 3, channels))


def write(path: Path, *fields: Field) -> str:
    with ShardWriter.publishing(str(path), fields, "0" * 32, 0) as writer:
        for number in range(5):
            values = {
                field.name: EncodedImage(b"\xff\xd8", 1, 1)
                if field.encoded
                else np.full(tuple(map(int, filter(None, field.shape))), number, field.dtype)
                for field in fields
            }
            writer.add(b"%d" % number, values)
        writer.finish()
    return str(path)


@pytest.mark.parametrize("channels", SUBCLASSES)
def test_raw_images_have_the_attributes_that_the_specification_requires_of_their_subclass(
    channels: int, tmp_path: Path
) -> None:
    with h5py.File(write(tmp_path / "shard.h5", raw(channels), PHOTO)) as file:
        attributes = dict(file["image"].attrs)
        subclass = attributes["IMAGE_SUBCLASS"].decode()
        assert subclass == SUBCLASSES[channels]
        assert REQUIRED[subclass].items() <= attributes.items()
        assert not NOT_APPLICABLE[subclass] & set(attributes)
        assert set(attributes) <= {*STRINGS, "IMAGE_WHITE_IS_ZERO"}
        for name, value in attributes.items():
            entry = file["image"].attrs.get_id(name)
            assert entry.shape == ()
            if name in STRINGS:
                text = entry.get_type()
                assert (text.get_class(), text.get_cset(), text.get_strpad()) == (
                    h5py.h5t.STRING,
                    h5py.h5t.CSET_ASCII,
                    h5py.h5t.STR_NULLTERM,
                )
                assert not text.is_variable_str() and text.get_size() == len(value) + 1
            else:
                assert entry.get_type().equal(h5py.h5t.STD_U8LE)


@pytest.mark.parametrize("name", PLAIN)
def test_an_array_that_no_viewer_shows_as_it_is_has_no_attributes(name: str, tmp_path: Path) -> None:
    field = PLAIN[name]
    with h5py.File(write(tmp_path / "shard.h5", field, PHOTO)) as file:
        assert dict(file[field.name].attrs) == dict(file["photo/bytes"].attrs) == {}


def test_a_shard_is_read_alike_with_the_attributes_without_them_and_with_others(tmp_path: Path) -> None:
    """Shards of an earlier version have none, and another program may add its own."""
    fields = (raw(3), PHOTO)
    path = write(tmp_path / "shard.h5", *fields)
    images = np.array(ShardReader(path, fields).array("image"))
    with h5py.File(path, "r+") as file:
        for name in list(file["image"].attrs):
            del file["image"].attrs[name]
    reader = ShardReader(path, fields)
    assert reader.check_all() == []
    np.testing.assert_array_equal(reader.array("image"), images, strict=True)
    with h5py.File(path, "r+") as file:
        file["image"].attrs["CLASS"] = "of variable length"
    assert ShardReader(path, fields).check_all() == []


def test_the_attributes_change_neither_digests_nor_where_the_pixels_lie(tmp_path: Path) -> None:
    path = write(tmp_path / "shard.h5", raw(3))
    reader = ShardReader(path, (raw(3),))
    with open(path, "rb") as file:
        file.seek(reader.entry(0).arrays["image"].offset)
        assert file.read(2 * 18) == bytes(18) + b"\x01" * 18
    assert write(tmp_path / "again.h5", raw(3)) and (tmp_path / "again.h5").read_bytes() == Path(path).read_bytes()


def test_a_raw_dataset_that_is_packed_can_be_looked_at_and_verified(numbered: Path) -> None:
    for shard in numbered.glob("shard-*.h5"):
        with h5py.File(shard) as file:
            assert file["image"].attrs["CLASS"] == b"IMAGE"
            assert file["label"].attrs.keys() == set()
    assert kseq.verify(str(numbered)).damaged == []
