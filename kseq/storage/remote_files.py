"""The files below a URL, in any store that fsspec reaches: S3, Google Cloud Storage, the web, memory, and so on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kseq.errors import DatasetNotFoundError, KseqError, ReadError, WriteError
from kseq.storage.checksums import checksum
from kseq.storage.remote_download import Download
from kseq.storage.remote_errors import TRANSIENT, Redactor, meaning
from kseq.storage.remote_retries import NOT_LISTED, RangeError, Retries, WrongLengthError
from kseq.storage.remote_system import DEADLINE, RemoteSystem, Wanted, check_storage_options

__all__ = ["RemoteEntry", "RemoteFiles"]

# A listing of all files below a folder may take so much longer; what fails is not tried again for longer.
_LISTING_SECONDS = 3600.0
# What stores say of the version of a file, the surest first.
_VERSIONS = (
    *("ETag", "etag", "md5Hash", "content_md5", "content_hash", "blob_id"),
    *("LastModified", "last_modified", "updated", "mtime", "created"),
)


class RemoteEntry(NamedTuple):
    """A file of a store, as a listing has it.

    Attributes:
        size: In bytes; -1 for a folder.
        version: A number in [0, 2**63) that differs if the file was written again; None if the store does not tell.
    """

    size: int
    version: int | None


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
        self._system = RemoteSystem(url, self.storage_options, self._redactor)
        self._retries = Retries(float(self.storage_options.get("deadline", DEADLINE)), self._redactor, self._system.prepare)
        self._download = Download(self._system, self._retries, self._read)

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
        return self._redactor.shown(name)

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
        return self._call(name, "cannot be looked up", "info", self._system.path(name))

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
        listed = self._call(folder, NOT_LISTED, "ls", self._system.path(folder).rstrip("/"), detail=False)
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
        top = self._system.path(folder).rstrip("/")
        # A store may list a thousand files a request: of millions, that takes its time.
        method = "find" if recursive else "ls"
        listed = self._call(folder, NOT_LISTED, method, top, patience=_LISTING_SECONDS if recursive else 0, detail=True)
        found = listed.values() if isinstance(listed, dict) else listed
        entries = {}
        for facts in found:
            # An empty file of such a name is how tools of object stores make a folder.
            if str(facts["name"]).endswith("/") and facts.get("type") != "directory":
                continue
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

    def read_file(self, name: str, size: int | None = None) -> bytes:
        """All bytes of a file, in one request; errors as of `read`.

        Args:
            name: Of the file.
            size: That it had, if it is known. If it has another, the store is asked whether that is right.
        """

        def ask(seconds: float) -> bytes:
            data = self._system.read_file(name, seconds)
            if size not in (None, len(data)):
                found = self._system.run("info", seconds, self._system.path(name)).get("size")
                if found not in (None, len(data)):
                    raise _wrong_length(Wanted(name, 0, found), data)
            return data

        whole: bytes = self._retries.call(name, "cannot be read", ask, size or 0, ReadError)
        return whole

    def read_ranges(self, names: Sequence[str], starts: Sequence[int], ends: Sequence[int]) -> Sequence[bytes]:
        """Ranges of files, many at once; errors as of `read`, of the first that fails for good.

        Args:
            names: Of the file of each range.
            starts: At which byte each begins.
            ends: Before which byte each ends.
        """
        wanted = [Wanted(*one) for one in zip(names, starts, ends, strict=True)]
        answers = self._read([one for one in wanted if one.end > one.start])
        return [answers[one] if one.end > one.start else b"" for one in wanted]

    def get(self, name: str, local: str, *, size: int | None = None, start: int = 0, is_flushed: bool = False) -> int:
        """Write a file of the store to a local one, as it arrives, so that it is never in memory as a whole.

        Args:
            name: Of the file.
            local: The path to write to. A file that is there is written over from `start` on, and cut off behind the end.
            size: Of the file, where it is known.
            start: How many bytes of it are there already.
            is_flushed: Whether the caller flushes it to the disk, which then takes less time at the end.

        Returns:
            The size of the file, in bytes.

        Raises:
            DatasetNotFoundError: If there is no such file.
            ReadError: As `read` does.
            WriteError: If the local file cannot be written.
        """
        total = self.size(name) if size is None else size
        self._download.get(name, local, total, start, is_flushed=is_flushed)
        return total

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
            self._system.run("put_file", seconds, local, self._system.path(name))
            found = self._system.run("info", seconds, self._system.path(name)).get("size")
            if found not in (size, None):
                raise EOFError(f"the store has {found} bytes of it, expected are {size}")

        try:
            self._retries.call(name, "cannot be written", put_file, size, WriteError)
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
        self._call(name, "cannot be removed", "rm_file", self._system.path(name), error=WriteError)

    # How.

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
            return self._system.run(method, seconds + patience, *values, **named)

        return self._retries.call(name, failed, call, 0, error)

    def _read(self, wanted: Sequence[Wanted], whole: int | None = None) -> dict[Wanted, bytes]:
        """Ranges that are not empty; an answer of `whole` bytes is taken as well. Only what failed is asked for again."""
        answers: dict[Wanted, bytes] = {}

        def ask(seconds: float) -> None:
            missing = [one for one in dict.fromkeys(wanted) if one not in answers]
            transient: BaseException | None = None
            for one, answer in zip(missing, self._system.read_ranges(missing, seconds), strict=True):
                if isinstance(answer, BaseException):
                    if meaning(answer) != TRANSIENT:
                        raise RangeError(one.name, answer)
                    transient = transient or RangeError(one.name, answer)
                elif len(answer) not in (one.end - one.start, whole):
                    transient = transient or RangeError(one.name, _wrong_length(one, answer))
                else:
                    answers[one] = bytes(answer)
            if transient is not None:
                raise transient

        if wanted:
            num_bytes = sum(end - start for _, start, end in wanted)
            self._retries.call(wanted[0].name, "cannot be read", ask, num_bytes, ReadError)
        return answers


def _entry(facts: Mapping[str, Any]) -> RemoteEntry:
    size = -1 if facts.get("type") == "directory" else facts.get("size")
    version = next((facts[name] for name in _VERSIONS if facts.get(name)), None)
    return RemoteEntry(size if isinstance(size, int) else 0, None if version is None else checksum(repr(version).encode()) >> 1)


def _wrong_length(wanted: Wanted, answer: bytes) -> Exception:
    count = wanted.end - wanted.start
    hint = "; the server may not know byte ranges" if len(answer) > count else ""
    return WrongLengthError(f"the answer has {len(answer)} bytes, asked for were {count}, from byte {wanted.start} on{hint}")
