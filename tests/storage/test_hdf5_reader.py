"""Reading plain HDF5 files: nothing is believed that the format does not allow."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from kseq.errors import DamagedError, FormatError, KseqError
from kseq.storage.file_arrays import FileArrays
from kseq.storage.hdf5_writer import write_file
from kseq.storage.layout import MOST_ARRAYS
from kseq.storage.opener import opener_for
from tests.helpers.messages import raises
from tests.helpers.plain_hdf5 import ARRAYS, ATTRIBUTES, SCHEMA, header_of, header_refusal, mapped


def test_reads_back_what_was_written(path: str) -> None:
    header = header_of(path)
    assert header.attributes == {**ATTRIBUTES, "complete": 1}
    file = mapped(path)
    assert file.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(file.arrays[name], array, strict=True)
        assert array.size == 0 or not file.arrays[name].flags.writeable


def replace(file: h5py.File, name: str, **settings: object) -> None:
    data = file[name][()]
    del file[name]
    file.create_dataset(name, **{"data": data, **settings})


def soft_link(file: h5py.File) -> None:
    del file["label"]
    file["label"] = h5py.SoftLink("/image")


def external_link(file: h5py.File) -> None:
    del file["label"]
    file["label"] = h5py.ExternalLink("/etc/passwd", "/label")


def linked_group(file: h5py.File) -> None:
    del file["text"]
    file["text"] = h5py.SoftLink("/splits")


def virtual(file: h5py.File) -> None:
    del file["label"]
    layout = h5py.VirtualLayout((4,), "<i4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "label", (4,))
    file.create_virtual_dataset("label", layout)


def compact(file: h5py.File) -> None:
    del file["label"]
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_layout(h5py.h5d.COMPACT)
    h5py.h5d.create(file.id, b"label", h5py.h5t.STD_I32LE, h5py.h5s.create_simple((4,)), create)


def never_written(file: h5py.File) -> None:
    del file["label"]
    file.create_dataset("label", (4,), "<i4")


def date(file: h5py.File) -> None:
    del file["label"]
    h5py.h5d.create(file.id, b"label", h5py.h5t.UNIX_D32LE, h5py.h5s.create_simple((4,)))


def date_attribute(file: h5py.File) -> None:
    h5py.h5a.create(file.id, b"made", h5py.h5t.UNIX_D32LE, h5py.h5s.create(h5py.h5s.SCALAR))


def vlen_attribute(file: h5py.File) -> None:
    file.attrs["made by"] = "someone"


def group_in_a_group(file: h5py.File) -> None:
    file.create_group("text/more")


def loop(file: h5py.File) -> None:
    file["splits/loop"] = file["splits"]


def named_type(file: h5py.File) -> None:
    file["kind"] = np.dtype("u1")


def set_attribute(name: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file.attrs[name] = value

    return change


def set_array(name: str, **settings: object) -> Callable[[h5py.File], None]:
    return lambda file: replace(file, name, **settings)


def remove(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]

    return change


def add(name: str, data: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name] = data

    return change


LINK = "'{}' is a soft or external link, allowed are hard links"
LAYOUT = "'{}' is chunked, compact, virtual, filtered or external, allowed is contiguous"
ATTRIBUTE = "attribute '{}' is {}, allowed is one number or one string"
INTEGER_LABELS = "allowed is int32 (any)"

REFUSED: dict[str, tuple[Callable[[h5py.File], None], type[KseqError], str]] = {
    "soft link": (soft_link, FormatError, LINK.format("label")),
    "external link": (external_link, FormatError, "the group '/' has soft or external links"),
    "linked group": (linked_group, FormatError, LINK.format("text")),
    "chunked": (set_array("label", chunks=(2,)), FormatError, LAYOUT.format("label")),
    "compressed": (set_array("image", compression="gzip"), FormatError, LAYOUT.format("image")),
    "shuffled": (set_array("image", shuffle=True), FormatError, LAYOUT.format("image")),
    "external storage": (set_array("label", external="/etc/passwd"), FormatError, LAYOUT.format("label")),
    "virtual": (virtual, FormatError, LAYOUT.format("label")),
    "compact": (compact, FormatError, LAYOUT.format("label")),
    "vlen strings": (
        set_array("label", data=["a", "b"], dtype=h5py.string_dtype()), FormatError, "'label' is variable-length (2,)",
    ),
    "vlen numbers": (
        set_array("label", data=None, shape=(4,), dtype=h5py.vlen_dtype("i4")), FormatError, "'label' is variable-length (4,)",
    ),
    "object references": (
        set_array("label", data=None, shape=(4,), dtype=h5py.ref_dtype), FormatError, "'label' is reference (4,)",
    ),
    "region references": (
        set_array("label", data=None, shape=(4,), dtype=h5py.regionref_dtype), FormatError, "'label' is reference (4,)",
    ),
    "compound": (set_array("label", data=np.zeros(4, [("a", "<i4")])), FormatError, INTEGER_LABELS),
    "other dtype": (set_array("label", data=np.zeros(4, "<f4")), FormatError, f"'label' is float32 (4,), {INTEGER_LABELS}"),
    "big-endian": (set_array("label", data=np.zeros(4, ">i4")), FormatError, f"'label' is >i4 (4,), {INTEGER_LABELS}"),
    "truth values": (set_array("image", data=np.zeros((4, 3, 2), bool)), FormatError, "'image' is enumeration (4, 3, 2)"),
    "other shape": (
        set_array("image", data=np.zeros((4, 2, 3), np.uint8)), FormatError, "(4, 2, 3), allowed is uint8 (any, 3, 2)",
    ),
    "other rank": (set_array("label", data=np.zeros((4, 1), "<i4")), FormatError, f"'label' is int32 (4, 1), {INTEGER_LABELS}"),
    "other length": (set_array("text/offsets", data=np.zeros(4, "<u8")), FormatError, "uint64 (4,), allowed is uint64 (5)"),
    "one number": (set_array("label", data=np.int32(3)), FormatError, f"'label' is int32 (), {INTEGER_LABELS}"),
    "no value": (set_array("label", data=h5py.Empty("<i4")), FormatError, f"'label' is int32 None, {INTEGER_LABELS}"),
    "unknown name": (add("extra", np.zeros(3)), FormatError, "has an array 'extra', allowed are image, label, text/bytes"),
    "unknown name in a group": (add("text/extra", np.zeros(3)), FormatError, "has an array 'text/extra', allowed are image"),
    "wrong dtype under a free name": (add("splits/x", np.zeros(3)), FormatError, "'splits/x' is float64 (3,), allowed is"),
    "nested group": (group_in_a_group, FormatError, "'text/more' is a group, allowed here is an array"),
    "loop": (loop, FormatError, "'splits/loop' is a group, allowed here is an array"),
    "named type": (named_type, FormatError, "'kind' is a named type, allowed here is an array"),
    "missing array": (remove("label"), FormatError, "has no array 'label', expected is int32 (any)"),
    "missing group": (remove("text"), FormatError, "has no array 'text/bytes', expected is uint8 (any)"),
    "never written": (never_written, DamagedError, "'label' takes 16 bytes from byte 0"),
    "dates": (date, FormatError, f"'label' is date (4,), {INTEGER_LABELS}"),
    "not complete": (set_attribute("complete", np.uint64(0)), DamagedError, "attribute complete is 0, allowed is 1"),
    "vlen attribute": (vlen_attribute, FormatError, ATTRIBUTE.format("made by", "variable-length ()")),
    "array attribute": (set_attribute("more", np.zeros(3, "<u8")), FormatError, ATTRIBUTE.format("more", "uint64 (3,)")),
    "attribute without value": (set_attribute("more", h5py.Empty("<u8")), FormatError, ATTRIBUTE.format("more", "uint64 None")),
    "floating attribute": (set_attribute("version", 1.0), FormatError, ATTRIBUTE.format("version", "float64 ()")),
    "attribute not UTF-8": (set_attribute("format", np.bytes_(b"\xff")), DamagedError, "not an HDF5 file that can be read"),
    "date attribute": (date_attribute, FormatError, ATTRIBUTE.format("made", "date ()")),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_is_not_allowed(path: str, name: str) -> None:
    spoil, family, message = REFUSED[name]
    header_of(path)
    with h5py.File(path, "r+") as file:
        spoil(file)
    error = header_refusal(path)
    assert type(error) is family
    assert message in str(error)


def test_refuses_a_file_without_the_attribute_complete(path: str) -> None:
    with h5py.File(path, "r+") as file:
        del file.attrs["complete"]
    assert "attribute complete is None, allowed is 1: writing it was not finished" in str(header_refusal(path))


def test_a_link_is_refused_before_it_is_followed(path: str, tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    write_file(str(other), ATTRIBUTES, ARRAYS)
    with h5py.File(path, "r+") as file:
        del file["label"]
        file["label"] = h5py.ExternalLink(str(other), "/label")
    with h5py.File(other, "r+"):  # whoever opened it now, through the link, would meet HDF5's lock
        assert "external link" in str(header_refusal(path))


def test_refuses_what_is_not_hdf5_at_all(tmp_path: Path) -> None:
    path = tmp_path / "text.h5"
    path.write_text("This is no HDF5 file.\n" * 200)
    assert isinstance(header_refusal(str(path)), DamagedError)


def test_refuses_a_file_without_a_byte(tmp_path: Path) -> None:
    path = tmp_path / "empty.h5"
    path.touch()
    assert isinstance(header_refusal(str(path)), DamagedError)


def test_refuses_a_file_cut_anywhere(path: str) -> None:
    whole = Path(path).read_bytes()
    for size in range(0, len(whole), 97):
        Path(path).write_bytes(whole[:size])
        assert isinstance(header_refusal(path), DamagedError), size


@pytest.mark.parametrize("base", [1 << 40, (1 << 64) - 512])
def test_refuses_a_file_that_refers_to_bytes_beyond_its_end(path: str, base: int) -> None:
    """The base address, in the superblock, is added to all others."""
    data = bytearray(Path(path).read_bytes())
    offset = 24
    assert data[offset : offset + 8] == bytes(8)
    data[offset : offset + 8] = base.to_bytes(8, "little")
    Path(path).write_bytes(data)
    assert isinstance(header_refusal(path), DamagedError)


@pytest.mark.parametrize("column", [np.zeros(4, ">i4"), h5py.Empty("<i4")], ids=["big-endian", "no value"])
def test_refuses_an_array_of_any_numbers_that_is_not_plain(path: str, column: object) -> None:
    schema = {**SCHEMA, "columns/*": None}
    header_of(path, schema)
    with h5py.File(path, "r+") as file:
        file["columns/x"] = column
    with raises(FormatError, "'columns/x'"):
        header_of(path, schema)


def test_a_file_that_shrank_after_it_was_looked_at_is_not_mapped(path: str) -> None:
    header = header_of(path)
    with open(path, "r+b") as file:
        file.truncate(header.num_bytes - 1)
    with opener_for(path).open(path) as opened, raises(DamagedError, path, header.num_bytes - 1, header.num_bytes):
        FileArrays(opened, header.num_bytes, header.locations)


# Structures that HDF5 itself would not write.


def patch(path: str, signature: bytes, offset: int, size: int, value: int) -> None:
    """Change the number that lies so many bytes after each of a signature."""
    data = bytearray(Path(path).read_bytes())
    place = data.find(signature)
    assert place >= 0
    while place >= 0:
        data[place + offset : place + offset + size] = value.to_bytes(size, "little")
        place = data.find(signature, place + 1)
    Path(path).write_bytes(data)


# Where the numbers lie after the signatures: HDF5 File Format Specification 3.0, III.A.1, III.B and III.D.
PATCHES = {
    "a tree of 65,535 nodes": (b"TREE", 6, 2, 65_535),
    "a tree of 255 levels": (b"TREE", 5, 1, 255),
    "a tree that is its own child": (b"TREE", 32, 8, 136),
    "65,535 links": (b"SNOD", 6, 2, 65_535),
    "a soft link": (b"SNOD", 24, 4, 2),
    "a link of an unknown type": (b"SNOD", 24, 4, 9),
    "a link to nowhere": (b"SNOD", 16, 8, 1 << 62),
    "a link to the superblock": (b"SNOD", 16, 8, 0),
    "a name beyond the heap": (b"SNOD", 8, 8, 1 << 40),
    "a heap of 4 exabytes": (b"HEAP", 8, 8, 1 << 62),
    "a heap at no address": (b"HEAP", 24, 8, (1 << 64) - 1),
}


@pytest.mark.parametrize("name", PATCHES)
@pytest.mark.timeout(20)
def test_refuses_hostile_structures(path: str, name: str) -> None:
    patch(path, *PATCHES[name])
    header_refusal(path)


def tree_node(level: int, child: int, count: int) -> bytes:
    """A node of a group's tree, all of whose children are one and the same."""
    none = (1 << 64) - 1
    return struct.pack("<4sBBHQQ", b"TREE", 0, level, count, none, none) + struct.pack("<QQ", 0, child) * count + bytes(8)


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_refuses_a_tree_whose_few_nodes_are_read_millions_of_times(path: str) -> None:
    data = bytearray(Path(path).read_bytes())
    leaf, middle = data.find(b"TREE"), len(data)
    nodes = tree_node(1, leaf, 2000)
    top = middle + len(nodes)
    data = data.replace(leaf.to_bytes(8, "little"), top.to_bytes(8, "little")) + nodes + tree_node(2, middle, 2000)
    Path(path).write_bytes(data)
    assert "reads" in str(header_refusal(path))


def test_refuses_a_group_that_holds_itself(path: str) -> None:
    with h5py.File(path, "r+") as file:
        file["splits/again"] = file["/"]
    assert "'splits/again' is a group" in str(header_refusal(path))


def test_refuses_an_array_with_thousands_of_header_messages(path: str) -> None:
    with h5py.File(path, "r+") as file:
        for number in range(100):
            file["label"].attrs[f"a{number}"] = number
    assert "messages" in str(header_refusal(path))


@pytest.mark.slow
def test_refuses_more_arrays_than_a_file_may_have(path: str) -> None:
    with h5py.File(path, "r+") as file:
        group = file["splits"]
        array = group["train"]
        for number in range(MOST_ARRAYS):
            group[f"a{number}"] = array
    assert str(MOST_ARRAYS) in str(header_refusal(path))
