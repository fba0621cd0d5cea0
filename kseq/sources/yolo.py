"""A folder as YOLO's tools lay it out: images, and for each a text file of boxes.

The rules:

- Images lie in `images`, text files in `labels`, under the same names: `images/train/a.jpg` and `labels/train/a.txt`, or
  `train/images/a.jpg` and `train/labels/a.txt`. A folder called `train`, `val` or `test` on the way is the split.
- A line is a class number, then centre x, centre y, width and height as shares of the upright image; or a class number and a
  polygon x, y, x, y, ..., of which the box around it is taken.
- An image without a text file has no boxes. A text file without an image is listed.
- Class names come from `data.yaml` (or any other `.yaml` beside it that has `names`), else from `classes.txt`, one a line; else
  they are the numbers that were found.

Source: the documentation of Ultralytics YOLO, "Object Detection Datasets Overview".
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kseq.arguments import spelled
from kseq.errors import SourceError
from kseq.images.formats import IMAGE_SUFFIXES, read_header
from kseq.sources.assemble import object_fields
from kseq.sources.base import SPLITS, FileSource, SourceImage
from kseq.sources.folder_tree import Entry, FolderTree
from kseq.sources.links import Links
from kseq.storage.rejected import with_remedy

__all__ = ["YoloSource"]


@dataclass(frozen=True)
class YoloSource(FileSource):
    """The images of such a folder, sorted by split and path; boxes are turned into pixels when an image is read."""

    @staticmethod
    def is_at(root: str) -> bool:
        """Whether a folder is laid out like this."""
        return any(_has_text(labels) for _, labels in _pairs(root))

    @classmethod
    def scan(cls, root: str, class_names: Sequence[str] | None = None, *, follow_links: bool = False) -> YoloSource:
        """Look through a folder.

        Args:
            root: The folder.
            class_names: The classes, instead of those that the folder names.
            follow_links: Follow links out of the folder.

        Raises:
            SourceError: Where it is not laid out like this, or a text file makes no sense.
        """
        pairs = list(_pairs(root))
        if not pairs:
            raise SourceError(f"{root}: expected are {root}/images and {root}/labels, or {root}/train/images and so on")
        tree, links = FolderTree(root, follow_links), Links(root, follow_links)
        found = [each for images, labels in pairs for each in _scan(tree, images, labels, links)]
        found.sort(key=lambda each: (each.split or "", each.path))
        most = max((int(each.more[1].max(initial=-1)) for each in found), default=-1)
        names = tuple(class_names if class_names is not None else _class_names(root, most))
        if most >= len(names):
            raise SourceError(f"{root}: class number {most} has no name, there are {len(names)}: {', '.join(names[:5])}")
        if all(each.refused for each in found):
            reason = f" (first: {os.fsdecode(found[0].path)}: {with_remedy(found[0].refused or '')})" if found else ""
            raise SourceError(f"{root}: holds no image that can be packed{reason}")
        return cls(root, names, found, object_fields(names))

    def read(self, image: SourceImage) -> dict[str, Any]:
        values = super().read(image)
        header = read_header(values["image"])
        sides = np.array([header.width, header.height] * 2, np.float32)
        return {**values, "boxes": values["boxes"] * sides}


def _pairs(root: str) -> Iterator[tuple[str, str]]:
    """The folders of images and of text files."""
    try:
        names = sorted(os.listdir(root))
    except OSError as error:
        raise SourceError(f"{root}: cannot be read: {error.strerror}") from error
    places = [root, *(os.path.join(root, name) for name in names if name.lower() in SPLITS)]
    for place in places:
        images, labels = os.path.join(place, "images"), os.path.join(place, "labels")
        if os.path.isdir(images) and os.path.isdir(labels):
            yield images, labels


def _has_text(folder: str) -> bool:
    return any(name.endswith(".txt") for _, _, names in os.walk(folder) for name in names)


def _stems(tree: FolderTree, folder: str, suffixes: tuple[str, ...]) -> dict[str, Entry]:
    """Path without its suffix, below the folder, to file; or the path of a folder that is not gone into."""
    start = tree.enter(os.path.relpath(folder, tree.root))
    found = {}
    for each in tree.files(start):
        path = os.path.relpath(each.path, start.path)
        if path.lower().endswith(suffixes):
            found[os.path.splitext(path)[0]] = each
        elif each.refused is not None:
            found[path] = each
    return found


def _scan(tree: FolderTree, images: str, labels: str, links: Links) -> Iterator[SourceImage]:
    found, texts = _stems(tree, images, IMAGE_SUFFIXES), _stems(tree, labels, (".txt",))
    texts.pop("classes", None)
    for stem in sorted(found.keys() | texts.keys()):
        file = found.get(stem) or texts[stem]
        name = os.fsencode(file.path)
        objects = np.empty((0, 4), np.float32), np.empty(0, np.int32)
        size, refused = links.look(name)
        refused = file.refused or refused
        if refused is None and stem not in found:
            refused = "no image goes with it"
        elif refused is None and stem in texts:
            objects = _read_text(os.path.join(tree.root, texts[stem].path))
        yield SourceImage(name, -1, _split(name), 0 if refused else size, refused, more=objects)


def _split(name: bytes) -> str | None:
    folders = os.fsdecode(name).split("/")[:-1]
    return next((SPLITS[each.lower()] for each in folders if each.lower() in SPLITS), None)


def _read_text(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Boxes as shares of the image, x1, y1, x2, y2, and their class numbers."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.split() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: cannot be read: {error}") from error
    boxes, labels = np.empty((len(lines), 4), np.float32), np.empty(len(lines), np.int32)
    for number, words in enumerate(lines):
        try:
            labels[number] = int(words[0])
            boxes[number] = _box([float(word) for word in words[1:]])
        except (ValueError, OverflowError) as error:
            raise SourceError(
                f"{path}: line {number + 1} is {' '.join(words)[:60]!r}, expected are a class and four numbers, or a polygon"
            ) from error
        if labels[number] < 0:
            raise SourceError(f"{path}: line {number + 1} has class number {labels[number]}, allowed is 0 or more")
    return boxes, labels


def _box(numbers: list[float]) -> list[float]:
    if len(numbers) == 4:
        x, y, width, height = numbers
        return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError
    return [min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])]


def _class_names(root: str, most: int) -> list[str]:
    yaml_files = sorted(
        (name for name in os.listdir(root) if name.endswith((".yaml", ".yml"))), key=lambda each: each != "data.yaml"
    )
    for name in yaml_files:
        if names := _names_in_yaml(os.path.join(root, name)):
            return names
    for place in (root, os.path.join(root, "labels")):
        path = os.path.join(place, "classes.txt")
        if os.path.isfile(path):
            with open(path, encoding="utf-8") as file:
                return [line.strip() for line in file if line.strip()]
    return [str(number) for number in range(most + 1)]


def _names_in_yaml(path: str) -> list[str]:
    """The class names, a list or a mapping from their numbers; nothing where there are none."""
    try:
        import yaml
    except ImportError as error:
        raise SourceError(
            f"{path}: reading it needs PyYAML: pip install 'kseq[yolo]' (or give the names: {spelled('class_names')})"
        ) from error
    try:
        with open(path, encoding="utf-8") as file:
            found = yaml.safe_load(file)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SourceError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    names = found.get("names") if isinstance(found, dict) else None
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise SourceError(
                f"{path}: names are numbered {', '.join(map(str, sorted(names)))}, expected are 0, 1, 2 and so on"
            )
        names = [names[number] for number in range(len(names))]
    return [str(name) for name in names] if isinstance(names, list) else []
