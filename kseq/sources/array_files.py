"""Arrays in `.npz`, `.npy` and HDF5 files: their shapes, and their rows read in place where that is possible."""

from __future__ import annotations

import glob
import os
import struct
import tokenize
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from kseq.errors import ImageError, SourceError, one_line
from kseq.sources.file_reading import read_range
from kseq.sources.kept_open import kept_open

# h5py is imported where an HDF5 file of the user's is read, and nowhere else: kseq's own files are read without it.
if TYPE_CHECKING:
    import h5py

__all__ = ["ARRAY_ERRORS", "StoredArray", "find_arrays"]

# An HDF5 array may be compressed in chunks: at least so many rows are read at a time.
_MIN_ROWS_AT_ONCE = 64
_READ_BYTES = 1 << 20
# What numpy, h5py and zipfile raise if a file is damaged, encrypted, or compressed in a way that zipfile does not know.
ARRAY_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    tokenize.TokenError,
    EOFError,
    KeyError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
# In the local header of a zip member: where the lengths of the name and of the extra field are, and where the header ends.
_LENGTHS_OFFSET, _LOCAL_HEADER = 26, 30


class StoredArray(NamedTuple):
    """An array in a file, or a field of one whose elements are structs.

    Attributes:
        path: The file.
        name: What the array is called: its name in the file; of a `.npy` file that file's name without the suffix; of a field
            the name of the field, after `ARRAY.` if the file has other arrays too.
        shape: The shape, the first length is the number of rows.
        dtype: The dtype.
        offset: Where the rows begin in the file, in bytes, one after the other; None if they do not lie so.
        rows_at_once: In an HDF5 file, how many rows are read at a time; 0 in other files.
        is_matlab: Whether MATLAB wrote it, which has the lengths of arrays in the reverse order.
        struct: The name of the array in the file that this is a field of; None if it is no field.
        field: The name of the field in its elements.
    """

    path: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int | None = None
    rows_at_once: int = 0
    is_matlab: bool = False
    struct: str | None = None
    field: str = ""

    @property
    def name_in_file(self) -> str:
        """The name of the array in the file that holds the values."""
        return self.name if self.struct is None else self.struct

    def _of_field(self, rows: np.ndarray) -> np.ndarray:
        return rows if self.struct is None else rows[self.field]

    @property
    def holds_objects(self) -> bool:
        """Whether its elements are Python objects, other than text of an HDF5 file."""
        if self.dtype.kind != "O":
            return False
        import h5py

        return h5py.check_string_dtype(self.dtype) is None

    def read(self) -> np.ndarray:
        """The whole array; text of an HDF5 file as str.

        Raises:
            One of `ARRAY_ERRORS`: If the file is damaged, or holds Python objects.
        """
        return self._of_field(_read(self.path, self.name_in_file))

    def row(self, number: int) -> np.ndarray:
        """One row of an array of numbers.

        Raises:
            ImageError: If it cannot be read.
        """
        try:
            if self.offset is not None:
                size = int(np.prod(self.shape[1:])) * self.dtype.itemsize
                data = read_range(self.path, self.offset + number * size, size)
                return np.frombuffer(data, self.dtype).reshape(self.shape[1:])
            if not self.rows_at_once:
                return np.asarray(self._of_field(_read_and_keep(self.path, self.name_in_file))[number])
            start = number // self.rows_at_once * self.rows_at_once
            rows = _read_hdf5_rows(self.path, self.name_in_file, start, self.rows_at_once)
            return self._of_field(rows)[number - start]
        except ImageError:
            raise
        except (*ARRAY_ERRORS, IndexError) as error:
            raise ImageError(f"cannot be read: {one_line(error)}") from error

    def compare_checksum(self) -> None:
        """Compare a member of an `.npz` with its checksum, which reading single rows in place cannot do.

        Raises:
            One of `ARRAY_ERRORS`: If the checksum is wrong.
        """
        if _has_suffix(self.path, ".npz"):
            with zipfile.ZipFile(self.path) as file, file.open(f"{self.name_in_file}.npy") as member:
                while member.read(_READ_BYTES):
                    pass


def find_arrays(path: str) -> dict[str, StoredArray]:
    """The arrays of a file by their names; of a `.npy` file, also those of the other `.npy` files in its folder.

    Of an array whose elements are structs, each field is an array.

    Raises:
        SourceError: If an array is cut off, or its header is of a form that is not allowed.
        One of `ARRAY_ERRORS`: If the file is damaged.
    """
    if _has_suffix(path, ".npz"):
        with zipfile.ZipFile(path) as file:
            members = [member for member in file.infolist() if member.filename.endswith(".npy")]
            arrays = [_npz_array(path, file, member) for member in members]
    elif _has_suffix(path, ".npy"):
        folder = os.path.dirname(path)
        names = sorted(name for name in os.listdir(folder or ".") if name.endswith(".npy"))
        arrays = [_npy_array(os.path.join(folder, name)) for name in names]
    else:
        import h5py

        with h5py.File(path, "r") as file:
            datasets: list[tuple[str, h5py.Dataset]] = []
            # In groups too; each once, wherever links to it lie.
            file.visititems(lambda name, item: datasets.append((name, item)) if isinstance(item, h5py.Dataset) else None)
            arrays = [_hdf5_array(path, name, dataset) for name, dataset in datasets if dataset.shape is not None]
    return {part.name: part for array in arrays for part in _fields_of(array, is_alone=len(arrays) == 1)}


