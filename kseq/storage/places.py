"""Where the files of a dataset lie as a whole: a folder of this machine; `url_place` has the other kind."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from kseq.errors import DamagedError, DatasetNotFoundError, ReadError, WriteError
from kseq.storage.atomic import publishing, remove_file

__all__ = ["FolderPlace", "Place"]


class Place(ABC):
    """A folder or a URL that holds the files of a dataset, or is to hold them.

    Attributes:
        name: The folder or the URL, for messages, without credentials.
    """

    name: str

    def path(self, name: str) -> str:
        """The path or the URL of a file, for messages."""
        return f"{self.name.rstrip('/')}/{name}"

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Name to size in bytes of every file, the size of anything else is -1; empty if there is no such place yet.

        Raises:
            ReadError: If it cannot be listed.
        """

    @abstractmethod
    def read(self, name: str, start: int, end: int) -> bytes:
        """The bytes of a file from `start` up to `end`.

        Raises:
            DatasetNotFoundError: If there is no such file.
            DamagedError: If it ends before `end`.
            ReadError: If it cannot be read.
        """

    @abstractmethod
    def fetch(self, name: str, path: str) -> None:
        """Copy a file to a path of this machine.

        Raises:
            DatasetNotFoundError: If there is no such file.
            ReadError: If it cannot be read.
            WriteError: If the disk of this machine refuses.
        """

    @abstractmethod
    def at_hand(self, name: str) -> AbstractContextManager[str]:
        """A path of this machine with the bytes of a file, to be read until the end of the block; raises as `fetch` does."""

    @abstractmethod
    def store(self, path: str, name: str) -> None:
        """Copy a file of this machine to there.

        Raises:
            WriteError: If it cannot be written, or does not arrive as it was.
        """

    @abstractmethod
    def receive(self, origin: Place, name: str, check: Callable[[str], None]) -> None:
        """Copy a file from another place.

        Args:
            origin: The other place.
            name: The name of the file in both.
            check: Called before the file has its name, with a path of this machine that has its bytes; raises if wrong.

        Raises:
            KseqError: As `origin.fetch`, `check` and `store` do.
        """

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file, if it exists.

        Raises:
            WriteError: If it cannot be removed.
        """


class FolderPlace(Place):
    """A folder of this machine. What is stored is flushed to the disk, and has its name only when it is whole."""

    def __init__(self, folder: str) -> None:
        self.name = folder

    def path(self, name: str) -> str:
        return os.path.join(self.name, name)

    def sizes(self) -> dict[str, int]:
        try:
            with os.scandir(self.name) as entries:
                return {entry.name: entry.stat().st_size if entry.is_file() else -1 for entry in entries}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ReadError(f"{self.name}: cannot be listed: {error.strerror}") from error

    def read(self, name: str, start: int, end: int) -> bytes:
        with self._reading(name), open(self.path(name), "rb") as file:
            file.seek(start)
            data = file.read(end - start)
        if len(data) < end - start:
            raise DamagedError(f"{self.path(name)}: ends after {start + len(data)} bytes, expected are {end}")
        return data

    def fetch(self, name: str, path: str) -> None:
        with self._reading(name):
            file = open(self.path(name), "rb")  # noqa: SIM115  # closed below: what fails there concerns the other file
        with file:
            try:
                with open(path, "wb") as target:
                    shutil.copyfileobj(file, target, 1 << 20)
            except OSError as error:
                raise WriteError(f"{path}: cannot be written: {error.strerror or error}") from error

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DatasetNotFoundError(f"{self.path(name)}: there is no such file") from error
        except OSError as error:
            raise ReadError(f"{self.path(name)}: cannot be read: {error.strerror}") from error

    @contextmanager
    def at_hand(self, name: str) -> Iterator[str]:
        with self._reading(name):
            os.stat(self.path(name))
        yield self.path(name)

    def store(self, path: str, name: str) -> None:
        with publishing(self.path(name)) as temporary:
            shutil.copyfile(path, temporary)

    def receive(self, origin: Place, name: str, check: Callable[[str], None]) -> None:
        with publishing(self.path(name)) as temporary:
            origin.fetch(name, temporary)
            check(temporary)

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            remove_file(self.path(name))
