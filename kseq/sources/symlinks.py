"""Which links among the files of a source are followed, by the rule at the top of `kseq/sources/folder.py`."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

__all__ = ["LinkRule"]

# The type of a file in the upper bits of its mode.
_TYPE_SHIFT, _LINK_TYPE = 12, stat.S_IFLNK >> 12

_LEADS_OUT = "is a link out of the source's folder"
_LIES_OUTSIDE = "lies behind a link out of the source's folder"


class LinkRule:
    """Tells for files below a root whether a link leads out of it.

    Args:
        root: The folder.
        follow: Whether such links are followed.

    Attributes:
        follow: The same.
    """

    def __init__(self, root: str, follow: bool) -> None:
        self.follow = follow
        self._root = os.path.join(os.fsencode(root), b"")
        self._real_root = os.path.join(os.path.realpath(self._root), b"")
        # For each folder, whether the rule applies to its files, and why none of them may be read. Finding that out costs more
        # than all else, and most files share their folder with others.
        self._folders: dict[bytes, tuple[bool, str | None]] = {}

    def inspect_all(self, paths: Sequence[bytes]) -> tuple[list[int], list[str | None]]:
        """What `inspect` says of some files: their sizes, and why they may not be read."""
        sizes: list[int] = [0] * len(paths)
        rejections: list[str | None] = [None] * len(paths)
        lstat, last_folder, is_usual, prefix = os.lstat, b"?", False, b""
        # Of millions of files most are no links, and lie in the folder of the one before: these are looked at without a call.
        for number, path in enumerate(paths):
            folder = path[: path.rfind(b"/") + 1]
            if folder != last_folder:
                _, rejection = self._folders.get(folder) or self._inspect_folder(folder)
                last_folder, is_usual, prefix = folder, rejection is None, b"" if folder[:1] == b"/" else self._root
            if is_usual:
                try:
                    status = lstat(prefix + path)
                except (OSError, ValueError):
                    continue
                if status[stat.ST_MODE] >> _TYPE_SHIFT != _LINK_TYPE:
                    sizes[number] = status[stat.ST_SIZE]
                    continue
            sizes[number], rejections[number] = self.inspect(path)
        return sizes, rejections

    def inspect(self, path: bytes) -> tuple[int, str | None]:
        """The size of a file, and why it may not be read.

        Args:
            path: A path below the root. A path that is absolute, or leaves the root by `..`, is followed wherever it leads.

        Returns:
            The size in bytes, 0 if it is not known, since reading the file will fail and tell why; and the reason for a
            rejection, or None.
        """
        folder = path[: path.rfind(b"/") + 1]
        is_bound, rejection = self._folders.get(folder) or self._inspect_folder(folder)
        if rejection:
            return 0, rejection
        try:
            full_path = path if os.path.isabs(path) else self._root + path
            status = os.lstat(full_path)
            if stat.S_ISLNK(status.st_mode):
                if is_bound and not self._is_inside(path):
                    return 0, _LEADS_OUT
                status = os.stat(full_path)
        except (OSError, ValueError):
            return 0, None
        return status.st_size, None

    def _inspect_folder(self, folder: bytes) -> tuple[bool, str | None]:
        is_bound = not (self.follow or os.path.isabs(folder) or b".." in folder.split(b"/"))
        verdict = is_bound, _LIES_OUTSIDE if is_bound and not self._is_inside(folder) else None
        self._folders[folder] = verdict
        return verdict

    def _is_inside(self, path: bytes) -> bool:
        return os.path.join(os.path.realpath(self._root + path), b"").startswith(self._real_root)
