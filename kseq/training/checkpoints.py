"""The checkpoints in a folder: each one file, which appears whole or not at all; damaged ones are passed over.

A checkpoint is a zip archive, uncompressed, of `state.json` and of arrays, `NUMBER.npy`; it has a CRC-32 of each of them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from kseq.errors import DamagedError, LockedError, ReadError, WriteError, one_line
from kseq.platforms.files import lock_file
from kseq.platforms.forks import at_fork
from kseq.storage.atomic import publishing, remove_file, remove_temporary

__all__ = ["Checkpoint", "CheckpointFolder"]

_NAME = re.compile(r"checkpoint-(\d{8,})\.zip")
_STATE = "state.json"

# The locked folders of this process, and their descriptors. A `fit` that an error ends leaves its folder locked; the next one
# in this process may have it.
_locked: dict[str, int] = {}


class Checkpoint(NamedTuple):
    """What one checkpoint holds.

    Attributes:
        path: Its file.
        state: Plain values, as JSON has them.
        arrays: Lists of arrays by name.
    """

    path: str
    state: dict[str, Any]
    arrays: dict[str, list[np.ndarray]]


class CheckpointFolder:
    """The checkpoints of one run.

    Args:
        path: The folder; it is made with the first checkpoint.
        keep: How many of the last checkpoints are kept.
    """

    def __init__(self, path: str, keep: int) -> None:
        self.path = path
        self._keep = keep
        # What is known of the states of files, so that pruning reads none of them twice.
        self._is_kept: dict[str, bool] = {}

    def lock(self) -> None:
        """Keep other processes of this machine from writing here, until `unlock` or the end of this one, whatever ends it.

        It is the kernel's lock on the folder. Where there are none, as on most network file systems, nothing is locked.

        Raises:
            LockedError: If another process has it.
            WriteError: If the folder cannot be made.
        """
        if self.path in _locked:
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(_locked[self.path]), os.stat(self.path)):
                    return
            # The folder was deleted, and whoever makes it anew can lock that one.
            self.unlock()
        try:
            os.makedirs(self.path, exist_ok=True)
        except OSError as error:
            raise WriteError(f"{self.path}: cannot be made: {error.strerror or error}") from error
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError:
            # A folder cannot be opened on Windows.
            return
        try:
            is_locked = lock_file(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            raise LockedError(
                f"{self.path}: another process trains with checkpoints in this folder: wait for its end "
                "(of a notebook, restart it), or take another folder"
            ) from None
        if is_locked:
            _locked[self.path] = descriptor
        else:
            os.close(descriptor)

    def unlock(self) -> None:
        """Let others write here."""
        descriptor = _locked.pop(self.path, None)
        if descriptor is not None:
            os.close(descriptor)

    def newest(self, is_wanted: Callable[[Mapping[str, Any]], bool]) -> Checkpoint | None:
        """The last checkpoint whose state is wanted; None without one. Damaged ones are passed over with a warning.

        Raises:
            ReadError: If the operating system refuses.
        """
        for path in self._paths():
            try:
                state = _read_state(path)
                if is_wanted(state):
                    return Checkpoint(path, state, _read_arrays(path, state))
            except DamagedError as error:
                warnings.warn(f"{error}: it is passed over, and the run goes on from the checkpoint before", stacklevel=5)
        return None

    def write(self, state: Mapping[str, Any], arrays: Mapping[str, Sequence[np.ndarray]], *, is_kept: bool) -> str:
        """Add a checkpoint, and remove old ones, of which only so many are kept.

        Args:
            state: Plain values.
            arrays: Lists of arrays by name.
            is_kept: Whether it stays whatever comes after it.

        Returns:
            The path of its file.

        Raises:
            WriteError: If the operating system refuses.
        """
        try:
            os.makedirs(self.path, exist_ok=True)
        except OSError as error:
            raise WriteError(f"{self.path}: cannot be made: {error.strerror or error}") from error
        paths = self._paths()
        number = _number(paths[0]) + 1 if paths else 0
        path = os.path.join(self.path, f"checkpoint-{number:08d}.zip")
        with publishing(path) as temporary:
            _write(temporary, {**state, "is_kept": is_kept}, arrays)
        self._is_kept[path] = is_kept
        for old in paths[max(self._keep - 1, 0) :]:
            if not self._stays(old):
                remove_file(old)
        return path

    def remove_half_written(self) -> None:
        """Remove what runs have left that were killed while they wrote.

        Raises:
            WriteError: If the operating system refuses.
        """
        remove_temporary(self.path)

    def remove_before(self, path: str, is_unwanted: Callable[[Mapping[str, Any]], bool]) -> None:
        """Remove checkpoints older than one by their state; damaged ones stay."""
        for old in self._paths():
            try:
                if _number(old) < _number(path) and is_unwanted(_read_state(old)):
                    remove_file(old)
            except DamagedError:
                continue

    def _paths(self) -> list[str]:
        """The files of all checkpoints, the newest first."""
        try:
            names = [name for name in os.listdir(self.path) if _NAME.fullmatch(name)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ReadError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        return sorted((os.path.join(self.path, name) for name in names), key=_number, reverse=True)

    def _stays(self, path: str) -> bool:
        if path not in self._is_kept:
            try:
                self._is_kept[path] = bool(_read_state(path).get("is_kept"))
            except DamagedError:
                self._is_kept[path] = False
        return self._is_kept[path]


def _close_locked() -> None:
    """In a forked child, which may outlive the process that trains."""
    while _locked:
        os.close(_locked.popitem()[1])


at_fork(after_in_child=_close_locked)


def _number(path: str) -> int:
    found = _NAME.fullmatch(os.path.basename(path))
    assert found is not None
    return int(found[1])


def _write(path: str, state: Mapping[str, Any], arrays: Mapping[str, Sequence[np.ndarray]]) -> None:
    # numpy's own format knows no bfloat16 and the like: their bytes are kept, and the names of their dtypes beside them.
    described = {name: [{"shape": array.shape, "dtype": array.dtype.name} for array in group] for name, group in arrays.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.writestr(_STATE, json.dumps({**state, "arrays": described}, default=_plain))
        for number, array in enumerate(itertools.chain.from_iterable(arrays.values())):
            with archive.open(f"{number}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, _as_bytes(array), allow_pickle=False)


def _plain(value: Any) -> Any:
    """A number of numpy, or of a backend, as JSON has it."""
    return np.asarray(value).tolist()


def _as_bytes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _read_state(path: str) -> dict[str, Any]:
    with _opened(path) as archive:
        state = json.loads(archive.read(_STATE))
        if not isinstance(state, dict):
            raise ValueError(f"{_STATE} is no object")
    return state


def _read_arrays(path: str, state: Mapping[str, Any]) -> dict[str, list[np.ndarray]]:
    numbers = itertools.count()
    with _opened(path) as archive:
        arrays = {
            name: [_read_array(archive, next(numbers), described) for described in group]
            for name, group in state["arrays"].items()
        }
    return arrays


def _read_array(archive: zipfile.ZipFile, number: int, described: Mapping[str, Any]) -> np.ndarray:
    with archive.open(f"{number}.npy") as member:
        stored = np.lib.format.read_array(member, allow_pickle=False)
    return stored.view(_dtype(described["dtype"])).reshape(described["shape"])


def _dtype(name: str) -> np.dtype:
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes  # comes with Keras; registers bfloat16 and the like

        return np.dtype(getattr(ml_dtypes, name))


@contextmanager
def _opened(path: str) -> Iterator[zipfile.ZipFile]:
    """Open a checkpoint; whatever is wrong with its bytes is a DamagedError."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, EOFError, AttributeError) as error:
        raise DamagedError(f"{path}: is no whole checkpoint ({type(error).__name__}: {one_line(error)})") from error
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror or error}") from error
