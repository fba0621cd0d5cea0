"""Opening the files of a dataset: what is refused, that another opener serves as well, and that nothing else opens a file."""

from __future__ import annotations

import ast
import errno
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import kseq
from kseq.errors import DamagedError, DatasetNotFoundError, ReadError
from kseq.platforms.maps import Span
from kseq.reading.shard_cache import ShardCache
from kseq.storage.array_location import ArrayLocation
from kseq.storage.file_arrays import FileArrays
from kseq.storage.index import Index
from kseq.storage.opener import DatasetFile, MapOpener, Opener, opener_for
from kseq.storage.shard_reader import ShardReader
from tests.helpers.messages import raises
from tests.helpers.photos import numbers_of
from tests.helpers.plain_hdf5 import ARRAYS, header_of, header_refusal, mapped

LIBRARY = Path(kseq.__path__[0])


def test_refuses_a_folder(tmp_path: Path) -> None:
    assert isinstance(header_refusal(str(tmp_path)), DamagedError)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_refuses_a_named_pipe_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert isinstance(header_refusal(str(tmp_path / "pipe")), DamagedError)


@pytest.mark.parametrize("name", ["missing.h5", "plain.h5/missing.h5"])
def test_a_missing_file_is_named(path: str, name: str) -> None:
    assert isinstance(header_refusal(str(Path(path).parent / name)), DatasetNotFoundError)


def test_a_file_that_is_gone_after_its_header_was_read_is_named(path: str) -> None:
    header_of(path)
    Path(path).unlink()
    with raises(DatasetNotFoundError, path):
        opener_for(path).open(path)


def test_a_file_that_cannot_be_mapped_is_named(path: str) -> None:
    class Refusing:
        def map_file(self, *_: int) -> np.ndarray:
            raise OSError(12, "Cannot allocate memory")

    with MapOpener(Refusing()).open(path) as file, raises(ReadError, path, "Cannot allocate memory"):
        header = header_of(path)
        FileArrays(file, header.num_bytes, header.locations)


