"""The files below a URL, in any store that fsspec reaches: S3, Google Cloud Storage, the web, memory, and so on.

fsspec runs all requests of a process in one thread of its own. It does not live on in a forked child, and so a child makes a
file system object of its own, as a process does that got a `RemoteFiles` through pickle.
"""

from __future__ import annotations

import functools
import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from kseq.arguments import shown_url, spelled
from kseq.errors import ArgumentError, DatasetNotFoundError, KseqError, ReadError, WriteError
from kseq.storage.checksums import checksum
from kseq.storage.remote_errors import DENIED, MISSING, TRANSIENT, Redactor, meaning

__all__ = ["DEADLINE", "RefusedError", "RemoteEntry", "RemoteFiles", "check_storage_options"]

# So many seconds a request may take, with all its repetitions, unless storage_options["deadline"] says otherwise. To what moves
# many bytes, the time is added that they take at a slow rate, in bytes a second.
DEADLINE = 120.0
_LEAST_RATE = 1 << 18
# One try takes at most this share of it, so that a stalled connection is given up while there is time for others.
_SHARE_OF_A_TRY = 0.25

# Seconds before the second try, on average half of them; twice as many before each further one, up to the second number.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
# Not Python's generator, which a user seeds: all ranks would knock at the same moment.
_RANDOM = random.SystemRandom()

# So many answers of a wrong length are enough: the file is shorter than it should be, or the server knows no ranges.
_MOST_WRONG = 5

# So many requests are under way at once for one call, and so many bytes are asked for by each while a file is fetched.
_MOST_AT_ONCE = 64
_PIECE_BYTES = 8 << 20
_PIECES_AT_ONCE = 2

# Their own repetitions would multiply ours, and ten connections are too few for many ranges at once.
_S3_CONFIG = {"retries": {"max_attempts": 0}, "max_pool_connections": _MOST_AT_ONCE, "connect_timeout": 10, "read_timeout": 30}
_S3 = {"s3", "s3a"}
# A listing of all files below a folder may take so much longer; what fails is not tried again for longer.
_LISTING_SECONDS = 3600.0
# What stores say of the version of a file, the surest first.
_VERSIONS = ("ETag", "etag", "md5Hash", "content_hash", "LastModified", "last_modified", "updated", "mtime", "created")


# In a child after a fork, the file system objects of its parent: to be freed, they would wait for a thread that is not there.
_INHERITED: list[object] = []

_NOT_LISTED = "cannot be listed"


class _Wanted(NamedTuple):
    """A range of a file: its name, and the bytes from `start` up to `end`."""

    name: str
    start: int
    end: int


class RemoteEntry(NamedTuple):
    """A file of a store, as a listing has it.

    Attributes:
        size: In bytes; -1 for a folder.
        version: A number in [0, 2**63) that differs if the file was written again; None if the store does not tell.
    """

    size: int
    version: int | None


class RefusedError(ReadError):
    """The store answers, and refuses this file: another file may be readable."""


