"""Some of the files of a folder or of a zip, of which is told what layout they are of.

At most some thousand names are looked at, and the beginnings and ends of a few files.
"""

from __future__ import annotations

import os
import zipfile
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice

from kseq.errors import ImageError, SourceError
from kseq.images.formats import IMAGE_SUFFIXES, read_header
from kseq.images.number_files import ARRAY_SUFFIXES
from kseq.sources.class_names import is_no_class_name
from kseq.sources.split_names import folder_split
from kseq.sources.zip_archive import read_zip_tree
from kseq.sources.zip_members import read_zip_member

__all__ = ["HEAD", "LayoutSample", "folder_of", "read_sample", "stem_of", "walk_folder"]

HEAD = 1 << 16
"""How many bytes of each end of a file are read."""
_MOST_FOLDERS, _MOST_FILES, _MOST_MEMBERS = 100, 300, 100_000
# The header of an image ends before that.
_MOST_BYTES = 1 << 22


class LayoutSample:
    """Some of the files of a folder or of a zip.

    Args:
        path: The folder or the zip.
        names: The paths of the files below it.
    """

    def __init__(self, path: str, names: Sequence[str]) -> None:
        self.path = path
        self.names = sorted(names)
        self.images = [name for name in self.names if name.lower().endswith((*IMAGE_SUFFIXES, *ARRAY_SUFFIXES))]

    def ending(self, *suffixes: str) -> list[str]:
        """Files whose names end in certain suffixes."""
        return [name for name in self.names if name.lower().endswith(suffixes)]

    @property
    def has_no_class(self) -> bool:
        """Whether no folder on the way to an image is called like a class."""
        folders = {part for name in self.images for part in name.split("/")[:-1]}
        return all(is_no_class_name(part) or folder_split(part) is not None for part in folders)

    def head(self, name: str) -> str:
        """The beginning and the end of a file, as text; empty if it cannot be read."""
        try:
            if os.path.isfile(self.path):
                data = read_zip_member(self.path, name)
                return _text(data[:HEAD] + b"\n" + data[-HEAD:])
            full_path = os.path.join(self.path, name)
            if not os.path.isfile(full_path):
                return ""
            with open(full_path, "rb") as file:
                head = file.read(HEAD)
                file.seek(max(len(head), os.path.getsize(full_path) - HEAD))
                return _text(head + b"\n" + file.read(HEAD))
        except (OSError, ImageError):
            return ""

    def size(self, name: str) -> tuple[int, int] | None:
        """Height and width of an image; None if it cannot be read."""
        try:
            if os.path.isfile(self.path):
                data = read_zip_member(self.path, name)
            else:
                with open(os.path.join(self.path, name), "rb") as file:
                    data = file.read(_MOST_BYTES)
            header = read_header(data)
            return header.height, header.width
        except (OSError, ImageError):
            return None


def _text(data: bytes) -> str:
    # Only words and numbers are looked for: an encoding need not be right.
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace")


def read_sample(path: str) -> LayoutSample | None:
    """The names of some files of a folder or of a zip; None if it cannot be read."""
    if os.path.isdir(path):
        return LayoutSample(path, list(walk_folder(path)))
    try:
        tree, _ = read_zip_tree(path)
        return LayoutSample(
            path, [entry.path for entry in islice(tree.files(tree.top), _MOST_MEMBERS) if entry.rejection is None]
        )
    except (OSError, SourceError, zipfile.BadZipFile):
        return None


def walk_folder(root: str) -> Iterator[str]:
    """Files below a folder, of each folder the first that the system names: the outermost folders first."""
    folders = deque([""])
    for _ in range(_MOST_FOLDERS):
        if not folders:
            return
        folder = folders.popleft()
        try:
            with os.scandir(os.path.join(root, folder)) as scanned:
                for entry in islice(scanned, _MOST_FILES):
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        folders.append(path)
                    else:
                        yield path
        except OSError:
            continue


def folder_of(name: str) -> str:
    """The path of the folder of a file."""
    return name.rpartition("/")[0]


def stem_of(name: str) -> str:
    """The name of a file without its folder and its suffix."""
    return name.rpartition("/")[2].rpartition(".")[0]
