"""The tree of folders that the names of files in an archive make up."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from kseq.sources.folder_tree import Entry, Tree, is_hidden

__all__ = ["NamedTree"]


@dataclass
class _Node:
    """A file; or a folder, with its files and folders by name."""

    num_bytes: int = 0
    children: dict[str, _Node] | None = None


class NamedTree(Tree):
    """The folders of an archive; the path of an entry is its name in the archive.

    Args:
        root: The archive.
        rejections: Name to the reason why a file may not be read.
    """

    def __init__(self, root: str, rejections: Mapping[str, str] | None = None) -> None:
        super().__init__(root, Entry("", "", True))
        self._rejections = rejections or {}
        self._node = _Node(children={})

    def entries(self, folder: Entry) -> list[Entry]:
        node = self._node
        for part in filter(None, folder.path.split("/")):
            node = (node.children or {})[part]
        children = node.children or {}
        shown = [name for name in children if not is_hidden(name)]
        return [self._entry(folder, name, children[name]) for name in sorted(shown, key=os.fsencode)]

    def _entry(self, folder: Entry, name: str, node: _Node) -> Entry:
        path = f"{folder.path}/{name}" if folder.path else name
        return Entry(path, name, node.children is not None, node.num_bytes, self._rejections.get(path))

    def add(self, path: str, num_bytes: int, *, is_folder: bool = False) -> str | None:
        """Add a file or a folder by its name; returns why that cannot be, or None."""
        *folders, name = path.split("/")
        if any(part in ("", ".", "..") for part in [*folders, name]):
            return "has a name with '..', '.' or nothing between slashes, allowed are plain paths"
        node = self._node
        for folder in folders:
            assert node.children is not None
            node = node.children.setdefault(folder, _Node(children={}))
            if node.children is None:
                return f"lies in {folder!r}, which is a file"
        assert node.children is not None
        if is_folder:
            node.children.setdefault(name, _Node(children={}))
        elif name in node.children:
            return "is called like a folder"
        else:
            node.children[name] = _Node(num_bytes)
        return None
