"""Trees of folders, on a disk or in an archive, with one rule for links and for what cannot be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from kseq.errors import SourceError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.images.number_files import ARRAY_SUFFIXES
from kseq.sources.symlinks import LinkRule

__all__ = ["Entry", "FolderTree", "Tree", "is_hidden", "is_named_like_image"]

# What systems keep beside the files of people, in lower case: macOS in zips, network disks such as Synology's, Windows, Linux,
# Python. Some of it is images: small copies, or what was thrown away.
_OF_SYSTEMS = frozenset(
    {"__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found", "__pycache__"}
    | {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is skipped."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


class Entry(NamedTuple):
    """A file or a folder.

    Attributes:
        path: The path below the root.
        name: The last part of the path.
        is_folder: Whether it is a folder that is gone into.
        num_bytes: The size of a file.
        rejection: Why it may not be read; None if it may.
        ancestors: If links to folders are followed, device and inode of this folder and of all folders around it.
    """

    path: str
    name: str
    is_folder: bool
    num_bytes: int = 0
    rejection: str | None = None
    ancestors: frozenset[tuple[int, int]] = frozenset()


def is_named_like_image(entry: Entry) -> bool:
    """Whether a file has the name of an image."""
    return not entry.is_folder and entry.name.lower().endswith((*IMAGE_SUFFIXES, *ARRAY_SUFFIXES))


class Tree:
    """Folders in folders, on a disk or in an archive.

    Attributes:
        root: What messages call the tree.
        top: The outermost folder.
    """

    def __init__(self, root: str, top: Entry) -> None:
        self.root = root
        self.top = top

    def entries(self, folder: Entry) -> list[Entry]:
        """The files and folders in a folder, sorted by name, without hidden ones. A folder that cannot be read gives one entry:
        itself, rejected.

        Raises:
            SourceError: If the outermost folder cannot be read.
        """
        raise NotImplementedError

    def folders(self, folder: Entry) -> list[Entry]:
        """The folders in a folder."""
        return [entry for entry in self.entries(folder) if entry.is_folder]

    def files(self, folder: Entry) -> Iterator[Entry]:
        """The files in a folder and in all folders below it, in the order of their paths."""
        # Not by recursion: folders may be nested deeper than Python's calls.
        levels = [iter(self.entries(folder))]
        while levels:
            entry = next(levels[-1], None)
            if entry is None:
                levels.pop()
            elif entry.is_folder:
                levels.append(iter(self.entries(entry)))
            else:
                yield entry


class FolderTree(Tree):
    """A folder on the disk.

    Args:
        root: The folder.
        follow_links: Follow links out of it, and links to folders.
    """

    def __init__(self, root: str, follow_links: bool) -> None:
        super().__init__(root, Entry("", "", True, ancestors=frozenset([_identity(root)] if follow_links else [])))
        self._links = LinkRule(root, follow_links)

    def enter(self, path: str) -> Entry:
        """A folder by its path below the root; the folders on the way are not checked."""
        ancestors = (
            self.top.ancestors | {_identity(os.path.join(self.root, path))} if self._links.follow else self.top.ancestors
        )
        return Entry(path, os.path.basename(path), True, ancestors=ancestors)

    def entries(self, folder: Entry) -> list[Entry]:
        path = os.path.join(self.root, folder.path)
        try:
            with os.scandir(path) as scanned:
                shown = (entry for entry in scanned if not is_hidden(entry.name))
                entries = sorted(shown, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            if folder is self.top:
                raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
            return [folder._replace(is_folder=False, rejection=f"cannot be read: {error.strerror}")]
        return [self._entry(folder, entry) for entry in entries]

    def _entry(self, folder: Entry, entry: os.DirEntry[str]) -> Entry:
        path = f"{folder.path}/{entry.name}" if folder.path else entry.name
        if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir(follow_symlinks=False):
            return self._folder(folder, entry, path)
        if entry.is_symlink():
            return Entry(path, entry.name, False, *self._links.inspect(os.fsencode(path)))
        return Entry(path, entry.name, False, _size(entry))

    def _folder(self, folder: Entry, entry: os.DirEntry[str], path: str) -> Entry:
        if not self._links.follow:
            rejection = "is a link to a folder" if entry.is_symlink() else None
            return Entry(path, entry.name, rejection is None, 0, rejection)
        identity = _identity(entry.path)
        if identity in folder.ancestors:
            return Entry(path, entry.name, False, 0, "is a link to a folder that it lies in")
        return Entry(path, entry.name, True, ancestors=folder.ancestors | {identity})


def _identity(folder: str) -> tuple[int, int]:
    """Device and inode of a folder."""
    try:
        status = os.stat(folder)
    except OSError:
        # Listing the folder will fail, and tell why.
        return 0, 0
    return status.st_dev, status.st_ino


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        # Reading the file will fail, and tell why.
        return 0
