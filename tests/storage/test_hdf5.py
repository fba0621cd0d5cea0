"""Plain HDF5 files: written the same every time, and nothing believed that the format does not allow."""

from __future__ import annotations

import errno
import io
import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from kseq.errors import DamagedError, DatasetNotFoundError, FormatError, KseqError, ReadError, WriteError
from kseq.storage.atomic import publishing, remove_temporary
from kseq.storage.checksums import arrays_digest
from kseq.storage.hdf5 import ArraySchema, MappedFile, SpooledArray, first_offset, read_file_header, write_file
from kseq.storage.layout import check_version
from kseq.storage.strings import pack_strings, read_string, read_strings, string_schema

ATTRIBUTES: dict[str, int | str] = {"format": "kseq shard", "version": 1, "rows": 4}
ARRAYS = {
    "image": np.arange(24, dtype=np.uint8).reshape(4, 3, 2),
    "label": np.arange(4, dtype="<i4"),
    "text/bytes": np.frombuffer(b"hello", np.uint8),
    "text/offsets": np.array([0, 1, 1, 3, 5], "<u8"),
    "splits/train": np.array([2, 0], "<u8"),
    "splits/val": np.array([], "<u8"),
}
FORMS = {
    "image": ArraySchema("|u1", (None, 3, 2)),
    "label": ArraySchema("<i4", (None,)),
    **string_schema("text", 4),
    "splits/*": ArraySchema("<u8", (None,)),
}


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A small file that is as it should be."""
    name = str(tmp_path / "plain.h5")
    write_file(name, ATTRIBUTES, ARRAYS)
    return name


def refusal(path: str, forms: dict[str, ArraySchema] = FORMS) -> KseqError:
    """The error with which a file is refused: one line that begins with its name."""
    with pytest.raises(KseqError) as caught:
        read_file_header(path, forms)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return caught.value


def test_reads_back_what_was_written(path: str) -> None:
    layout = read_file_header(path, FORMS)
    assert layout.attributes == {**ATTRIBUTES, "complete": 1}
    file = MappedFile(path, layout)
    assert file.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(file.arrays[name], array, strict=True)
        assert array.size == 0 or not file.arrays[name].flags.writeable


def test_every_array_is_contiguous_and_starts_on_a_boundary(path: str) -> None:
    assert {place.offset % 64 for place in read_file_header(path, FORMS).places.values()} == {0}
    with h5py.File(path) as file:
        for name, expected in ARRAYS.items():
            assert file[name].chunks is None and file[name].compression is None
            np.testing.assert_array_equal(file[name][()], expected, strict=True)


def test_writing_twice_gives_the_same_bytes(
    tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    for name in ("one.h5", "two.h5"):
        write_file(str(tmp_path / name), ATTRIBUTES, ARRAYS)
    code = (
        "import sys\n"
        "from tests.storage.test_hdf5 import ARRAYS, ATTRIBUTES, write_file\n"
        "write_file(sys.argv[1], ATTRIBUTES, ARRAYS)"
    )
    run_python(code, tmp_path / "three.h5")
    assert len({(tmp_path / name).read_bytes() for name in ("one.h5", "two.h5", "three.h5")}) == 1


def test_an_array_from_a_spool_is_the_array_itself(tmp_path: Path) -> None:
    spools: dict[str, np.ndarray | SpooledArray] = {}
    for number, (name, array) in enumerate(ARRAYS.items()):
        (tmp_path / str(number)).write_bytes(array.tobytes())
        spools[name] = SpooledArray(str(tmp_path / str(number)), array.dtype.str, array.shape)
    target = str(tmp_path / "spooled.h5")
    write_file(target, ATTRIBUTES, spools)
    file = MappedFile(target, read_file_header(target, FORMS))
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(file.arrays[name], array, strict=True)
        assert read_file_header(target, FORMS).places[name].offset % 64 == 0


@given(rows=st.integers(0, 300), name=st.sampled_from(["image", "image/bytes"]), more=st.integers(1, 3))
def test_a_spool_that_begins_where_its_array_will_lie_becomes_the_file(rows: int, name: str, more: int) -> None:
    images = np.arange(rows * 70, dtype=np.uint8).reshape(rows, 7, 10)
    others = {f"other/{number}": np.arange(rows, dtype="<u8") for number in range(more)}
    with tempfile.TemporaryDirectory() as folder:
        copied, target, spool = (os.path.join(folder, each) for each in ("copied", "target", "spool"))
        begin = first_offset({**ATTRIBUTES, "rows": 0}, name, "|u1", (7, 10))
        for path, place in ((copied, 0), (target, begin)):
            with open(spool, "wb") as file:
                file.seek(place)
                file.write(images.tobytes())
            write_file(path, ATTRIBUTES, {name: SpooledArray(spool, "|u1", images.shape, place), **others})
            assert not rows or os.path.exists(spool) == (path == copied)
        with open(copied, "rb") as one, open(target, "rb") as other:
            assert one.read() == other.read()
        with h5py.File(target) as file:
            np.testing.assert_array_equal(file[name][()], images, strict=True)


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
    "external link": (external_link, FormatError, LINK.format("label")),
    "linked group": (linked_group, FormatError, LINK.format("text")),
    "chunked": (set_array("label", chunks=(2,)), FormatError, LAYOUT.format("label")),
    "compressed": (set_array("image", compression="gzip"), FormatError, LAYOUT.format("image")),
    "shuffled": (set_array("image", shuffle=True), FormatError, LAYOUT.format("image")),
    "external storage": (set_array("label", external="/etc/passwd"), FormatError, LAYOUT.format("label")),
    "virtual": (virtual, FormatError, LAYOUT.format("label")),
    "compact": (compact, FormatError, LAYOUT.format("label")),
    "vlen strings": (
        set_array("label", data=["a", "b"], dtype=h5py.string_dtype()), FormatError, "'label' is object (2,), allowed is int32",
    ),
    "vlen numbers": (
        set_array("label", data=None, shape=(4,), dtype=h5py.vlen_dtype("i4")), FormatError, "'label' is object (4,)",
    ),
    "object references": (
        set_array("label", data=None, shape=(4,), dtype=h5py.ref_dtype), FormatError, "'label' is object (4,)",
    ),
    "region references": (
        set_array("label", data=None, shape=(4,), dtype=h5py.regionref_dtype), FormatError, "'label' is object (4,)",
    ),
    "compound": (set_array("label", data=np.zeros(4, [("a", "<i4")])), FormatError, INTEGER_LABELS),
    "other dtype": (set_array("label", data=np.zeros(4, "<f4")), FormatError, f"'label' is float32 (4,), {INTEGER_LABELS}"),
    "big-endian": (set_array("label", data=np.zeros(4, ">i4")), FormatError, f"'label' is >i4 (4,), {INTEGER_LABELS}"),
    "truth values": (set_array("image", data=np.zeros((4, 3, 2), bool)), FormatError, "'image' is bool (4, 3, 2)"),
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
    "named type": (named_type, FormatError, "'kind' is a datatype, allowed here is an array"),
    "missing array": (remove("label"), FormatError, "has no array 'label', expected is int32 (any)"),
    "missing group": (remove("text"), FormatError, "has no array 'text/bytes', expected is uint8 (any)"),
    "never written": (never_written, DamagedError, "'label' takes 16 bytes from byte 0"),
    "dates": (date, DamagedError, "not an HDF5 file that can be read"),
    "not complete": (set_attribute("complete", np.uint64(0)), DamagedError, "attribute complete is 0, allowed is 1"),
    "vlen attribute": (vlen_attribute, FormatError, ATTRIBUTE.format("made by", "object ()")),
    "array attribute": (set_attribute("more", np.zeros(3, "<u8")), FormatError, ATTRIBUTE.format("more", "uint64 (3,)")),
    "attribute without value": (set_attribute("more", h5py.Empty("<u8")), FormatError, ATTRIBUTE.format("more", "uint64 None")),
    "floating attribute": (set_attribute("version", 1.0), FormatError, ATTRIBUTE.format("version", "float64 ()")),
    "attribute not UTF-8": (set_attribute("format", np.bytes_(b"\xff")), DamagedError, "not an HDF5 file that can be read"),
    "date attribute": (date_attribute, DamagedError, "not an HDF5 file that can be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_is_not_allowed(path: str, name: str) -> None:
    spoil, family, message = REFUSED[name]
    read_file_header(path, FORMS)
    with h5py.File(path, "r+") as file:
        spoil(file)
    error = refusal(path)
    assert type(error) is family
    assert message in str(error)


def test_refuses_a_file_without_the_attribute_complete(path: str) -> None:
    with h5py.File(path, "r+") as file:
        del file.attrs["complete"]
    assert "attribute complete is None, allowed is 1: writing it was not finished" in str(refusal(path))


def test_a_link_is_refused_before_it_is_followed(path: str, tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    write_file(str(other), ATTRIBUTES, ARRAYS)
    with h5py.File(path, "r+") as file:
        del file["label"]
        file["label"] = h5py.ExternalLink(str(other), "/label")
    with h5py.File(other, "r+"):  # whoever opened it now, through the link, would meet HDF5's lock
        assert "external link" in str(refusal(path))


def test_refuses_what_is_not_hdf5_at_all(tmp_path: Path) -> None:
    path = tmp_path / "text.h5"
    path.write_text("This is no HDF5 file.\n" * 200)
    assert isinstance(refusal(str(path)), DamagedError)


def test_refuses_a_file_without_a_byte(tmp_path: Path) -> None:
    path = tmp_path / "empty.h5"
    path.touch()
    assert isinstance(refusal(str(path)), DamagedError)


def test_refuses_a_folder(tmp_path: Path) -> None:
    assert isinstance(refusal(str(tmp_path)), DamagedError)


def test_says_that_there_is_no_such_file(tmp_path: Path) -> None:
    error = refusal(str(tmp_path / "missing.h5"))
    assert isinstance(error, DatasetNotFoundError)
    assert "there is no such file" in str(error)


def test_refuses_a_file_cut_anywhere(path: str) -> None:
    whole = Path(path).read_bytes()
    for size in range(0, len(whole), 97):
        Path(path).write_bytes(whole[:size])
        assert isinstance(refusal(path), DamagedError), size


class StoppingFile(io.FileIO):
    """Unbuffered, and refuses one of its writes."""

    writes_left = 0

    def write(self, data: Any) -> int:
        if StoppingFile.writes_left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        StoppingFile.writes_left -= 1
        return super().write(data)


def test_a_file_that_lacks_the_last_of_its_writes_is_no_hdf5_file(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kseq.storage.hdf5.open", StoppingFile, raising=False)
    StoppingFile.writes_left = 1000
    write_file(path, ATTRIBUTES, ARRAYS)
    for count in range(1000 - StoppingFile.writes_left):
        StoppingFile.writes_left = count
        with pytest.raises(OSError, match="No space left"):
            write_file(path, ATTRIBUTES, ARRAYS)
        with monkeypatch.context() as plain:
            plain.delattr("kseq.storage.hdf5.open")
            assert "not an HDF5 file" in str(refusal(path)), count


def test_a_file_that_shrank_after_it_was_looked_at_is_not_mapped(path: str) -> None:
    layout = read_file_header(path, FORMS)
    with open(path, "r+b") as file:
        file.truncate(layout.num_bytes - 1)
    with pytest.raises(DamagedError, match=f"{path}: has {layout.num_bytes - 1} bytes, expected are {layout.num_bytes}"):
        MappedFile(path, layout)


def test_a_file_that_is_gone_after_it_was_looked_at_is_named(path: str) -> None:
    layout = read_file_header(path, FORMS)
    Path(path).unlink()
    with pytest.raises(DatasetNotFoundError, match=f"{path}: there is no such file"):
        MappedFile(path, layout)


def test_a_file_that_cannot_be_mapped_is_named(path: str) -> None:
    def refuse(descriptor: int, num_bytes: int) -> np.ndarray:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    with pytest.raises(ReadError, match=f"^{path}: cannot be opened and mapped: Cannot allocate memory$"):
        MappedFile(path, read_file_header(path, FORMS), refuse)


def test_arrays_outlive_the_file_object_and_the_name(path: str) -> None:
    image = MappedFile(path, read_file_header(path, FORMS)).arrays["image"]
    Path(path).unlink()
    np.testing.assert_array_equal(image, ARRAYS["image"])


@pytest.mark.parametrize(
    ("kind", "version", "message"),
    [
        ("index", 1, "attribute format is 'kseq shard', expected is 'kseq index'"),
        ("shard", 2, "format version is 2, this kseq reads version 1 (a newer kseq wrote it: update this one)"),
        ("shard", 0, "format version is 0, this kseq reads version 1"),
        ("shard", "1", "format version is 1, this kseq reads version 1"),
    ],
)
def test_refuses_another_kind_or_version(path: str, kind: str, version: int | str, message: str) -> None:
    write_file(path, {**ATTRIBUTES, "version": version}, ARRAYS)
    with pytest.raises(FormatError) as caught:
        check_version(path, read_file_header(path, FORMS).attributes, kind)
    assert str(caught.value) == f"{path}: {message}"


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_byte_strings_come_back(tmp_path_factory: pytest.TempPathFactory, strings: list[bytes]) -> None:
    path = str(tmp_path_factory.mktemp("strings") / "strings.h5")
    write_file(path, ATTRIBUTES, pack_strings("text", strings))
    file = MappedFile(path, read_file_header(path, string_schema("text", len(strings))))
    assert read_strings(file, "text") == strings


@pytest.mark.parametrize("offsets", [[0, 3, 1, 5], [0, 1, 6, 6], [0, 2**63, 2**63, 5]])
def test_refuses_offsets_that_do_not_lie_in_the_bytes(tmp_path: Path, offsets: list[int]) -> None:
    path = str(tmp_path / "strings.h5")
    arrays = {"text/bytes": np.zeros(5, np.uint8), "text/offsets": np.array(offsets, "<u8")}
    write_file(path, ATTRIBUTES, arrays)
    file = MappedFile(path, read_file_header(path, string_schema("text", 3)))
    with pytest.raises(DamagedError, match=re.escape(f"{path}: text/offsets of row 1 are {offsets[1]} and {offsets[2]}")):
        read_string(file, "text", 1)


def test_a_digest_is_the_one_that_is_written_down() -> None:
    lines = b""
    for name in sorted(ARRAYS):
        array = ARRAYS[name]
        lines += f"{name} {array.dtype.str} {array.shape}\n".encode() + xxhash.xxh3_128(array.tobytes()).digest()
    assert arrays_digest(ARRAYS) == xxhash.xxh3_128(lines).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        {**ARRAYS, "label": np.array([0, 1, 2, 4], "<i4")},
        {**ARRAYS, "label": ARRAYS["label"].view("<u4")},
        {**ARRAYS, "image": ARRAYS["image"].reshape(4, 2, 3)},
        {**{name: array for name, array in ARRAYS.items() if name != "label"}, "labels": ARRAYS["label"]},
    ],
    ids=["bytes", "dtype", "shape", "name"],
)
def test_a_digest_stands_for_bytes_dtypes_shapes_and_names(other: dict[str, np.ndarray]) -> None:
    assert arrays_digest(other) != arrays_digest(ARRAYS)


def test_publishing_shows_the_whole_file_or_none(tmp_path: Path) -> None:
    target = tmp_path / "a.h5"
    with publishing(str(target)) as temporary:
        Path(temporary).write_text("new")
        Path(f"{temporary}.stream").write_text("beside")
        assert not target.exists()
    assert target.read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["a.h5"]


def test_publishing_leaves_the_old_file_where_the_block_fails(tmp_path: Path) -> None:
    target = tmp_path / "a.h5"
    target.write_text("old")
    with pytest.raises(RuntimeError), publishing(str(target)) as temporary:
        Path(temporary).write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.h5"]


def test_a_file_whose_name_may_not_be_on_the_disk_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_for_folders(path: str) -> None:
        if os.path.isdir(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("kseq.storage.atomic.flush", fail_for_folders)
    message = r"a.h5: cannot be written: Input/output error"
    with pytest.raises(WriteError, match=message), publishing(str(tmp_path / "a.h5")) as temporary:
        Path(temporary).write_text("new")
    assert not list(tmp_path.iterdir())


def test_publishing_names_the_file_that_cannot_be_written(tmp_path: Path) -> None:
    target = tmp_path / "missing" / "a.h5"
    message = f"^{target}: cannot be written: No such file or directory$"
    with pytest.raises(WriteError, match=message), publishing(str(target)) as temporary:
        Path(temporary).write_text("x")


def test_only_temporary_files_are_removed(tmp_path: Path) -> None:
    for name in (".kseq-tmp-1-a.h5", ".kseq-tmp-1-a.h5.image", "a.h5", "tmp"):
        (tmp_path / name).touch()
    remove_temporary(str(tmp_path))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.h5", "tmp"]