class RemoteFiles:
    """The files below a URL. Safe to use from many threads, after a fork, and in another process through pickle.

    What fails on the way (a status of 500 or more, a timeout, a reset, an answer of another length) is tried again, after
    pauses that double and are drawn at random, until the deadline. What the store refuses is an error at once. An error names
    the URL and the file, and no credential; the error of fsspec, whose text may hold some, is not attached.

    Args:
        url: Of the folder, such as `s3://bucket/flowers`, or of one file, which is then called `""`.
        storage_options: What fsspec passes to the file system, and `deadline`: so many seconds a request may take in all.

    Attributes:
        url: For messages, without credentials.
        source: As passed.
        storage_options: As passed.

    Raises:
        ArgumentError: If fsspec or the package for this kind of URL is not installed, or an option is not allowed.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self.source = url
        self.storage_options = check_storage_options(storage_options)
        self._redactor = Redactor(url, self.storage_options)
        self.url = self._redactor.url
        self._deadline = float(self.storage_options.get("deadline", DEADLINE))
        # Guards the next one: a process makes one file system object.
        self._lock = threading.Lock()
        self._opened: tuple[int, Any, str] | None = None
        # At once, so that a missing package or an unknown kind of URL is noticed here.
        self._file_system()

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.source, "storage_options": self.storage_options}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        RemoteFiles.__init__(self, **state)

    def __repr__(self) -> str:
        return f"<RemoteFiles {self.url!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteFiles) and self.__getstate__() == other.__getstate__()

    def __hash__(self) -> int:
        return hash(self.source)

    def shown(self, name: str) -> str:
        """The URL of a file, for messages."""
        return shown_url(f"{self.url.rstrip('/')}/{name}") if name else self.url

    # Reading.

    def size(self, name: str) -> int:
        """The size of a file, in bytes.

        Raises:
            DatasetNotFoundError: If there is no such file.
            ReadError: If the store refuses, or does not answer until the deadline.
        """
        size = self.info(name).get("size")
        if not isinstance(size, int):
            raise ReadError(f"{self.shown(name)}: the server does not say how large it is, which kseq needs")
        return size

    def info(self, name: str) -> dict[str, Any]:
        """What the store says of a file: `size`, `type`, and what it has else, such as `ETag`; errors as of `size`."""
        return self._call(name, "cannot be looked up", "info", self._path(name))

    def exists(self, name: str) -> bool:
        """Whether there is such a file or folder.

        Raises:
            ReadError: As `size` does.
        """
        try:
            self.info(name)
        except DatasetNotFoundError:
            return False
        return True

    def list(self, folder: str = "") -> Sequence[str]:
        """The names of the files and folders in a folder, in the order of the alphabet.

        Raises:
            DatasetNotFoundError: If there is no such folder.
            ReadError: As `size` does.
        """
        listed = self._call(folder, _NOT_LISTED, "ls", self._path(folder).rstrip("/"), detail=False)
        names = {path.rstrip("/").rpartition("/")[2].partition("?")[0] for path in listed}
        return sorted(names - {""})

    def entry(self, name: str) -> RemoteEntry:
        """The size and the version of a file, or of a folder; errors as of `size`."""
        return _entry(self.info(name))

    def entries(self, folder: str = "", *, recursive: bool = False) -> dict[str, RemoteEntry]:
        """The files in a folder, by their names; with `recursive` those in all folders below it, by their paths from there.

        Without `recursive`, folders are listed too, with the size -1.

        Raises:
            DatasetNotFoundError: If there is no such folder.
            ReadError: As `size` does.
        """
        top = self._path(folder).rstrip("/")
        # A store may list a thousand files a request: of millions, that takes its time.
        method = "find" if recursive else "ls"
        listed = self._call(folder, _NOT_LISTED, method, top, patience=_LISTING_SECONDS if recursive else 0, detail=True)
        found = listed.values() if isinstance(listed, dict) else listed
        entries = {}
        for facts in found:
            # Some stores begin a path with a slash where others do not.
            path = str(facts["name"]).strip("/").removeprefix(top.strip("/")).lstrip("/").partition("?")[0]
            # Some list the folder itself, as an empty file.
            if path:
                entries[path] = _entry(facts)
        return dict(sorted(entries.items()))

    def read(self, name: str, start: int, end: int) -> bytes:
        """The bytes of a file from `start` up to `end`.

        Raises:
            DatasetNotFoundError: If there is no such file.
            ReadError: If the store refuses, or answers with too few or too many bytes until the deadline.
        """
        return self.read_ranges([name], [start], [end])[0]

    def read_ranges(self, names: Sequence[str], starts: Sequence[int], ends: Sequence[int]) -> Sequence[bytes]:
        """Ranges of files, many at once; errors as of `read`, of the first that fails for good.

        Args:
            names: Of the file of each range.
            starts: At which byte each begins.
            ends: Before which byte each ends.
        """
        wanted = [_Wanted(*one) for one in zip(names, starts, ends, strict=True)]
        answers = self._read([one for one in wanted if one.end > one.start])
        return [answers[one] if one.end > one.start else b"" for one in wanted]

    def get(self, name: str, local: str, *, size: int | None = None, start: int = 0) -> int:
        """Write a file of the store to a local one, piece by piece, so that it is never in memory as a whole.

        Args:
            name: Of the file.
            local: The path to write to. A file that is there is written over from `start` on, and cut off behind the end.
            size: Of the file, where it is known.
            start: How many bytes of it are there already.

        Returns:
            The size of the file, in bytes.

        Raises:
            DatasetNotFoundError: If there is no such file.
            ReadError: As `read` does.
            WriteError: If the local file cannot be written.
        """
        total = self.size(name) if size is None else size
        try:
            with open(os.open(local, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b", buffering=0) as file:
                file.seek(start)
                for first in range(start, total, _PIECE_BYTES * _PIECES_AT_ONCE):
                    for piece in self._pieces(name, first, total):
                        _write_all(file, piece)
                    if file.tell() >= total:
                        break
                file.truncate(total)
        except OSError as error:
            if isinstance(error, KseqError):
                raise
            raise WriteError(f"{local}: cannot be written: {error.strerror}") from error
        return total

    def _pieces(self, name: str, first: int, total: int) -> Sequence[bytes]:
        """Some bytes of a file from `first` on; all that follow, where the server knows no ranges."""
        last = min(first + _PIECE_BYTES * _PIECES_AT_ONCE, total)
        wanted = [_Wanted(name, start, min(start + _PIECE_BYTES, last)) for start in range(first, last, _PIECE_BYTES)]
        if first == 0 and len(wanted) > 1:
            # By itself: a server that knows no ranges answers with the whole file.
            answers = self._read(wanted[:1], whole=total)
            if len(answers[wanted[0]]) == total:
                return [answers[wanted[0]]]
            answers |= self._read(wanted[1:])
        else:
            answers = self._read(wanted)
        return [answers[one] for one in wanted]

    # Writing.

    def put(self, local: str, name: str) -> None:
        """Write a local file to the store, in place of one that has the name already; its size is compared afterwards.

        Raises:
            WriteError: If the store refuses, or does not answer until the deadline.
        """
        try:
            size = os.stat(local).st_size
        except OSError as error:
            raise ReadError(f"{local}: cannot be read: {error.strerror}") from error

        def put_file(seconds: float) -> None:
            file_system, _ = self._file_system()
            _run(file_system, "put_file", seconds, local, self._path(name))
            found = _run(file_system, "info", seconds, self._path(name)).get("size")
            if found not in (size, None):
                raise EOFError(f"the store has {found} bytes of it, expected are {size}")

        try:
            self._attempt(name, "cannot be written", put_file, size, WriteError)
        except DatasetNotFoundError:
            raise WriteError(
                f"{self.shown(name)}: cannot be written: there is no such bucket or folder: make it first"
            ) from None

    def delete(self, name: str) -> None:
        """Remove a file of the store.

        Raises:
            DatasetNotFoundError: If there is no such file.
            WriteError: If the store refuses, or does not answer until the deadline.
        """
        self._call(name, "cannot be removed", "rm_file", self._path(name), error=WriteError)

    # How.

    def _path(self, name: str) -> str:
        """The path of a file as the file system object calls it. Of the web it is a URL, whose query stays at its end."""
        _, folder = self._file_system()
        if not name:
            return folder
        if folder.startswith(("http://", "https://")):
            base, mark, query = folder.partition("?")
            return f"{base.rstrip('/')}/{name}{mark}{query}"
        return f"{folder.rstrip('/')}/{name}"

    def _file_system(self) -> tuple[Any, str]:
        """fsspec's file system object of this process, and the path of the folder in it."""
        opened = self._opened
        if opened is None or opened[0] != os.getpid():
            if opened is not None:
                # A child after a fork: another thread of the parent may have held the lock.
                self._lock = threading.Lock()
                _INHERITED.append(opened)
            with self._lock:
                if self._opened is None or self._opened[0] != os.getpid():
                    self._opened = (os.getpid(), *self._open())
                opened = self._opened
        return opened[1], opened[2]

    def _open(self) -> tuple[Any, str]:
        try:
            import fsspec
        except ImportError as error:
            raise ArgumentError(f"{self.url}: a URL needs fsspec: pip install 'kseq[remote]'") from error
        failure: BaseException
        try:
            file_system, path = fsspec.url_to_fs(self.source, **self._options())
        except (ImportError, ValueError, TypeError, OSError) as error:
            failure = error
        else:
            # s3fs's own repetitions.
            if hasattr(file_system, "retries"):
                file_system.retries = 1
            return file_system, path
        reason = self._redactor.reason(failure)
        if isinstance(failure, ImportError):
            advice = "pip install 'kseq[remote]' has what s3:// and https:// need, hf:// needs huggingface_hub, gs:// gcsfs"
            raise ArgumentError(f"{self.url}: a package for such URLs is missing: {reason} ({advice})")
        raise ArgumentError(f"{self.url}: fsspec cannot open it: {reason}")

    def _options(self) -> dict[str, Any]:
        """What fsspec gets: an object of our own, which lists anew what others may have changed."""
        options = {name: value for name, value in self.storage_options.items() if name != "deadline"}
        options = {"skip_instance_cache": True, "use_listings_cache": False, **options}
        if self.source.partition("://")[0] in ("file", "local"):
            options["auto_mkdir"] = True
        if self.source.partition("://")[0] in _S3:
            options["config_kwargs"] = {**_S3_CONFIG, **options.get("config_kwargs", {})}
        return options

    def _call(
        self,
        name: str,
        failed: str,
        method: str,
        *values: Any,
        error: type[KseqError] = ReadError,
        patience: float = 0,
        **named: Any,
    ) -> Any:
        """A call of a method of the file system object; one that works may take so many seconds more as `patience` says."""

        def call(seconds: float) -> Any:
            return _run(self._file_system()[0], method, seconds + patience, *values, **named)

        return self._attempt(name, failed, call, 0, error)

    def _read(self, wanted: Sequence[_Wanted], whole: int | None = None) -> dict[_Wanted, bytes]:
        """Ranges that are not empty; an answer of `whole` bytes is taken as well. Only what failed is asked for again."""
        answers: dict[_Wanted, bytes] = {}

        def ask(seconds: float) -> None:
            missing = [one for one in dict.fromkeys(wanted) if one not in answers]
            transient: BaseException | None = None
            for one, answer in zip(missing, self._ask(missing, seconds), strict=True):
                if isinstance(answer, BaseException):
                    if meaning(answer) != TRANSIENT:
                        raise _RangeError(one.name, answer)
                    transient = transient or _RangeError(one.name, answer)
                elif len(answer) not in (one.end - one.start, whole):
                    transient = transient or _RangeError(one.name, _wrong_length(one, answer))
                else:
                    answers[one] = bytes(answer)
            if transient is not None:
                raise transient

        if wanted:
            num_bytes = sum(end - start for _, start, end in wanted)
            self._attempt(wanted[0].name, "cannot be read", ask, num_bytes, ReadError)
        return answers

    def _ask(self, wanted: Sequence[_Wanted], seconds: float) -> Sequence[Any]:
        """The bytes of each range, or the error in their place."""
        file_system, _ = self._file_system()
        paths = [self._path(name) for name, _, _ in wanted]
        starts, ends = [start for _, start, _ in wanted], [end for _, _, end in wanted]
        if getattr(file_system, "async_impl", False):
            options = {"batch_size": _MOST_AT_ONCE, "on_error": "return"}
            answers: Sequence[Any] = _run(file_system, "cat_ranges", seconds, paths, starts, ends, **options)
            return answers
        ask = functools.partial(_cat_file, file_system)
        if len(wanted) == 1:
            return [ask(paths[0], starts[0], ends[0])]
        with ThreadPoolExecutor(min(len(wanted), _MOST_AT_ONCE), "kseq-ranges") as threads:
            return list(threads.map(ask, paths, starts, ends))

    def _attempt(self, name: str, failed: str, call: Callable[[float], Any], num_bytes: int, error: type[KseqError]) -> Any:
        """Call until it works, until it fails for good, or until the deadline.

        Args:
            name: Of the file.
            failed: What did not work, for the message.
            call: Gets the seconds that it may take.
            num_bytes: How many bytes it moves.
            error: What to raise.
        """
        extra = num_bytes / _LEAST_RATE
        began, pause, number = time.monotonic(), _FIRST_PAUSE, 0
        last = began + self._deadline + extra
        while True:
            number += 1
            try:
                return call(min(self._deadline * _SHARE_OF_A_TRY + extra, max(last - time.monotonic(), 0.001)))
            except KseqError:
                raise
            except Exception as failure:
                # Not raised from here: the error would carry the text of fsspec's, with whatever URL that has.
                met: Exception = failure
            if isinstance(met, _RangeError):
                name, cause = met.name, met.error
            else:
                cause = met
            kind, waited = meaning(cause), _RANDOM.uniform(0, pause)
            is_settled = isinstance(cause, _WrongLengthError) and number >= _MOST_WRONG
            if kind != TRANSIENT or is_settled or time.monotonic() + waited > last:
                break
            time.sleep(waited)
            pause = min(2 * pause, _LONGEST_PAUSE)
        del met
        raise self._error(name, failed, kind, cause, number, time.monotonic() - began, error)

    def _error(
        self, name: str, failed: str, kind: str, cause: BaseException, tries: int, waited: float, error: type[KseqError]
    ) -> KseqError:
        path, reason = self.shown(name), self._redactor.reason(cause)
        if not str(cause).strip() and kind == TRANSIENT:
            reason = "no answer in time" if "imeout" in type(cause).__name__ else type(cause).__name__
        if kind == MISSING:
            return DatasetNotFoundError(f"{path}: there is no such {'folder' if failed == _NOT_LISTED else 'file'}")
        if kind != TRANSIENT and error is ReadError:
            error = RefusedError
        if kind == DENIED:
            return error(f"{path}: {failed}: access is denied ({reason}): look at the credentials, or pass storage_options")
        if kind == TRANSIENT:
            return error(
                f"{path}: {failed}: {reason} ({tries} tries in {waited:.0f} s; storage_options={{'deadline': SECONDS}} allows "
                f"more than {self._deadline:g})"
            )
        return error(f"{path}: {failed}: {reason}")


