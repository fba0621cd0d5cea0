"""Files on systems that cannot all do the same: flushing, replacing while others read, reading at an offset, names."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import kseq
from kseq.errors import LockedError, WriteError
from kseq.platforms import files
from tests.helpers.messages import raises

# What file systems answer that cannot flush a folder, and what a disk says that is full or fails.
CANNOT = [errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOSYS, errno.ENOTTY]
FAILING = [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE]


def name_of(number: int) -> str:
    return errno.errorcode[number]


def failing(call: Callable[..., None], number: int, *, folders: bool) -> Callable[[int], None]:
    """A function that fails for descriptors of folders, or of files, and else calls the true one."""

    def fail(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == folders:
            raise OSError(number, os.strerror(number))
        call(descriptor)

    return fail


@pytest.mark.parametrize("number", CANNOT, ids=name_of)
def test_a_file_system_that_cannot_flush_folders_holds_a_dataset(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", failing(os.fsync, number, folders=True))
    kseq.pack(source, tmp_path / "packed", workers=0)
    kseq.drop(tmp_path / "packed", ids=[0])
    kseq.undo(tmp_path / "packed")
    kseq.export(tmp_path / "packed", tmp_path / "out")
    assert not kseq.verify(tmp_path / "packed").damaged


@pytest.mark.parametrize("number", FAILING, ids=name_of)
def test_a_disk_that_fails_when_a_folder_is_flushed_is_an_error(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", failing(os.fsync, number, folders=True))
    with raises(WriteError, tmp_path / "packed", os.strerror(number)):
        kseq.pack(source, tmp_path / "packed", workers=0)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO], ids=name_of)
def test_a_file_that_cannot_be_flushed_is_an_error(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", failing(os.fsync, number, folders=False))
    with raises(WriteError, tmp_path / "packed", os.strerror(number)):
        kseq.pack(source, tmp_path / "packed", workers=0)


def test_a_folder_that_may_not_be_listed_is_no_error_and_one_that_is_gone_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError):
        files.flush(str(tmp_path / "gone"))

    def refuse(path: str, *_: int) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "open", refuse)
    files.flush(str(tmp_path))
    with pytest.raises(PermissionError):
        files.flush(str(tmp_path / "file"))


class FullFsync:
    """The module fcntl of macOS, whose file systems answer this, and what is called of it."""

    F_FULLFSYNC = 51

    def __init__(self, answer: int) -> None:
        self._answer = answer
        self.calls: list[str] = []

    def fcntl(self, descriptor: int, command: int) -> None:
        assert (command, os.fstat(descriptor).st_size) == (51, 3)
        self.calls.append("full")
        if self._answer:
            raise OSError(self._answer, os.strerror(self._answer))

    def fsync(self, descriptor: int) -> None:
        self.calls.append("fsync")


@pytest.mark.parametrize("answer", [0, errno.ENOTSUP, errno.EINVAL, errno.ENOTTY, errno.EIO, errno.ENOSPC])
def test_macos_flushes_the_memory_of_the_disk_too_where_the_file_system_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    macos = FullFsync(answer)
    monkeypatch.setattr(files, "fcntl", macos)
    monkeypatch.setattr(os, "fsync", macos.fsync)
    if answer in FAILING:
        with pytest.raises(OSError, match=os.strerror(answer)):
            files.flush(str(tmp_path / "file"))
    else:
        files.flush(str(tmp_path / "file"))
    # After a failure, a second try would succeed without writing what was lost.
    assert macos.calls == (["full", "fsync"] if answer and answer not in FAILING else ["full"])


class InUseError(PermissionError):
    """What Windows says of a file that somebody has open."""

    winerror = 32


def in_use(times: int, call: Callable[..., None]) -> Callable[..., None]:
    """A function that refuses so many times before it calls the true one."""
    left = [times]

    def refuse(*paths: str) -> None:
        if left[0]:
            left[0] -= 1
            raise InUseError(errno.EACCES, "in use", paths[-1])
        call(*paths)

    return refuse


@pytest.mark.parametrize("name", ["replace", "rename", "unlink", "rmdir"])
def test_what_a_reader_has_open_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    calls: dict[str, Callable[[], None]] = {
        "replace": lambda: files.replace(str(tmp_path / "file"), str(tmp_path / "new")),
        "rename": lambda: files.rename(str(tmp_path / "file"), str(tmp_path / "new")),
        "unlink": lambda: files.remove(str(tmp_path / "file")),
        "rmdir": lambda: files.remove_folder(str(tmp_path / "folder")),
    }
    monkeypatch.setattr(os, name, in_use(3, getattr(os, name)))
    calls[name]()
    assert (tmp_path / ("folder" if name == "rmdir" else "file")).exists() is False


def test_a_reader_that_does_not_let_go_is_waited_for_no_longer_than_some_seconds(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_RELEASED_WITHIN", 0.2)
    monkeypatch.setattr(os, "replace", in_use(10_000, os.replace))
    before = (packed / "index.h5").read_bytes()
    started = time.monotonic()
    with raises(WriteError, packed / "index.h5", "end the program that has it open, and try again"):
        kseq.drop(packed, ids=[0])
    assert time.monotonic() - started < 60
    assert (packed / "index.h5").read_bytes() == before


def test_a_refusal_for_another_reason_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: str) -> None:
        refusals.append(PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
        raise refusals[-1]

    refusals: list[OSError] = []
    for name in ("replace", "unlink"):
        monkeypatch.setattr(os, name, refuse)
    for call in (lambda: files.replace("a", "b"), lambda: files.remove("a"), lambda: files.remove_unless_in_use("a")):
        with pytest.raises(PermissionError):
            call()
    assert len(refusals) == 3


def test_a_file_of_no_use_stays_while_somebody_has_it_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shard").touch()
    monkeypatch.setattr(os, "unlink", in_use(1, os.unlink))
    files.remove_unless_in_use(str(tmp_path / "shard"))
    assert (tmp_path / "shard").exists()
    files.remove_unless_in_use(str(tmp_path / "shard"))
    assert not (tmp_path / "shard").exists()


class Msvcrt:
    """The module of Windows that locks, whose next answer is this error."""

    LK_NBLCK = 2

    def __init__(self, answer: int) -> None:
        self._answer = answer

    def locking(self, descriptor: int, mode: int, num_bytes: int) -> None:
        assert (mode, num_bytes) == (2, 1)
        # Nobody else can read a byte that is locked.
        assert os.lseek(descriptor, 0, os.SEEK_CUR) > 1 << 20
        if self._answer:
            raise OSError(self._answer, os.strerror(self._answer))


@pytest.mark.parametrize("answer", [errno.EACCES, errno.EDEADLK])
def test_a_dataset_that_windows_has_locked_is_refused(packed: Path, monkeypatch: pytest.MonkeyPatch, answer: int) -> None:
    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setattr(files, "msvcrt", Msvcrt(answer))
    monkeypatch.setattr("kseq.storage.lock._WRITTEN_WITHIN", 0.05)
    with raises(LockedError, packed):
        kseq.drop(packed, ids=[0])


@pytest.mark.parametrize("module", [Msvcrt(0), Msvcrt(errno.EINVAL), None])
def test_a_dataset_is_changed_where_windows_locks_it_and_where_nothing_locks(
    packed: Path, monkeypatch: pytest.MonkeyPatch, module: Msvcrt | None
) -> None:
    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setattr(files, "msvcrt", module)
    kseq.drop(packed, ids=[0])
    kseq.undo(packed)
    assert ".kseq-lock" not in os.listdir(packed)


def test_many_threads_read_one_file_at_their_offsets_without_pread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pread", raising=False)
    data = os.urandom(1 << 16)
    (tmp_path / "file").write_bytes(data)
    with open(tmp_path / "file", "rb", buffering=0) as file, ThreadPoolExecutor(8) as threads:
        file.seek(7)
        offsets = [number * 37 % (1 << 16) for number in range(4000)]
        found = threads.map(lambda start: files.read_at(file.fileno(), 50, start), offsets)
        assert list(found) == [data[offset : offset + 50] for offset in offsets]
        assert file.tell() == 7


BAD_ON_WINDOWS = [
    *("con", "CON.jpg", "nul.tar.gz", "Aux", "COM1.png", "lpt9", "com¹.jpg", "con .jpg", "CONIN$", "a.", "a ", "", ".", ".."),
    *("a:b.jpg", "a\\b.jpg", "..\\..\\a.jpg", "C:a.jpg", "a?.jpg", "a*", "<a>", 'a"b', "a|b", "a\nb", "a\x1f"),
]


@pytest.mark.parametrize("name", BAD_ON_WINDOWS)
def test_windows_has_no_file_of_such_a_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert files.is_file_name(name)
    monkeypatch.setattr(files, "_IS_WINDOWS", True)
    assert not files.is_file_name(name)


@pytest.mark.parametrize(
    "name", ["console.jpg", "com0.jpg", "com10.jpg", "nulls", "a.con", "ünï☃.jpg", "a b.jpg", ".hidden", "lpt"]
)
def test_windows_has_files_of_names_that_are_nearly_so(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(files, "_IS_WINDOWS", True)
    assert files.is_file_name(name)


def test_paths_are_stored_with_slashes_whatever_the_system_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    # On Linux, a backslash is a character like others.
    assert files.with_slashes("a\\b/c") == "a\\b/c"
    assert files.path_bytes("a\\b/ü") == "a\\b/ü".encode()
    monkeypatch.setattr(os, "sep", "\\")
    assert files.with_slashes("a\\b/c") == "a/b/c"
    assert files._bytes_with_slashes("a\\b/ü") == "a/b/ü".encode()
    assert files._bytes_with_slashes(b"a\\b") == b"a/b"
