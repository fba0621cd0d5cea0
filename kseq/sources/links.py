"""Links among the files of a source: which are followed, by the rule at the top of `kseq/sources/folder.py`."""

from __future__ import annotations

import os
import stat

__all__ = ["Links"]

_LEAVES = "is a link out of the source's folder"
_LIES_OUTSIDE = "lies behind a link out of the source's folder"


class Links:
    """Tells of files below a root whether a link leads out of it.

    Args:
        root: The folder.
        follow: Whether such links are followed all the same.

    Attributes:
        follow: As given.
    """

    def __init__(self, root: str, follow: bool) -> None:
        self.follow = follow
        self._start = os.path.join(os.fsencode(root), b"")
        self._real = os.path.join(os.path.realpath(self._start), b"")
        # Of each folder, whether its files are held to the rule, and why none of them is to be read. Finding that out costs
        # more than all else, and most files share their folder with others.
        self._folders: dict[bytes, tuple[bool, str | None]] = {}

    def look(self, name: bytes) -> tuple[int, str | None]:
        """What can be known of a file before it is read.

        Args:
            name: Its path below the root; if it is absolute, or leaves the root by `..`, it is followed wherever it leads.

        Returns:
            Its size in bytes, 0 where that cannot be known: reading it will fail, and tell why. And why it is not to be read.
        """
        folder = name[: name.rfind(b"/") + 1]
        is_held, refused = self._folders.get(folder) or self._remember(folder)
        if refused:
            return 0, refused
        try:
            path = name if name.startswith(b"/") else self._start + name
            found = os.lstat(path)
            if stat.S_ISLNK(found.st_mode):
                if is_held and not self._is_inside(name):
                    return 0, _LEAVES
                found = os.stat(path)
        except (OSError, ValueError):
            return 0, None
        return found.st_size, None

    def _remember(self, folder: bytes) -> tuple[bool, str | None]:
        is_held = not (self.follow or folder.startswith(b"/") or b".." in folder.split(b"/"))
        found = is_held, _LIES_OUTSIDE if is_held and not self._is_inside(folder) else None
        self._folders[folder] = found
        return found

    def _is_inside(self, name: bytes) -> bool:
        return os.path.join(os.path.realpath(self._start + name), b"").startswith(self._real)
