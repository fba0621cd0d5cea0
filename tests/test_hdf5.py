"""Plain HDF5 files: what is written is plain, and nothing else is believed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from kseq.errors import DamagedError, DatasetNotFoundError, FormatError, KseqError
from kseq.hdf5 import ArrayForm, MappedFile, Spool, read_layout, write_file

FORMS = {"a": ArrayForm("<i4", (3,)), "group/b": ArrayForm("|u1", (None, 2)), "many/*": ArrayForm("<u8", (None,))}
ARRAYS = {
    "a": np.array([1, 2, 3], "<i4"),
    "group/b": np.arange(8, dtype=np.uint8).reshape(4, 2),
    "many/x": np.arange(5, dtype="<u8"),
    "many/y": np.zeros(0, "<u8"),
}


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "file.h5")
    write_file(path, {"format": "test", "number": 2**63}, ARRAYS)
    return path


def test_arrays_and_attributes_come_back(path: str) -> None:
    layout = read_layout(path, FORMS)
    assert layout.attributes == {"format": "test", "number": 2**63, "complete": 1}
    file = MappedFile(path, layout)
    assert file.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert np.array_equal(file.arrays[name], array)
        assert file.arrays[name].dtype == array.dtype


def test_plain_h5py_reads_the_same(path: str) -> None:
    with h5py.File(path) as file:
        for name, array in ARRAYS.items():
            assert np.array_equal(file[name][()], array)


def test_a_file_may_be_open_in_h5py_meanwhile(path: str) -> None:
    with h5py.File(path):
        assert read_layout(path, FORMS).num_bytes > 0


def test_every_array_starts_on_a_boundary_of_64_bytes(path: str) -> None:
    places = [place for place in read_layout(path, FORMS).places.values() if 0 not in place.shape]
    assert [place.offset % 64 for place in places] == [0] * 3
    file = MappedFile(path, read_layout(path, FORMS))
    assert all(array.flags.aligned for array in file.arrays.values())


def test_maps_cannot_be_written_to(path: str) -> None:
    with pytest.raises(ValueError, match="read-only"):
        MappedFile(path, read_layout(path, FORMS)).arrays["a"][0] = 5


def test_a_spool_becomes_an_array(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 256, (700, 3, 1000), np.uint8)
    (tmp_path / "spool").write_bytes(data.tobytes())
    path = str(tmp_path / "file.h5")
    write_file(path, {}, {"a": Spool(str(tmp_path / "spool"), "|u1", data.shape)})
    with h5py.File(path) as file:
        assert np.array_equal(file["a"][()], data)


def swap(name: str, make: Callable[[h5py.File], object]) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        make(file)

    return change


def make_external(file: h5py.File) -> None:
    file.create_dataset("a", (3,), "<i4", external=[("other.bin", 0, 12)])


def make_virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3,), "<i4")
    layout[:] = h5py.VirtualSource("other.h5", "a", (3,))
    file.create_virtual_dataset("a", layout)


def make_compact(file: h5py.File) -> None:
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_layout(h5py.h5d.COMPACT)
    h5py.h5d.create(file.id, b"a", h5py.h5t.STD_I32LE, h5py.h5s.create_simple((3,)), create)


FAULTS: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "a soft link": (swap("a", lambda file: file.__setitem__("a", h5py.SoftLink("/group/b"))), "'a' is a soft or external link"),
    "an external link": (
        swap("a", lambda file: file.__setitem__("a", h5py.ExternalLink("x.h5", "/a"))),
        "soft or external link",
    ),
    "a chunked array": (
        swap("a", lambda file: file.create_dataset("a", data=ARRAYS["a"], chunks=(1,))),
        "allowed is contiguous",
    ),
    "a compressed array": (
        swap("a", lambda file: file.create_dataset("a", data=ARRAYS["a"], compression="gzip")),
        "contiguous",
    ),
    "external storage": (swap("a", make_external), "allowed is contiguous"),
    "a virtual array": (swap("a", make_virtual), "allowed is contiguous"),
    "a compact array": (swap("a", make_compact), "allowed is contiguous"),
    "strings": (swap("a", lambda file: file.create_dataset("a", data=["x", "y", "z"])), r"allowed is int32 \(3\)"),
    "references": (swap("a", lambda file: file.create_dataset("a", (3,), h5py.ref_dtype)), "'a' is object"),
    "another dtype": (swap("a", lambda file: file.create_dataset("a", data=ARRAYS["a"].astype("<i8"))), "'a' is int64"),
    "another byte order": (swap("a", lambda file: file.create_dataset("a", data=ARRAYS["a"].astype(">i4"))), "'a' is >i4"),
    "another shape": (
        swap("a", lambda file: file.create_dataset("a", data=np.zeros(4, "<i4"))),
        r"\(4,\), allowed is int32 \(3\)",
    ),
    "another rank": (swap("a", lambda file: file.create_dataset("a", data=np.zeros((3, 1), "<i4"))), r"\(3, 1\), allowed"),
    "an unknown name": (lambda file: file.create_dataset("z", data=1), "has an array 'z', allowed are a, group/b, many/"),
    "a group too deep": (lambda file: file.create_dataset("many/deep/x", data=1), "'many/deep' is a group"),
    "a named type": (lambda file: file.__setitem__("t", np.dtype("<i4")), "'t' is a datatype"),
    "a missing array": (lambda file: file.__delitem__("a"), "has no array 'a', expected is int32"),
    "an attribute that is an array": (lambda file: file.attrs.__setitem__("x", [1, 2]), "attribute 'x' is int64"),
    "an attribute of variable length": (lambda file: file.attrs.__setitem__("x", "text"), "attribute 'x' is object"),
    "an unfinished writing": (lambda file: file.attrs.__setitem__("complete", np.uint64(0)), "writing it was not finished"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_refuses(fault: str, path: str) -> None:
    change, words = FAULTS[fault]
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises((FormatError, DamagedError), match=words) as caught:
        read_layout(path, FORMS)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_refuses_a_truncated_file(path: str, keep: float) -> None:
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: int(keep if keep >= 1 or keep == 0 else keep * len(whole))])
    with pytest.raises(DamagedError, match=r"file.h5: ") as caught:
        read_layout(path, FORMS)
    assert "\n" not in str(caught.value)


def test_refuses_what_is_not_hdf5(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_text("hello" * 1000)
    with pytest.raises(DamagedError, match="not an HDF5 file that can be read"):
        read_layout(str(tmp_path / "x.h5"), FORMS)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="x.h5: there is no such file"):
        read_layout(str(tmp_path / "x.h5"), FORMS)


def test_a_file_that_shrank_since_is_not_mapped(path: str) -> None:
    layout = read_layout(path, FORMS)
    with open(path, "r+b") as file:
        file.truncate(layout.num_bytes - 1)
    with pytest.raises(DamagedError, match=f"has {layout.num_bytes - 1} bytes, expected are {layout.num_bytes}"):
        MappedFile(path, layout)


def test_garbage_never_raises_anything_else(path: str) -> None:
    whole = Path(path).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        changed = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            changed[place] = rng.integers(0, 256)
        Path(path).write_bytes(changed)
        try:
            MappedFile(path, read_layout(path, FORMS))
        except KseqError as error:
            assert "\n" not in str(error)