def test_a_file_that_goes_stale_while_it_is_opened_is_named_and_closed(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    def fail(descriptor: int) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr("os.fstat", fail)
    monkeypatch.setattr("os.close", closed.append)
    with raises(ReadError, path, os.strerror(errno.ESTALE)):
        opener_for(path).open(path)
    assert len(closed) == 1
    monkeypatch.undo()
    os.close(closed[0])


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("os.listdir", fail)
    with raises(ReadError, tmp_path, os.strerror(errno.EIO)):
        Index.open(str(tmp_path))


def test_ranges_are_the_bytes_of_the_file(path: str) -> None:
    whole = Path(path).read_bytes()
    with opener_for(path).open(path) as file:
        assert file.num_bytes == len(whole)
        assert file.read(10, 50) == whole[10:50]
        with raises(DamagedError, path, f"byte {len(whole)}"):
            file.read(len(whole) - 3, len(whole) + 1)


def test_arrays_outlive_the_file_object_and_the_name(path: str) -> None:
    image = mapped(path).arrays["image"]
    Path(path).unlink()
    np.testing.assert_array_equal(image, ARRAYS["image"])


class MemoryFile(DatasetFile):
    """A file that is bytes in memory."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path, self.num_bytes, self._data = path, len(data), data

    def read(self, start: int, end: int) -> bytes:
        return self._data[start:end]

    def arrays(self, locations: Mapping[str, ArrayLocation]) -> dict[str, np.ndarray]:
        return {name: np.ndarray(shape, dtype, self._data, offset) for name, (offset, dtype, shape) in locations.items()}

    def close(self) -> None:
        pass


class MemoryOpener(Opener):
    """Opens files of a folder that exists in memory alone."""

    def __init__(self, folder: Path) -> None:
        self._files = {f"kept:/{path.name}": path.read_bytes() for path in folder.iterdir()}

    def open(self, path: str) -> DatasetFile:
        if path not in self._files:
            raise DatasetNotFoundError(f"{path}: there is no such file")
        return MemoryFile(path, self._files[path])

    def names(self, folder: str) -> list[str]:
        return [name.removeprefix(folder) for name in self._files]


@pytest.fixture
def in_memory(numbered: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryOpener:
    """One more opener, with a copy of the numbered dataset under `kept:/`."""
    opener = MemoryOpener(numbered)

    def choose(path: str, read: str = "auto", span: Span | None = None, offset: int = 0) -> Opener:
        return opener if path.startswith("kept:") else MapOpener(span, offset)

    for module in ("kseq.storage.index", "kseq.storage.shard_reader", "kseq.storage.open_shard"):
        monkeypatch.setattr(f"{module}.opener_for", choose)
    monkeypatch.setattr("kseq.storage.index.absolute_path", lambda path: path)
    return opener


def test_an_index_and_shards_are_read_through_any_opener(numbered: Path, in_memory: MemoryOpener) -> None:
    local, index = Index.open(str(numbered)), Index.open("kept:/")
    assert (index.digest, index.num_samples) == (local.digest, local.num_samples)
    for position in range(index.num_shards):
        fields, entry = index.stored_fields, index.entry(position)
        reader = ShardReader(index.shard_path(position), fields, entry)
        assert reader.check_all() == []
        plain = ShardReader(local.shard_path(position), fields, entry)
        np.testing.assert_array_equal(reader.array("image"), plain.array("image"), strict=True)


def test_a_cache_of_shards_reads_through_any_opener(in_memory: MemoryOpener) -> None:
    cache = ShardCache([Index.open("kept:/")])
    out = np.zeros((4, 4, 4, 3), np.uint8)
    cache.take("image", np.array([0, 2, 6, 2]), np.array([1, 0, 3, 0]), out)
    assert numbers_of(out).tolist()[0] == 1
    assert (out[1] == out[3]).all()


def test_a_missing_index_is_named_by_any_opener(in_memory: MemoryOpener) -> None:
    del in_memory._files["kept:/index.h5"]
    with pytest.raises(DatasetNotFoundError, match="holds shards but no index.h5"):
        Index.open("kept:/")


# Writing, copies of remote files, locking and asking Linux for its limits open files that are no part of a local dataset.
OTHERS = {
    "atomic",
    "hdf5_writer",
    "lock",
    "places",
    "remote_cache",
    "remote_download",
    "remote_files",
    "shard_writer",
    "url_place",
}
# h5py.File reads what an opener has opened; `Index.open`, `opener.open` and the like end up there too.
OPENING = {"open", "os.open", "io.open", "np.load", "np.memmap", "np.fromfile", "Path", "mmap.mmap"}


def test_nothing_else_in_the_reading_path_opens_a_file() -> None:
    modules = [*(LIBRARY / "storage").rglob("*.py"), *(LIBRARY / "reading").rglob("*.py")]
    for module in modules:
        calls = [node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Call)]
        opening = {ast.unparse(call.func) for call in calls} & OPENING
        assert not opening or module.stem == "opener" or module.stem in OTHERS, module
        files = [call for call in calls if ast.unparse(call.func) == "h5py.File"]
        assert all(ast.unparse(call.args[0]) in ("_FileObject(file)", "frame") for call in files), module


def test_reading_a_dataset_opens_each_of_its_files_once(numbered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    plain = MapOpener.open

    def note(opener: MapOpener, path: str) -> DatasetFile:
        opened.append(os.path.basename(path))
        return plain(opener, path)

    monkeypatch.setattr(MapOpener, "open", note)
    dataset = kseq.ShardDataset(numbered)
    assert numbers_of(dataset.read(range(100))["image"]).tolist() == list(range(100))
    assert sorted(opened) == sorted(path.name for path in numbered.iterdir())
