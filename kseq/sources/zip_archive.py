"""A zip of class folders, laid out as a folder of images is: `CLASS/.../IMAGE`, or the same below `train`, `val` and `test`.

The rules, besides those of `kseq/sources/folder.py`:

- Nothing is unpacked to the disk: members are read in place, stored or compressed (deflate, bzip2, LZMA).
- If everything lies in one folder that holds folders and no image (as `zip -r photos.zip photos` makes it), and that folder is
  no split, it counts as the top.
- `__MACOSX`, where macOS keeps other data than images, is skipped like hidden files.
- Rejected are: a member that is encrypted, is a link, is compressed in another way, or is larger than any allowed image (never
  more is unpacked than the size that the member states); a member with `..` or an empty part in its name, or below a name that
  is a file; a member whose name is in the zip again, since the later one counts. A wrong checksum is found when the member is
  read.
- A sample has the name that it has in the zip. A zip without its list of members (cut off, for example) is refused.

Source: PKWARE's APPNOTE.TXT, as `zipfile` of the standard library reads it.
"""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kseq.errors import ImageError, SourceError, one_line
from kseq.images.formats import IMAGE_SUFFIXES, MAX_PIXELS
from kseq.sources.base import SPLITS, Source, SourceImage, describe_first
from kseq.sources.folder import scan_classes
from kseq.sources.folder_tree import Entry, Tree
from kseq.sources.kept_open import kept_open
from kseq.sources.source_format import SourceFormat

__all__ = ["ZIP", "ZipSource", "read_zip_member", "read_zip_tree"]

_MACOS_DATA = "__MACOSX"
# Pixels of four channels of 16 bits: no image that may be packed is larger.
_MAX_BYTES = MAX_PIXELS * 8
_ENCRYPTED = 1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
# What zipfile raises if a zip is damaged, or of a kind that it does not know.
_ERRORS = (OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class ZipSource(Source):
    """All images in a zip, in the order of a folder's; the location of an image is its name in the zip."""

    @classmethod
    def load(cls, path: str, class_names: Sequence[str] | None = None) -> ZipSource:
        """Read the list of members.

        Args:
            path: The zip.
            class_names: All classes, in the order of their numbers; None for the order of their names.

        Raises:
            SourceError: If the file is no zip, or nothing in it can be packed.
        """
        if not os.path.isfile(path):
            raise SourceError(f"{path}: is {'not a file' if os.path.exists(path) else 'not there'}, expected is one (zip)")
        tree, misplaced = read_zip_tree(path)
        names, images = scan_classes(tree, class_names, misplaced)
        if images.is_rejected.all():
            raise SourceError(f"{path}: no image in it can be packed{describe_first(images)}")
        return cls(path, names, images)

    def fetch(self, location: bytes) -> bytes:
        """The bytes of an image by its name in the zip; its checksum is compared."""
        return read_zip_member(self.root, os.fsdecode(location))


def read_zip_tree(path: str) -> tuple[Tree, list[SourceImage]]:
    """The folders of a zip, and the members that lie in none of them, rejected.

    Raises:
        SourceError: If the file is no zip.
    """
    try:
        members = _open(path).infolist()
    except _ERRORS as error:
        raise SourceError(f"{path}: is not a zip file that can be read: {one_line(error)}") from error
    rejections = {member.filename: reason for member in members if (reason := _rejection(member)) is not None}
    tree = _ZipTree(path, rejections)
    misplaced = list(tree.add(members))
    tree.enter_wrapping_folder()
    return tree, misplaced


def read_zip_member(path: str, name: str) -> bytes:
    """The bytes of a member of a zip; its checksum is compared.

    Raises:
        ImageError: If it cannot be read.
    """
    try:
        archive = _open(path)
        member = archive.getinfo(name)
        with archive.open(member) as file:
            # There may be more data than the zip states: they are not read.
            return file.read(member.file_size)
    except _ERRORS as error:
        raise ImageError(f"cannot be read: {one_line(error)}") from error


ZIP = SourceFormat("zip", lambda request: ZipSource.load(request.path, request.class_names), (".zip",), r"\.zip")


@dataclass
class _Node:
    """A file in a zip; or a folder, with its files and folders by name."""

    num_bytes: int = 0
    children: dict[str, _Node] | None = None


class _ZipTree(Tree):
    """The folders of a zip; the path of an entry is its name in the zip.

    Args:
        root: The zip.
        rejections: Name to the reason why a member may not be read.
    """

    def __init__(self, root: str, rejections: dict[str, str]) -> None:
        super().__init__(root, Entry("", "", True))
        self._rejections = rejections
        self._node = _Node(children={})

    def entries(self, folder: Entry) -> list[Entry]:
        node = self._node
        for part in filter(None, folder.path.split("/")):
            node = (node.children or {})[part]
        children = node.children or {}
        shown = [name for name in children if not name.startswith(".") and name != _MACOS_DATA]
        return [self._entry(folder, name, children[name]) for name in sorted(shown, key=os.fsencode)]

    def _entry(self, folder: Entry, name: str, node: _Node) -> Entry:
        path = f"{folder.path}/{name}" if folder.path else name
        return Entry(path, name, node.children is not None, node.num_bytes, self._rejections.get(path))

    def add(self, members: Sequence[zipfile.ZipInfo]) -> Iterator[SourceImage]:
        """Add members to their folders; yields those that cannot be added, rejected."""
        last = {member.filename: number for number, member in enumerate(members)}
        for number, member in enumerate(members):
            if last[member.filename] != number:
                # Rejected samples are told from others by their names, so these must differ.
                name = f"{member.filename} (member {number + 1})"
                yield SourceImage(os.fsencode(name), -1, None, 0, "is in the zip again, and the later one counts")
            elif (reason := _add(self._node, member)) is not None:
                yield SourceImage(os.fsencode(member.filename), -1, None, 0, reason)

    def enter_wrapping_folder(self) -> None:
        """Make the innermost folder that wraps everything the top."""
        while True:
            entries = self.entries(self.top)
            if len(entries) != 1 or not entries[0].is_folder or entries[0].name.lower() in SPLITS:
                return
            inner = self.entries(entries[0])
            has_image = any(not entry.is_folder and entry.name.lower().endswith(IMAGE_SUFFIXES) for entry in inner)
            if has_image or not any(entry.is_folder for entry in inner):
                return
            self.top = entries[0]


def _add(node: _Node, member: zipfile.ZipInfo) -> str | None:
    """Add a member to its folder; returns why that cannot be, or None."""
    *folders, name = member.filename.removesuffix("/").split("/")
    if any(part in ("", ".", "..") for part in [*folders, name]):
        return "has a name with '..', '.' or nothing between slashes, allowed are plain paths"
    for folder in folders:
        assert node.children is not None
        node = node.children.setdefault(folder, _Node(children={}))
        if node.children is None:
            return f"lies in {folder!r}, which is a file"
    assert node.children is not None
    if member.is_dir():
        node.children.setdefault(name, _Node(children={}))
    elif name in node.children:
        return "is called like a folder"
    else:
        node.children[name] = _Node(member.file_size)
    return None


def _rejection(member: zipfile.ZipInfo) -> str | None:
    """Why a member may not be read."""
    if member.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link, links in a zip are not followed"
    if member.compress_type not in _METHODS:
        return f"is compressed by method {member.compress_type}, allowed are {', '.join(map(str, _METHODS))}"
    if member.file_size > _MAX_BYTES:
        return f"is {member.file_size} bytes unpacked, by its header, allowed are {_MAX_BYTES}"
    return None


@kept_open(2)
def _open(path: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)
