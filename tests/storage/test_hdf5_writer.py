"""Writing plain HDF5 files: the same bytes every time, contiguous, aligned, and no HDF5 file before the last write."""

from __future__ import annotations

import errno
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseq.storage.hdf5_writer import SpooledArray, first_offset, write_file
from tests.helpers.messages import raises
from tests.helpers.plain_hdf5 import ARRAYS, ATTRIBUTES, header_of, header_refusal, mapped
from tests.helpers.processes import RunPython


def test_every_array_is_contiguous_and_starts_on_a_boundary(path: str) -> None:
    assert {location.offset % 64 for location in header_of(path).locations.values()} == {0}
    with h5py.File(path) as file:
        for name, expected in ARRAYS.items():
            assert file[name].chunks is None and file[name].compression is None
            np.testing.assert_array_equal(file[name][()], expected, strict=True)


@pytest.mark.slow
def test_writing_twice_gives_the_same_bytes(tmp_path: Path, run_python: RunPython) -> None:
    for name in ("one.h5", "two.h5"):
        write_file(str(tmp_path / name), ATTRIBUTES, ARRAYS)
    code = (
        "import sys\n"
        "from kseq.storage.hdf5_writer import write_file\n"
        "from tests.helpers.plain_hdf5 import ARRAYS, ATTRIBUTES\n"
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
    file = mapped(target)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(file.arrays[name], array, strict=True)
        assert header_of(target).locations[name].offset % 64 == 0


@pytest.mark.slow
@given(rows=st.integers(0, 300), name=st.sampled_from(["image", "image/bytes"]), more=st.integers(1, 3))
def test_a_spool_that_begins_at_the_offset_of_its_array_becomes_the_file(rows: int, name: str, more: int) -> None:
    images = np.arange(rows * 70, dtype=np.uint8).reshape(rows, 7, 10)
    others = {f"other/{number}": np.arange(rows, dtype="<u8") for number in range(more)}
    with tempfile.TemporaryDirectory() as folder:
        copied, target, spool = (os.path.join(folder, file_name) for file_name in ("copied", "target", "spool"))
        offset = first_offset({**ATTRIBUTES, "rows": 0}, name, "|u1", (7, 10))
        for path, start in ((copied, 0), (target, offset)):
            with open(spool, "wb") as file:
                file.seek(start)
                file.write(images.tobytes())
            write_file(path, ATTRIBUTES, {name: SpooledArray(spool, "|u1", images.shape, start), **others})
            assert not rows or os.path.exists(spool) == (path == copied)
        with open(copied, "rb") as one, open(target, "rb") as other:
            assert one.read() == other.read()
        with h5py.File(target) as file:
            np.testing.assert_array_equal(file[name][()], images, strict=True)


class StoppingFile(io.FileIO):
    """Unbuffered, and refuses one of its writes."""

    writes_left = 0

    def write(self, data: Any) -> int:
        if StoppingFile.writes_left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        StoppingFile.writes_left -= 1
        return super().write(data)


def test_a_file_that_lacks_the_last_of_its_writes_is_no_hdf5_file(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kseq.storage.hdf5_writer.open", StoppingFile, raising=False)
    StoppingFile.writes_left = 1000
    write_file(path, ATTRIBUTES, ARRAYS)
    for count in range(1000 - StoppingFile.writes_left):
        StoppingFile.writes_left = count
        with raises(OSError, os.strerror(errno.ENOSPC)):
            write_file(path, ATTRIBUTES, ARRAYS)
        with monkeypatch.context() as plain:
            plain.delattr("kseq.storage.hdf5_writer.open")
            assert "not an HDF5 file" in str(header_refusal(path)), count
