"""The files of a folder or of a zip by their paths, and the text of some of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from kseq.errors import ImageError, SourceError
from kseq.sources.folder_tree import Entry, FolderTree, Tree
from kseq.sources.text import decode_text, describe_bytes, open_text
from kseq.sources.zip_archive import read_zip_tree
from kseq.sources.zip_members import read_zip_member
from kseq.storage.rejected import with_remedy

__all__ = ["TreeFiles", "zip_files"]


class TreeFiles:
    """All files of a tree.

    Args:
        tree: The folder or the zip.
        rejected: Files that cannot be in the tree, with the reasons.

    Attributes:
        root: The folder or the zip.
        entries: The files by their paths below the root; hidden ones are not among them.
    """

    def __init__(self, tree: Tree, rejected: Iterable[Entry] = ()) -> None:
        self.root = tree.root
        self.is_zip = not isinstance(tree, FolderTree)
        self.entries = {entry.path: entry for entry in (*tree.files(tree.top), *rejected)}

    @property
    def paths(self) -> Iterable[str]:
        """The paths of all files that may be read."""
        return [path for path, entry in self.entries.items() if entry.rejection is None]

    def shown(self, path: str) -> str:
        """What messages call a file."""
        return os.path.join(self.root, path)

    def text(self, path: str) -> str:
        """The text of a file.

        Raises:
            SourceError: If it cannot be read, or is not well encoded.
        """
        try:
            return self.read(path)
        except ImageError as error:
            raise SourceError(f"{self.shown(path)}: {with_remedy(str(error))}") from error

    def read(self, path: str) -> str:
        """The same; raises ImageError, whose message continues one that begins with the file."""
        try:
            if self.is_zip:
                return decode_text(read_zip_member(self.root, path), strict=True)
            full_path = os.path.join(self.root, path)
            if not stat.S_ISREG(os.stat(full_path).st_mode):
                raise ImageError("is not a regular file")
            with open_text(full_path, strict=True) as file:
                return file.read()
        except OSError as error:
            raise ImageError(f"cannot be read: {error.strerror}") from error
        except UnicodeError as error:
            raise ImageError(describe_bytes(error)) from error


def zip_files(path: str) -> TreeFiles:
    """The files of a zip.

    Raises:
        SourceError: If the file is no zip.
    """
    tree, misplaced = read_zip_tree(path)
    return TreeFiles(tree, (Entry(os.fsdecode(image.path), "", False, 0, image.rejection) for image in misplaced))
