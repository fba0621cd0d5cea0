"""Folders in folders, gone through by one rule for links and for what cannot be read: see `kseq/sources/folder.py`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from kseq.errors import SourceError
from kseq.sources.links import Links

__all__ = ["Entry", "FolderTree", "Tree"]


class Entry(NamedTuple):
    """Something in a folder.

    Attributes:
        path: Below the root.
        name: The end of it.
        is_folder: Whether there is more in it, to be gone through.
        num_bytes: Of a file.
        refused: Why it is not to be read.
        above: Where links to folders are followed, which folders these are: this one, and those that it lies in.
    """

    path: str
    name: str
    is_folder: bool
    num_bytes: int = 0
    refused: str | None = None
    above: frozenset[tuple[int, int]] = frozenset()


class Tree:
    """Folders in folders, on a disk or in an archive.

    Attributes:
        root: What it is called in messages.
        top: The outermost folder.
    """

    def __init__(self, root: str, top: Entry) -> None:
        self.root = root
        self.top = top

    def entries(self, folder: Entry) -> list[Entry]:
        """What lies in a folder, sorted by name, without what is hidden; of one that cannot be read, itself, refused.

        Raises:
            SourceError: Where it is the outermost that cannot be read.
        """
        raise NotImplementedError

    def folders(self, folder: Entry) -> list[Entry]:
        """The folders in a folder."""
        return [each for each in self.entries(folder) if each.is_folder]

    def files(self, folder: Entry) -> Iterator[Entry]:
        """What lies in a folder and in those below it, but for the folders themselves, in the order of their paths."""
        # Not by recursion: folders may lie deeper in each other than Python's calls may.
        levels = [iter(self.entries(folder))]
        while levels:
            each = next(levels[-1], None)
            if each is None:
                levels.pop()
            elif each.is_folder:
                levels.append(iter(self.entries(each)))
            else:
                yield each


class FolderTree(Tree):
    """The folders below one on the disk.

    Args:
        root: That folder.
        follow_links: Follow links out of it, and links to folders.
    """

    def __init__(self, root: str, follow_links: bool) -> None:
        super().__init__(root, Entry("", "", True, above=frozenset([_identity(root)] if follow_links else [])))
        self._links = Links(root, follow_links)

    def enter(self, path: str) -> Entry:
        """A folder at a path below the root, without a look at how it got there."""
        above = self.top.above | {_identity(os.path.join(self.root, path))} if self._links.follow else self.top.above
        return Entry(path, os.path.basename(path), True, above=above)

    def entries(self, folder: Entry) -> list[Entry]:
        path = os.path.join(self.root, folder.path)
        try:
            with os.scandir(path) as entries:
                found = sorted(
                    (each for each in entries if not each.name.startswith(".")), key=lambda each: os.fsencode(each.name)
                )
        except OSError as error:
            if folder is self.top:
                raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
            return [folder._replace(is_folder=False, refused=f"cannot be read: {error.strerror}")]
        return [self._entry(folder, each) for each in found]

    def _entry(self, folder: Entry, entry: os.DirEntry[str]) -> Entry:
        path = f"{folder.path}/{entry.name}" if folder.path else entry.name
        if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir(follow_symlinks=False):
            return self._folder(folder, entry, path)
        if entry.is_symlink():
            return Entry(path, entry.name, False, *self._links.look(os.fsencode(path)))
        return Entry(path, entry.name, False, _size(entry))

    def _folder(self, folder: Entry, entry: os.DirEntry[str], path: str) -> Entry:
        if not self._links.follow:
            reason = "is a link to a folder" if entry.is_symlink() else None
            return Entry(path, entry.name, reason is None, 0, reason)
        identity = _identity(entry.path)
        if identity in folder.above:
            return Entry(path, entry.name, False, 0, "is a link to a folder that it lies in")
        return Entry(path, entry.name, True, above=folder.above | {identity})


def _identity(folder: str) -> tuple[int, int]:
    try:
        found = os.stat(folder)
    except OSError:
        # Listing it will fail, and tell why.
        return 0, 0
    return found.st_dev, found.st_ino


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        # Reading it will fail, and tell why.
        return 0
