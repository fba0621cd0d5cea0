"""A zip of class folders, laid out as a folder of images is: `CLASS/.../IMAGE`, or the same below `train`, `val` and `test`.

The rules, besides those of `kseq/sources/folder.py`:

- Nothing is unpacked to the disk: members are read where they lie, stored or compressed (deflate, bzip2, LZMA).
- Where everything lies in one folder that holds folders and no image (as `zip -r photos.zip photos` makes it), and that is no
  split, it counts as the top.
- `__MACOSX`, in which macOS keeps what is no image, is left alone like what is hidden.
- Listed are: a member that is encrypted, a link, compressed in another way, or larger than any image may be (of how large it
  says that it is, no more is ever unpacked); one whose name has `..` or an empty part in it, or goes on where another member is
  a file; one of whose name there is a later one, which counts. One with a wrong checksum is listed when it is read.
- A sample is called as in the zip. A zip without its list of members (cut off, say) is refused.

Source: PKWARE's APPNOTE.TXT, as `zipfile` of the standard library reads it.
"""

from __future__ import annotations

import functools
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kseq.errors import ImageError, SourceError
from kseq.images.formats import IMAGE_SUFFIXES, MAX_PIXELS
from kseq.sources.base import SPLITS, Source, SourceImage
from kseq.sources.file_sets import stamp
from kseq.sources.folder import scan_classes
from kseq.sources.folder_tree import Entry, Tree
from kseq.storage.rejected import with_remedy

__all__ = ["ZipSource"]

_NOT_IMAGES = "__MACOSX"
# Pixels of four channels of 16 bits: no image that may be packed is larger.
_MOST_BYTES = MAX_PIXELS * 8
_ENCRYPTED = 1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
# What zipfile raises where a zip is damaged, or of a kind that it does not know.
_ERRORS = (OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class ZipSource(Source):
    """All images in a zip, in the order of a folder's; the place of one is its name."""

    @classmethod
    def load(cls, path: str, class_names: Sequence[str] | None = None) -> ZipSource:
        """Read the list of members.

        Args:
            path: The file.
            class_names: Another order of the classes than the sorted one; all of them.

        Raises:
            SourceError: Where it is no zip, or holds nothing that can be packed.
        """
        if not os.path.isfile(path):
            raise SourceError(f"{path}: is {'not a file' if os.path.exists(path) else 'not there'}, expected is one (zip)")
        try:
            members = _open(path, stamp(path)).infolist()
        except _ERRORS as error:
            raise SourceError(f"{path}: is not a zip file that can be read: {' '.join(str(error).split())}") from error
        reasons = {member.filename: reason for member in members if (reason := _refused(member)) is not None}
        tree = _ZipTree(path, reasons)
        misplaced = list(tree.place(members))
        tree.enter_wrapping()
        names, found = scan_classes(tree, class_names)
        images = found + misplaced
        if all(image.refused for image in images):
            first = images[0]
            raise SourceError(
                f"{path}: no image in it can be packed (first: {os.fsdecode(first.path)}: {with_remedy(first.refused or '')})"
            )
        return cls(path, names, images)

    def fetch(self, place: bytes) -> bytes:
        """The bytes of the image of a name; its checksum is compared."""
        try:
            opened = _open(self.root, stamp(self.root))
            member = opened.getinfo(os.fsdecode(place))
            with opened.open(member) as file:
                # Not all that there is: that may be more than the zip says.
                return file.read(member.file_size)
        except _ERRORS as error:
            raise ImageError(f"cannot be read: {' '.join(str(error).split())}") from error


@dataclass
class _Node:
    """A file in a zip; or a folder, with what lies in it by name."""

    num_bytes: int = 0
    children: dict[str, _Node] | None = None


class _ZipTree(Tree):
    """The folders of a zip; what lies in them is called by its whole name in the zip.

    Args:
        root: The file.
        reasons: Name to why a member is not to be read.
    """

    def __init__(self, root: str, reasons: dict[str, str]) -> None:
        super().__init__(root, Entry("", "", True))
        self._reasons = reasons
        self._node = _Node(children={})

    def entries(self, folder: Entry) -> list[Entry]:
        node = self._node
        for part in filter(None, folder.path.split("/")):
            node = (node.children or {})[part]
        shown = {name: each for name, each in (node.children or {}).items() if not name.startswith(".") and name != _NOT_IMAGES}
        return [self._entry(folder, name, shown[name]) for name in sorted(shown, key=os.fsencode)]

    def _entry(self, folder: Entry, name: str, node: _Node) -> Entry:
        path = f"{folder.path}/{name}" if folder.path else name
        return Entry(path, name, node.children is not None, node.num_bytes, self._reasons.get(path))

    def place(self, members: Sequence[zipfile.ZipInfo]) -> Iterator[SourceImage]:
        """Put members in their folders; gives those that have no place."""
        last = {member.filename: number for number, member in enumerate(members)}
        for number, member in enumerate(members):
            if last[member.filename] != number:
                # Rejected samples are told from the others by their names.
                name = f"{member.filename} (member {number + 1})"
                yield SourceImage(os.fsencode(name), -1, None, 0, "is in the zip again, and the later one counts")
            elif (reason := _put(self._node, member)) is not None:
                yield SourceImage(os.fsencode(member.filename), -1, None, 0, reason)

    def enter_wrapping(self) -> None:
        """Make the innermost of the folders that are around everything the outermost."""
        while True:
            entries = self.entries(self.top)
            if len(entries) != 1 or not entries[0].is_folder or entries[0].name.lower() in SPLITS:
                return
            inner = self.entries(entries[0])
            has_image = any(not each.is_folder and each.name.lower().endswith(IMAGE_SUFFIXES) for each in inner)
            if has_image or not any(each.is_folder for each in inner):
                return
            self.top = entries[0]


def _put(node: _Node, member: zipfile.ZipInfo) -> str | None:
    """Put a member in its folder, or say why it has none."""
    *folders, name = member.filename.removesuffix("/").split("/")
    if any(each in ("", ".", "..") for each in [*folders, name]):
        return "has a name with '..', '.' or nothing between slashes, allowed are plain paths"
    for each in folders:
        assert node.children is not None
        node = node.children.setdefault(each, _Node(children={}))
        if node.children is None:
            return f"lies in {each!r}, which is a file"
    assert node.children is not None
    if member.is_dir():
        node.children.setdefault(name, _Node(children={}))
    elif name in node.children:
        return "is called like a folder"
    else:
        node.children[name] = _Node(member.file_size)
    return None


def _refused(member: zipfile.ZipInfo) -> str | None:
    if member.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link, links in a zip are not followed"
    if member.compress_type not in _METHODS:
        return f"is compressed by method {member.compress_type}, allowed are {', '.join(map(str, _METHODS))}"
    if member.file_size > _MOST_BYTES:
        return f"says that it is {member.file_size} bytes unpacked, allowed are {_MOST_BYTES}"
    return None


@functools.lru_cache(maxsize=2)
def _open(path: str, known: tuple[int, ...]) -> zipfile.ZipFile:
    """A zip, kept open in this process for as long as the file is the same."""
    return zipfile.ZipFile(path)