class _RangeError(Exception):
    """One of several ranges failed."""

    def __init__(self, name: str, error: BaseException) -> None:
        super().__init__(name)
        self.name = name
        self.error = error


def _entry(facts: Mapping[str, Any]) -> RemoteEntry:
    size = -1 if facts.get("type") == "directory" else facts.get("size")
    version = next((facts[name] for name in _VERSIONS if facts.get(name)), None)
    return RemoteEntry(size if isinstance(size, int) else 0, None if version is None else checksum(repr(version).encode()) >> 1)


def check_storage_options(options: Any) -> dict[str, Any]:
    """The argument `storage_options`.

    Raises:
        ArgumentError: Where it is no dict of texts to values, or the deadline is not above 0.
    """
    if options is None:
        return {}
    # Not the value: it may hold credentials.
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        raise ArgumentError(f"storage_options is a {type(options).__name__}: allowed is a dict of fsspec's options by name")
    deadline = options.get("deadline", DEADLINE)
    if isinstance(deadline, bool) or not isinstance(deadline, (int, float)) or not deadline > 0:
        raise ArgumentError(f"{spelled('storage_options', {'deadline': deadline})}: allowed are seconds above 0")
    return dict(options)


def _run(file_system: Any, method: str, seconds: float, *values: Any, **named: Any) -> Any:
    """A method of a file system object; where requests run in fsspec's thread, for at most so many seconds."""
    if not getattr(file_system, "async_impl", False):
        return getattr(file_system, method)(*values, **named)
    from fsspec.asyn import sync

    return sync(file_system.loop, getattr(file_system, f"_{method}"), *values, timeout=seconds, **named)


def _cat_file(file_system: Any, path: str, start: int, end: int) -> bytes | Exception:
    try:
        data: bytes = file_system.cat_file(path, start, end)
    except Exception as error:
        return error
    return data


class _WrongLengthError(EOFError):
    """An answer is not as long as what was asked for."""


def _wrong_length(wanted: _Wanted, answer: bytes) -> Exception:
    count = wanted.end - wanted.start
    hint = "; the server may not know byte ranges" if len(answer) > count else ""
    return _WrongLengthError(f"the answer has {len(answer)} bytes, asked for were {count}, from byte {wanted.start} on{hint}")


def _write_all(file: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
