"""What sources keep open: for one process, for as long as the file is the same, by any number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from kseq.sources.column_roles import Columns
from kseq.sources.kept_open import kept_open
from kseq.sources.registry import open_source
from tests.helpers.paths import ROOT
from tests.helpers.writers import WRITERS
from tests.sources.read_in_forks import count_wrong, read

X = np.random.default_rng(0).integers(0, 256, (40, 30, 40, 3), np.uint8)
Y = np.arange(40) % 3


def write_npy(folder: Path, target: Path, per_file: int) -> Path:
    np.save(target / "images.npy", X)
    np.save(target / "labels.npy", Y)
    return target / "images.npy"


def write_npz(folder: Path, target: Path, per_file: int) -> Path:
    np.savez(target / "x.npz", images=X, labels=Y)
    return target / "x.npz"


def write_compressed_npz(folder: Path, target: Path, per_file: int) -> Path:
    np.savez_compressed(target / "x.npz", x_train=X[:20], y_train=Y[:20], x_test=X[20:], y_test=Y[20:])
    return target / "x.npz"


def write_hdf5(folder: Path, target: Path, per_file: int) -> Path:
    with h5py.File(target / "x.h5", "w") as file:
        file.create_dataset("images", data=X, chunks=(3, 30, 40, 3), compression="gzip")
        file["labels"] = Y
    return target / "x.h5"


FORMS: dict[str, tuple[Callable[[Path, Path, int], Path], str]] = {
    **{kind: (write, "part" if options else "") for kind, (write, options) in WRITERS.items()},
    "npy": (write_npy, ""),
    "npz": (write_npz, ""),
    "compressed npz": (write_compressed_npz, ""),
    "hdf5": (write_hdf5, ""),
    "folder": (lambda folder, target, _: folder, ""),
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has OpenCV loaded: safe on Linux")
@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=pytest.mark.campaign) if form == "array record" else form for form in FORMS]
)
def test_forks_of_a_process_that_has_a_source_open_read_every_byte(folder: Path, tmp_path: Path, form: str) -> None:
    write, split = FORMS[form]
    words = [str(write(folder, tmp_path, 3)), *([split] if split else [])]
    done = subprocess.run(
        [sys.executable, "-m", "tests.sources.read_in_forks", "6", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    num_read, num_wrong = map(int, done.stdout.split())
    assert num_read >= 21 * 5 * 6
    assert num_wrong == 0


@pytest.mark.parametrize("form", FORMS)
def test_threads_that_share_a_source_read_every_byte(folder: Path, tmp_path: Path, form: str) -> None:
    write, split = FORMS[form]
    source = open_source(str(write(folder, tmp_path, 3)), None, Columns(split=split or None), None, None)
    expected = [read(source, image) for image in source.images]
    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(lambda seed: count_wrong(source, expected, seed), range(16))) == 0


def test_a_file_is_opened_once_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    opened: list[tuple[str, int]] = []

    @kept_open(2)
    def read(path: str, number: int) -> str:
        opened.append((Path(path).read_text(), number))
        return opened[-1][0]

    assert [read(str(path), 1), read(str(path), 1)] == ["one", "one"]
    path.write_text("another")
    assert [read(str(path), 1), read(str(path), 2), read(str(path), 1)] == ["another"] * 3
    assert opened == [("one", 1), ("another", 1), ("another", 2)]
    # The third drops the one that was used longest ago.
    read(str(path), 3)
    read(str(path), 1)
    read(str(path), 2)
    assert opened[3:] == [("another", 3), ("another", 2)]


def test_a_fork_opens_its_own_and_does_not_close_what_it_inherited(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")

    class Handle:
        def __init__(self) -> None:
            self.process = os.getpid()

        def __del__(self) -> None:
            (tmp_path / f"closed-{self.process}-by-{os.getpid()}").touch()

    read = kept_open(1)(lambda _: Handle())
    assert read(str(path)).process == os.getpid()
    child = os.fork()
    if child == 0:
        is_own = read(str(path)).process == os.getpid()
        path.write_text("another")
        is_own &= read(str(path)).process == os.getpid()
        os._exit(not is_own)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not list(tmp_path.glob(f"closed-{os.getpid()}-by-{child}"))
