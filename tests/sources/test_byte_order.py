"""Columns in the byte order of other machines, and columns that are fields of structs: their values are what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import kseq
from kseq.errors import SourceError
from tests.helpers.messages import raises

N = 20
X = np.random.default_rng(0).integers(0, 256, (N, 8, 10, 3), np.uint8)
VALUES: dict[str, np.ndarray] = {
    "y": np.arange(N) % 3,
    "one": np.arange(N) * 1.5 - 3,
    "vector": np.arange(N * 4).reshape(N, 4) / 8,
    "whole": np.arange(N) * 10**10,
    "weight": np.arange(N) / 4,
    "words": np.array([f"nä {number}" for number in range(N)]),
}
DTYPES = {"y": "i4", "one": "f4", "vector": "f8", "whole": "i8", "weight": "f2", "words": "U8"}
COLUMNS = kseq.Columns(
    image="x",
    label="y",
    targets={"one": "one", "vector": "vector", "whole": "whole"},
    text="words",
    sample_weight="weight",
)


def arrays(order: str) -> dict[str, np.ndarray]:
    return {"x": X, **{name: values.astype(f"{order}{DTYPES[name]}") for name, values in VALUES.items()}}


def structs(order: str) -> np.ndarray:
    columns = arrays(order)
    table = np.zeros(N, [(name, column.dtype, column.shape[1:]) for name, column in columns.items()])
    for name, column in columns.items():
        table[name] = column
    return table


def write_npz(folder: Path, order: str) -> Path:
    np.savez(folder / "a.npz", **arrays(order))
    return folder / "a.npz"


def write_compressed(folder: Path, order: str) -> Path:
    np.savez_compressed(folder / "a.npz", **arrays(order))
    return folder / "a.npz"


def write_npy(folder: Path, order: str) -> Path:
    for name, column in arrays(order).items():
        np.save(folder / f"{name}.npy", column)
    return folder / "x.npy"


def write_hdf5(folder: Path, order: str) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        for name, column in arrays(order).items():
            file[name] = np.char.encode(column, "utf-8") if name == "words" else column
    return folder / "a.h5"


def write_npy_structs(folder: Path, order: str) -> Path:
    np.save(folder / "table.npy", structs(order))
    return folder / "table.npy"


def write_npz_structs(folder: Path, order: str) -> Path:
    np.savez_compressed(folder / "table.npz", table=structs(order))
    return folder / "table.npz"


def write_hdf5_structs(folder: Path, order: str) -> Path:
    table = structs(order)
    types = [(name, "S10" if name == "words" else table.dtype[name]) for name in table.dtype.names or ()]
    encoded = np.zeros(N, types)
    for name in table.dtype.names or ():
        encoded[name] = np.char.encode(table[name], "utf-8") if name == "words" else table[name]
    with h5py.File(folder / "table.h5", "w") as file:
        file.create_dataset("table", data=encoded, chunks=(7,), compression="gzip")
    return folder / "table.h5"


def dicts(folder: Path, order: str) -> Iterator[dict[str, Any]]:
    columns = arrays(order)
    return ({name: column[row] for name, column in columns.items()} for row in range(N))


def rows(folder: Path, order: str) -> Iterator[Any]:
    return iter(structs(order))


SOURCES: list[Callable[[Path, str], Any]] = [
    write_npz,
    write_compressed,
    write_npy,
    write_hdf5,
    write_npy_structs,
    write_npz_structs,
    write_hdf5_structs,
    dicts,
    rows,
]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("make", SOURCES)
def test_columns_of_either_byte_order_have_their_values(tmp_path: Path, make: Callable[[Path, str], Any], order: str) -> None:
    (tmp_path / "source").mkdir()
    kseq.pack(make(tmp_path / "source", order), tmp_path / "packed", columns=COLUMNS, workers=0)
    dataset = kseq.ShardDataset(tmp_path / "packed")
    # One split of all samples keeps their order.
    assert [int(dataset.source(number).split("/")[-1]) for number in range(N)] == list(range(N))
    read = dataset.read(range(N))
    np.testing.assert_array_equal(read["image"], X)
    for name, field in zip(VALUES, ("label", "one", "vector", "whole", "sample_weight", "text"), strict=True):
        np.testing.assert_array_equal(np.asarray(read[field]).reshape(VALUES[name].shape), VALUES[name], err_msg=name)


@pytest.mark.parametrize(
    "labels",
    [
        (np.arange(N) % 3).astype(">f8"),
        np.eye(3)[np.arange(N) % 3].astype(">f4"),
        np.array(["0", "1", "2"])[np.arange(N) % 3].astype(">U3"),
    ],
)
def test_labels_beside_images_may_be_of_either_byte_order(tmp_path: Path, labels: np.ndarray) -> None:
    kseq.pack((X, labels), tmp_path / "packed", workers=0)
    np.testing.assert_array_equal(kseq.ShardDataset(tmp_path / "packed").values("label"), np.arange(N) % 3)


def test_fields_of_structs_beside_other_arrays_are_called_by_both(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, meta=structs(">")[["y", "one"]])
    columns = kseq.Columns(label="meta.y", targets={"one": "meta.one"})
    kseq.pack(tmp_path / "a.npz", tmp_path / "packed", columns=columns, workers=0)
    np.testing.assert_array_equal(kseq.ShardDataset(tmp_path / "packed").values("one"), VALUES["one"])
    with raises(SourceError, tmp_path / "a.npz", "meta.y"):
        kseq.pack(tmp_path / "a.npz", tmp_path / "other", workers=0)


@pytest.mark.parametrize("values", [np.zeros(N, "M8[s]"), np.zeros(N, "c8"), np.zeros(N, [("in", [("a", "i4")])])])
def test_columns_that_are_neither_numbers_nor_text_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=VALUES["y"], z=values)
    name = "z.in" if values.dtype.fields else "z"
    with raises(SourceError, tmp_path / "a.npz", repr(name)):
        kseq.pack(tmp_path / "a.npz", tmp_path / "packed", columns=kseq.Columns(targets={"z": name}), workers=0)
