"""A URL that holds the files of a dataset, or is to hold them."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from kseq.arguments import is_url
from kseq.errors import DatasetNotFoundError, KseqError, WriteError
from kseq.platforms.stop_signals import stopping_once
from kseq.storage.checksums import Digest
from kseq.storage.lock import locked
from kseq.storage.places import FolderPlace, Place
from kseq.storage.remote_files import RemoteFiles

__all__ = ["UrlPlace", "place_at", "spool_folder"]

_READ_BYTES = 1 << 20
_SPOOL_PREFIX = "kseq-spool-"
# A folder that is as new as that may not be locked yet.
_NEW_SECONDS = 60


def place_at(path: str, spool: str, storage_options: Mapping[str, Any] | None = None, *, read_back: bool = True) -> Place:
    """A place by its path or URL; the arguments are those of `UrlPlace`.

    Raises:
        ArgumentError: If fsspec, or its package for such URLs, is not installed, or does not know the URL.
    """
    return UrlPlace(path, spool, storage_options, read_back=read_back) if is_url(path) else FolderPlace(path)


@contextmanager
def spool_folder() -> Iterator[str]:
    """A temporary folder for files on their way to or from a URL, until the end of the block.

    Those of processes that were killed are removed first.

    Raises:
        WriteError: If it cannot be made.
    """
    parent = tempfile.gettempdir()
    _remove_left(parent)
    # Who presses Ctrl-C twice would else leave the folder.
    with stopping_once():
        try:
            folder = tempfile.mkdtemp(prefix=_SPOOL_PREFIX)
        except OSError as error:
            raise WriteError(
                f"{parent}: no temporary folder can be made there: {error.strerror} (TMPDIR says where)"
            ) from error
        try:
            with locked(folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_left(parent: str) -> None:
    """Remove the temporary folders of processes that have ended: nobody has their lock."""
    for folder in glob.glob(os.path.join(glob.escape(parent), f"{_SPOOL_PREFIX}*")):
        # Of somebody else, in use, or gone meanwhile.
        with suppress(OSError, KseqError):
            if time.time() - os.stat(folder).st_mtime > _NEW_SECONDS:
                with locked(folder):
                    shutil.rmtree(folder)


class UrlPlace(Place):
    """A URL of any file system of fsspec.

    Args:
        url: The URL.
        spool: A folder of this machine for files on their way, which are removed afterwards.
        storage_options: What the file system is made with.
        read_back: Whether a file that was stored is read back, and compared with what was sent.
    """

    def __init__(
        self, url: str, spool: str, storage_options: Mapping[str, Any] | None = None, *, read_back: bool = True
    ) -> None:
        self._files = RemoteFiles(url, storage_options)
        self.name = self._files.url
        self._spool = spool
        self._read_back = read_back

    def path(self, name: str) -> str:
        return self._files.shown(name)

    def sizes(self) -> dict[str, int]:
        try:
            return {name: entry.size for name, entry in self._files.entries().items()}
        except DatasetNotFoundError:
            return {}

    def read(self, name: str, start: int, end: int) -> bytes:
        return self._files.read(name, start, end)

    def fetch(self, name: str, path: str) -> None:
        self._files.get(name, path)

    @contextmanager
    def at_hand(self, name: str) -> Iterator[str]:
        # Many may be fetched at once.
        path = os.path.join(self._spool, f"{uuid.uuid4().hex}-{name}")
        try:
            self.fetch(name, path)
            yield path
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)

    def store(self, path: str, name: str) -> None:
        self._files.put(path, name)
        if not self._read_back:
            return
        sent = _file_digest(path)
        with self.at_hand(name) as arrived:
            if _file_digest(arrived) != sent:
                raise WriteError(f"{self.path(name)}: has arrived with other bytes than were sent: write it again")

    def receive(self, origin: Place, name: str, check: Callable[[str], None]) -> None:
        with origin.at_hand(name) as path:
            check(path)
            self.store(path, name)

    def remove(self, name: str) -> None:
        with suppress(DatasetNotFoundError):
            self._files.delete(name)


def _file_digest(path: str) -> bytes:
    digest = Digest()
    with open(path, "rb") as file:
        while data := file.read(_READ_BYTES):
            digest.update(data)
    return digest.digest()
