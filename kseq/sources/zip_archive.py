"""A zip of class folders, laid out as a folder of images is: `CLASS/.../IMAGE`, or the same below `train`, `val` and `test`.

The rules, besides those of `kseq/sources/folder.py`:

- Nothing is unpacked to the disk: members are read in place, stored or compressed (deflate, bzip2, LZMA).
- If no file in the zip has a slash in its name, backslashes separate folders: old tools of Windows write them. Names that are
  UTF-8 are read as such, whether or not the zip says so: macOS does not say it. Others are read in the encoding of all texts
  that the caller says, else in the code page 437, and a note says so. A `/` or `./` at the start of names means the top.
- Rejected are: a member that is encrypted, is a link, is compressed in another way, or is larger than any allowed image (never
  more is unpacked than the size that the member states); a member with `..` or an empty part in its name, or below a name that
  is a file; a member whose name is in the zip again, since the later one counts. A wrong checksum is found when the member is
  read.
- A sample has the name that it has in the zip. A zip without its list of members (cut off, for example) is refused.

Source: PKWARE's APPNOTE.TXT, as `zipfile` of the standard library reads it.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from kseq.arguments import counted, spelled
from kseq.errors import SourceError, one_line
from kseq.sources.base import Source, SourceImage, describe_first
from kseq.sources.folder import label_fields, scan_classes
from kseq.sources.listing import Listing
from kseq.sources.named_tree import NamedTree
from kseq.sources.source_format import SourceFormat
from kseq.sources.text import asked_encoding
from kseq.sources.wrong_files import describe_wrong_file
from kseq.sources.zip_members import ZIP_ERRORS, is_of_code_page, member_rejection, open_zip, read_zip_member

__all__ = ["ZIP", "ZipSource", "list_zip", "read_zip_tree"]

# So many members tell of which format it is.
_MOST_LISTED = 100_000


@dataclass(frozen=True)
class ZipSource(Source):
    """All images in a zip, in the order of a folder's; the location of an image is its name in the zip.

    Attributes:
        encoding: That of names which are not UTF-8; None for the code page 437.
    """

    encoding: str | None = None

    @classmethod
    def load(cls, path: str, class_names: Sequence[str] | None = None, *, has_classes: bool = True) -> ZipSource:
        """Read the list of members.

        Args:
            path: The zip.
            class_names: The classes that are wanted, in the order of their numbers; None for all, in the order of their names.
            has_classes: Whether the images have classes.

        Raises:
            SourceError: If the file is no zip, or nothing in it can be packed.
        """
        if not os.path.isfile(path):
            raise SourceError(f"{path}: is {'not a file' if os.path.exists(path) else 'not there'}, expected is one (zip)")
        encoding = asked_encoding()
        tree, misplaced = read_zip_tree(path, encoding)
        folders, images = scan_classes(tree, class_names, misplaced, has_classes=has_classes)
        if images.is_rejected.all():
            raise SourceError(f"{path}: no image in it can be packed{describe_first(images)}")
        notes = (*folders.notes, *([] if encoding else _describe_code_page(path)))
        return cls(path, folders.class_names, images, label_fields(has_classes), notes=notes, encoding=encoding)

    def fetch(self, location: bytes) -> bytes:
        """The bytes of an image by its name in the zip; its checksum is compared."""
        return read_zip_member(self.root, os.fsdecode(location), self.encoding)


def _describe_code_page(path: str) -> Iterator[str]:
    """What to say of names that nobody knows the encoding of."""
    odd = [name for name, member in open_zip(path).members if is_of_code_page(member)]
    if odd:
        yield (
            f"{path}: {counted(len(odd), 'name is', 'names are')} not UTF-8, and read in the code page 437, such as {odd[0]!r} "
            f"({spelled('text_encoding')} says how names are encoded)"
        )


def read_zip_tree(path: str, encoding: str | None = None) -> tuple[NamedTree, list[SourceImage]]:
    """The folders of a zip, and the members that lie in none of them, rejected; `encoding` is as in `open_zip`.

    Raises:
        SourceError: If the file is no zip.
    """
    try:
        members = open_zip(path, encoding).members
    except ZIP_ERRORS as error:
        reason = describe_wrong_file(path, ".zip") or one_line(error)
        raise SourceError(f"{path}: is not a zip file that can be read: {reason}") from error
    rejections = {name: why for name, member in members if (why := member_rejection(member)) is not None}
    tree = NamedTree(path, rejections)
    return tree, list(_add_members(tree, members))


def list_zip(path: str) -> Listing | None:
    """What lies in a zip; None if it cannot be read."""
    try:
        tree, _ = read_zip_tree(path)
        entries = list(islice(tree.files(tree.top), _MOST_LISTED))
    except (OSError, SourceError, zipfile.BadZipFile):
        return None
    return Listing.of_names(path, (entry.path for entry in entries if entry.rejection is None))


ZIP = SourceFormat(
    "zip",
    lambda request: ZipSource.load(request.path, request.class_names, has_classes=request.columns.label != ""),
    (".zip",),
    r"\.zip",
    may_lack_label=True,
)


def _add_members(tree: NamedTree, members: Sequence[tuple[str, zipfile.ZipInfo]]) -> Iterator[SourceImage]:
    """Add members to a tree; yields those that cannot be added, rejected."""
    last = {name: number for number, (name, _) in enumerate(members)}
    for number, (name, member) in enumerate(members):
        if last[name] != number:
            # Rejected samples are told from others by their names, so these must differ.
            shown = f"{name} (member {number + 1})"
            yield SourceImage(os.fsencode(shown), -1, None, 0, "is in the zip again, and the later one counts")
        elif (reason := tree.add(name.removesuffix("/"), member.file_size, is_folder=name.endswith("/"))) is not None:
            yield SourceImage(os.fsencode(name), -1, None, 0, reason)