def _fields_of(array: StoredArray, *, is_alone: bool) -> list[StoredArray]:
    """The fields of an array whose elements are structs; the array itself if they are not."""
    if array.dtype.fields is None:
        return [array]
    types = {name: entry[0] for name, entry in array.dtype.fields.items()}
    return [
        array._replace(
            name=name if is_alone else f"{array.name}.{name}",
            shape=(*array.shape, *dtype.shape),
            dtype=dtype.base,
            offset=None,
            struct=array.name,
            field=name,
        )
        for name, dtype in types.items()
    ]


def _has_suffix(path: str, suffix: str) -> bool:
    return path.lower().endswith(suffix)


def _read_header(path: str, name: str, file: IO[bytes]) -> tuple[StoredArray, bool]:
    """An array from the start of its `.npy`; and whether its rows lie one after the other."""
    version = np.lib.format.read_magic(file)
    if version > (2, 0):
        raise SourceError(f"{path}: array {name!r} has names of fields that are no Latin-1, allowed are plain arrays")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read_header(file)
    return StoredArray(path, name, shape, dtype), not (fortran_order and len(shape) > 1)


def _check_whole(array: StoredArray, num_bytes: int) -> None:
    """Raise SourceError if an array has fewer bytes than its header says."""
    expected = int(np.prod(array.shape, dtype=object)) * array.dtype.itemsize
    if not array.dtype.hasobject and num_bytes < expected:
        raise SourceError(f"{array.path}: array {array.name!r} breaks off after {num_bytes} of {expected} bytes")


def _npy_array(path: str) -> StoredArray:
    try:
        with open(path, "rb") as file:
            array, is_in_rows = _read_header(path, os.path.basename(path)[: -len(".npy")], file)
            offset = file.tell()
    except SourceError:
        raise
    except ARRAY_ERRORS as error:
        raise SourceError(f"{path}: is not a file of arrays that can be read: {one_line(error)}") from error
    _check_whole(array, os.path.getsize(path) - offset)
    return array._replace(offset=offset if is_in_rows else None)


def _npz_array(path: str, file: zipfile.ZipFile, member: zipfile.ZipInfo) -> StoredArray:
    with file.open(member) as opened:
        array, is_in_rows = _read_header(path, member.filename[: -len(".npy")], opened)
        start = opened.tell()
    _check_whole(array, member.file_size - start)
    if not is_in_rows or member.compress_type != zipfile.ZIP_STORED:
        return array
    lengths = read_range(path, member.header_offset + _LENGTHS_OFFSET, 4)
    name_length, extra_length = struct.unpack("<HH", lengths)
    return array._replace(offset=member.header_offset + _LOCAL_HEADER + name_length + extra_length + start)


def _hdf5_array(path: str, name: str, dataset: h5py.Dataset) -> StoredArray:
    _check_sources(path, name, dataset)
    chunk_rows = dataset.chunks[0] if dataset.chunks else 1
    rows_at_once = max(chunk_rows, _MIN_ROWS_AT_ONCE // chunk_rows * chunk_rows)
    return StoredArray(path, name, dataset.shape, dataset.dtype, None, rows_at_once, "MATLAB_class" in dataset.attrs)


def _check_sources(path: str, name: str, dataset: h5py.Dataset) -> None:
    """Raise SourceError if the values of an array lie in other files that are gone: HDF5 would give zeros in their place."""
    others = [source.file_name for source in dataset.virtual_sources()] if dataset.is_virtual else []
    others += [os.fsdecode(file_name) for file_name, *_ in dataset.external or ()]
    for other in dict.fromkeys(others):
        # `.` is the file itself; a name with % stands for several.
        pattern = glob.escape(os.path.join(os.path.dirname(path), other)).replace("%b", "*")
        if other != "." and not glob.glob(pattern):
            raise SourceError(f"{path}: array {name!r} has its values in {other!r}, which is not there: HDF5 would give zeros")
    if dataset.size and not others and dataset.id.get_storage_size() == 0:
        raise SourceError(f"{path}: array {name!r} was made and never written: HDF5 would give zeros")


def _read(path: str, name: str) -> np.ndarray:
    """A whole array."""
    array: np.ndarray
    if _has_suffix(path, ".npz"):
        with np.load(path, allow_pickle=False) as file:
            array = file[name]
    elif _has_suffix(path, ".npy"):
        array = np.load(path, allow_pickle=False)
    else:
        import h5py

        with h5py.File(path, "r") as file:
            dataset = file[name]
            is_text = h5py.check_string_dtype(dataset.dtype)
            array = dataset.asstr(errors="surrogateescape")[()] if is_text else dataset[()]
    return array


@kept_open(1)
def _read_and_keep(path: str, name: str) -> np.ndarray:
    return _read(path, name)


@kept_open(2)
def _read_hdf5_rows(path: str, name: str, start: int, count: int) -> np.ndarray:
    import h5py

    with h5py.File(path, "r") as file:
        rows: np.ndarray = file[name][start : start + count]
        return rows
