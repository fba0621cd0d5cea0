"""The names of files below a folder or in a zip, and the beginnings of a few: what tells of which format it is.

It is made once, and all formats are told by it. Of each folder it has all names but those of images, of which it has the first
in alphabetical order: a file of annotations beside ten thousand images is seen as surely as beside ten, in whatever order the
system names them, and of folders whose images belong together it has those that do. Of more folders than a layout needs it has
the first, the outermost before others.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from heapq import nsmallest
from itertools import islice
from typing import NamedTuple

from kseq.errors import ImageError
from kseq.images.formats import IMAGE_SUFFIXES, read_header
from kseq.images.number_files import ARRAY_SUFFIXES
from kseq.sources.class_names import is_no_class_name
from kseq.sources.split_names import folder_split
from kseq.sources.text import may_be_path
from kseq.sources.zip_members import read_zip_member

__all__ = ["LISTED_HEAD", "Listing", "folder_of", "list_folder", "read_ends", "stem_of"]

# So many files are opened to tell a format. The header of an image ends before so many bytes.
_MOST_OPENED, _MOST_BYTES = 5, 1 << 22

# So many folders are entered, and so many of those in one before its others; so many names are looked at in each, of which so
# many of images are listed; so many others in all.
_MOST_FOLDERS, _ENTERED_SOON, _MOST_NAMES, _MOST_IMAGES, _MOST_OTHERS = 100, 16, 100_000, 300, 1_000_000

LISTED_HEAD = 1 << 16
"""How many bytes of each end of a file are read."""

_SUFFIXES = (*IMAGE_SUFFIXES, *ARRAY_SUFFIXES)


class Listing:
    """Some of the files below a folder or in a zip, without hidden ones.

    Args:
        path: The folder or the zip.
        images: The paths of files below it that have names of images or of arrays, the outermost first.
        others: Those of all other files.
        folders: Those of the folders.

    These are its attributes too.
    """

    def __init__(self, path: str, images: Sequence[str], others: Sequence[str], folders: Sequence[str]) -> None:
        self.path = path
        self.images = images
        self.others = others
        self.folders = folders
        self._heads: dict[str, str] = {}

    @classmethod
    def of_names(cls, path: str, names: Iterable[str]) -> Listing:
        """A listing of all names in an archive."""
        images: list[str] = []
        others: list[str] = []
        for name in sorted(names, key=lambda name: (name.count("/"), name)):
            (images if name.lower().endswith(_SUFFIXES) else others).append(name)
        folders = dict.fromkeys(folder for name in (*images, *others) for folder in _folders_around(name) if folder)
        return cls(path, images, others, list(folders))

    @cached_property
    def is_folder(self) -> bool:
        """Whether it is of a folder, and not of a zip."""
        return os.path.isdir(self.path)

    @cached_property
    def image_folders(self) -> list[str]:
        """The paths of the folders that have an image in them, sorted."""
        return sorted({folder_of(name) for name in self.images})

    @cached_property
    def has_no_class(self) -> bool:
        """Whether no folder on the way to an image is called like a class."""
        parts = {part for folder in self.image_folders if folder for part in folder.split("/")}
        return all(is_no_class_name(part) or folder_split(part) is not None for part in parts)

    def ending(self, *suffixes: str) -> list[str]:
        """Files but images whose names end in certain suffixes, in lower or upper case."""
        return [name for name in self.others if name.lower().endswith(suffixes)]

    def holds(self, folder: str, name: str) -> bool:
        """Whether there is a file or a link below a folder in the listed folder, be it in the listing or not."""
        path = os.path.join(self.path, folder, name)
        return may_be_path(path) and os.path.lexists(path)

    def full_path(self, name: str) -> str:
        """Where a file of a folder lies."""
        return os.path.join(self.path, name)

    def size(self, name: str) -> tuple[int, int] | None:
        """Height and width of an image; None if it cannot be read."""
        try:
            if self.is_folder:
                with open(self.full_path(name), "rb") as file:
                    data = file.read(_MOST_BYTES)
            else:
                data = read_zip_member(self.path, name)
            header = read_header(data)
        except (OSError, ImageError):
            return None
        return header.height, header.width

    def has_file(self, fits: Callable[[str], bool], *suffixes: str) -> bool:
        """Whether one of the first files of a folder whose names end in certain suffixes fits, given its full path."""
        return any(fits(self.full_path(name)) for name in self.ending(*suffixes)[:_MOST_OPENED])

    def head(self, name: str) -> str:
        """The beginning and the end of a file, as text; empty if it cannot be read."""
        if name not in self._heads:
            self._heads[name] = read_ends(self.full_path(name)) if self.is_folder else _read_member_ends(self.path, name)
        return self._heads[name]


def list_folder(path: str) -> Listing:
    """What lies below a folder."""
    images: list[str] = []
    others: list[str] = []
    folders: list[str] = []
    for parent in islice(_walk(path), _MOST_FOLDERS):
        images += parent.images
        others += parent.others
        folders += parent.folders
        if len(others) > _MOST_OTHERS:
            break
    return Listing(path, images, others, folders)


def folder_of(name: str) -> str:
    """The path of the folder of a file."""
    return name.rpartition("/")[0]


def stem_of(name: str) -> str:
    """The name of a file without its folder and its suffix."""
    return name.rpartition("/")[2].rpartition(".")[0]


def _folders_around(path: str) -> Iterator[str]:
    """The folder of a file or folder, the folder of that, and so on: the last one is `""`."""
    while path:
        path = path.rpartition("/")[0]
        yield path


def read_ends(path: str) -> str:
    """The beginning and the end of a file, as text; empty if it cannot be read."""
    try:
        # Of a named pipe, a read would wait for ever.
        if not os.path.isfile(path):
            return ""
        with open(path, "rb") as file:
            head = file.read(LISTED_HEAD)
            file.seek(max(len(head), os.path.getsize(path) - LISTED_HEAD))
            return _as_text(head + b"\n" + file.read(LISTED_HEAD))
    except OSError:
        return ""


def _read_member_ends(path: str, name: str) -> str:
    try:
        data = read_zip_member(path, name)
    except (OSError, ImageError):
        return ""
    return _as_text(data[:LISTED_HEAD] + b"\n" + data[-LISTED_HEAD:])


def _as_text(data: bytes) -> str:
    # Only words and numbers are looked for: an encoding need not be right.
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace")


class _Folder(NamedTuple):
    """A folder, with the paths of what is in it, each kind sorted."""

    images: list[str]
    others: list[str]
    folders: list[str]

    @classmethod
    def scan(cls, root: str, path: str) -> _Folder:
        found = cls([], [], [])
        try:
            with os.scandir(os.path.join(root, path)) as scanned:
                entries = [entry for entry in islice(scanned, _MOST_NAMES) if not entry.name.startswith(".")]
        except OSError:
            # Opening the source will fail, and tell why.
            return found
        start = f"{path}/" if path else ""
        for entry in entries:
            is_image = entry.name.lower().endswith(_SUFFIXES)
            kind = found.folders if _is_folder(entry) else found.images if is_image else found.others
            kind.append(start + entry.name)
        return cls(nsmallest(_MOST_IMAGES, found.images), sorted(found.others), sorted(found.folders))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link that leads to itself.
        return False


def _walk(root: str) -> Iterator[_Folder]:
    """A folder, those in it, and so on."""
    # Of a thousand folders a few are entered before the others, and all that lies in them.
    soon, later = deque([""]), deque[str]()
    while soon or later:
        found = _Folder.scan(root, (soon or later).popleft())
        soon.extend(found.folders[:_ENTERED_SOON])
        later.extend(found.folders[_ENTERED_SOON:])
        yield found
