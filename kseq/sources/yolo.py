"""A folder as YOLO's tools lay it out: images, and for each image a text file of boxes.

The rules:

- Images lie in `images`, text files in `labels`, under the same names: `images/train/a.jpg` and `labels/train/a.txt`, or
  `train/images/a.jpg` and `train/labels/a.txt`. A folder called `train`, `val` or `test` on the way is the split.
- A line is a class number, then centre x, centre y, width and height as fractions of the upright image; or a class number and a
  polygon x, y, x, y, ..., which becomes the box around it.
- An image without a text file has no boxes. A text file without an image is rejected.
- Class names come from `data.yaml` (or any other `.yaml` beside it that has `names`), else from `classes.txt`, one on each
  line; else they are the class numbers.

Source: the documentation of Ultralytics YOLO, "Object Detection Datasets Overview".
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from kseq.arguments import spelled
from kseq.errors import SourceError, one_line
from kseq.images.formats import IMAGE_SUFFIXES, read_header
from kseq.platforms.files import with_slashes
from kseq.sources.assemble import box_fields
from kseq.sources.base import FileSource, ImageTable, SourceImage, describe_first
from kseq.sources.folder_tree import Entry, FolderTree
from kseq.sources.source_format import SourceFormat
from kseq.sources.split_names import SPLITS
from kseq.sources.symlinks import LinkRule
from kseq.sources.text import open_text

__all__ = ["YOLO", "YoloSource"]


@dataclass(frozen=True)
class YoloSource(FileSource):
    """The images of such a folder, sorted by split and path; boxes are turned into pixels when an image is read."""

    @staticmethod
    def is_at(root: str) -> bool:
        """Whether a folder is laid out like this."""
        return any(_has_text(labels) for _, labels in _folder_pairs(root))

    @classmethod
    def scan(cls, root: str, class_names: Sequence[str] | None = None, *, follow_links: bool = False) -> YoloSource:
        """Find the images of a folder, and read their boxes.

        Args:
            root: The folder.
            class_names: The classes, in the order of their numbers; None for those that the folder names.
            follow_links: Follow links out of the folder.

        Raises:
            SourceError: If the folder is not laid out like this, or a text file cannot be read.
        """
        pairs = list(_folder_pairs(root))
        if not pairs:
            raise SourceError(f"{root}: expected are {root}/images and {root}/labels, or {root}/train/images and so on")
        tree, links = FolderTree(root, follow_links), LinkRule(root, follow_links)
        found = sorted(pair for folders in pairs for pair in _scan(tree, *folders, links))
        images = ImageTable.of(_read_sample(root, pair) for pair in found)
        highest = max((int(labels.max(initial=-1)) for _, labels in images.value_rows), default=-1)
        names = tuple(class_names if class_names is not None else _class_names(root, highest))
        if highest >= len(names):
            raise SourceError(f"{root}: class number {highest} has no name, there are {len(names)}: {', '.join(names[:5])}")
        if images.is_rejected.all():
            raise SourceError(f"{root}: holds no image that can be packed{describe_first(images)}")
        return cls(root, names, images, box_fields(names))

    def read(self, image: SourceImage) -> dict[str, Any]:
        values = super().read(image)
        header = read_header(values["image"])
        sides = np.array([header.width, header.height] * 2, np.float32)
        return {**values, "boxes": values["boxes"] * sides}


YOLO = SourceFormat(
    "yolo",
    lambda request: YoloSource.scan(request.path, request.class_names, follow_links=request.follow_links),
    is_folder=YoloSource.is_at,
    has_links=True,
    downloads=r"\.(txt|ya?ml)",
)


def _folder_pairs(root: str) -> Iterator[tuple[str, str]]:
    """The folders of images, each with the folder of the text files."""
    try:
        names = sorted(os.listdir(root))
    except OSError as error:
        raise SourceError(f"{root}: cannot be read: {error.strerror}") from error
    for parent in [root, *(os.path.join(root, name) for name in names if name.lower() in SPLITS)]:
        images, labels = os.path.join(parent, "images"), os.path.join(parent, "labels")
        if os.path.isdir(images) and os.path.isdir(labels):
            yield images, labels


def _has_text(folder: str) -> bool:
    return any(name.endswith(".txt") for _, _, names in os.walk(folder) for name in names)


def _files_by_stem(tree: FolderTree, folder: str, suffixes: tuple[str, ...]) -> dict[str, Entry]:
    """The files below a folder, by their paths without the suffix; and folders that may not be gone into, by their paths."""
    start = tree.enter(with_slashes(os.path.relpath(folder, tree.root)))
    files = {}
    for entry in tree.files(start):
        path = with_slashes(os.path.relpath(entry.path, start.path))
        if path.lower().endswith(suffixes):
            files[os.path.splitext(path)[0]] = entry
        elif entry.rejection is not None:
            files[path] = entry
    return files


class _Pair(NamedTuple):
    """An image file and the text file that goes with it; ordered as the samples are."""

    split: str
    path: bytes
    text: str
    num_bytes: int
    rejection: str


def _scan(tree: FolderTree, images_folder: str, labels_folder: str, links: LinkRule) -> Iterator[_Pair]:
    images = _files_by_stem(tree, images_folder, IMAGE_SUFFIXES)
    texts = _files_by_stem(tree, labels_folder, (".txt",))
    texts.pop("classes", None)
    for stem in sorted(images.keys() | texts.keys()):
        file = images.get(stem) or texts[stem]
        path = os.fsencode(file.path)
        num_bytes, rejection = links.inspect(path)
        rejection = file.rejection or rejection
        if rejection is None and stem not in images:
            rejection = "no image goes with it"
        text = texts[stem].path if rejection is None and stem in texts else ""
        yield _Pair(_split(path) or "", path, text, 0 if rejection else num_bytes, rejection or "")


def _read_sample(root: str, pair: _Pair) -> SourceImage:
    boxes, labels = np.empty((0, 4), np.float32), np.empty(0, np.int32)
    if pair.text:
        boxes, labels = _read_boxes(os.path.join(root, pair.text))
    return SourceImage(pair.path, -1, pair.split or None, pair.num_bytes, pair.rejection or None, values=(boxes, labels))


def _split(path: bytes) -> str | None:
    folders = os.fsdecode(path).split("/")[:-1]
    return next((SPLITS[folder.lower()] for folder in folders if folder.lower() in SPLITS), None)


def _read_boxes(path: str) -> tuple[np.ndarray, np.ndarray]:
    """`(n, 4)` float32 x1, y1, x2, y2 as fractions of the image, and `(n,)` int32 class numbers."""
    lines = [line.split() for line in _lines(path)]
    boxes, labels = np.empty((len(lines), 4), np.float32), np.empty(len(lines), np.int32)
    for row, words in enumerate(lines):
        try:
            labels[row] = int(words[0])
            boxes[row] = _box([float(word) for word in words[1:]])
        except (ValueError, OverflowError) as error:
            raise SourceError(
                f"{path}: line {row + 1} is {' '.join(words)[:60]!r}, expected are a class and four numbers, or a polygon"
            ) from error
        if labels[row] < 0:
            raise SourceError(f"{path}: line {row + 1} has class number {labels[row]}, allowed is 0 or more")
    return boxes, labels


def _lines(path: str) -> list[str]:
    """The lines of a text file that are not blank, stripped."""
    try:
        with open_text(path) as file:
            return [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeError) as error:
        raise SourceError(f"{path}: cannot be read: {error}") from error


def _box(numbers: list[float]) -> list[float]:
    if len(numbers) == 4:
        x, y, width, height = numbers
        return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError
    return [min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])]


def _class_names(root: str, highest: int) -> list[str]:
    """The class names that the folder gives, or the numbers from 0 to the highest."""
    yaml_files = sorted(
        (name for name in os.listdir(root) if name.endswith((".yaml", ".yml"))), key=lambda name: name != "data.yaml"
    )
    for name in yaml_files:
        if names := _names_in_yaml(os.path.join(root, name)):
            return names
    for folder in (root, os.path.join(root, "labels")):
        path = os.path.join(folder, "classes.txt")
        if os.path.isfile(path):
            return _lines(path)
    return [str(number) for number in range(highest + 1)]


def _names_in_yaml(path: str) -> list[str]:
    """The class names, a list or a mapping from class numbers; empty if the file has none."""
    try:
        import yaml
    except ImportError as error:
        raise SourceError(
            f"{path}: reading it needs PyYAML: pip install 'kseq[yolo]' (or give the names: {spelled('class_names')})"
        ) from error
    try:
        with open_text(path, strict=True) as file:
            content = yaml.safe_load(file)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SourceError(f"{path}: cannot be read: {one_line(error)}") from error
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            numbers = ", ".join(sorted(map(str, names)))
            raise SourceError(f"{path}: names are numbered {numbers}, expected are 0, 1, 2 and so on")
        names = [names[number] for number in range(len(names))]
    return [str(name) for name in names] if isinstance(names, list) else []
