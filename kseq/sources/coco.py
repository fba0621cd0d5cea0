"""COCO's detection JSON: images, the boxes around objects in them, and the classes of the objects.

The rules:

- Classes are the categories, in the order of their ids; a class number is the position of a category in that order.
- A box `[x, y, width, height]` becomes x1, y1, x2, y2.
- Annotations of crowds (`iscrowd`), without a box, or with a box without an area are skipped. An image without annotations
  has no boxes.
- An image with a file name that an earlier image has is rejected.

Source: the COCO data format, cocodataset.org, "Object Detection".
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kseq.arguments import spelled
from kseq.errors import SourceError
from kseq.platforms.files import path_bytes
from kseq.sources.assemble import box_fields
from kseq.sources.base import FileSource, ImageTable, SourceImage, describe_first
from kseq.sources.source_format import SourceFormat, SourceRequest, check_is_file, check_root
from kseq.sources.text import open_text
from kseq.sources.url_files import FileSizes

__all__ = ["COCO", "CocoSource"]

_LISTS = ("images", "annotations", "categories")

# Image id to the boxes and class numbers of the objects in the image.
_Objects = dict[Any, list[tuple[list[float], int]]]


@dataclass(frozen=True)
class CocoSource(FileSource):
    """The images that a COCO file names, in the order of the file."""

    @classmethod
    def load(
        cls,
        path: str,
        root: str | None = None,
        class_names: Sequence[str] | None = None,
        *,
        follow_links: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> CocoSource:
        """Read an annotation file.

        Args:
            path: The file.
            root: The folder or URL that file names are relative to; None for the folder of the file.
            class_names: All classes, in the order of their numbers; None for the order of the categories.
            follow_links: Follow links out of that folder.
            storage_options: What fsspec's file systems are made with, for paths that are URLs.

        Raises:
            SourceError: If the file is no COCO file, or contradicts itself.
        """
        root = check_root(path, root)
        lists = _read(path)
        try:
            numbers, names = _number_classes(path, lists["categories"], class_names)
            objects = _objects(path, lists, numbers)
            images = ImageTable.of(_images(FileSizes(root, follow_links, storage_options), lists["images"], objects))
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(f"{path}: is not a COCO detection file: {type(error).__name__} {error}") from error
        if images.is_rejected.all():
            raise SourceError(f"{path}: names no image that can be packed{describe_first(images)}")
        if not images.num_bytes.any():
            first = os.fsdecode(images[0].path)
            raise SourceError(
                f"{path}: none of its {len(images)} images lies in {root}, such as {first} ({spelled('root')} says where)"
            )
        return cls(root, names, images, box_fields(names), storage_options)

    @classmethod
    def open(cls, request: SourceRequest) -> CocoSource:
        """Open a path as a source."""
        check_is_file(request.path, "coco")
        return cls.load(
            request.path,
            request.image_root,
            request.class_names,
            follow_links=request.follow_links,
            storage_options=request.storage_options,
        )


COCO = SourceFormat("coco", CocoSource.open, (".json",), r"\.json", has_root=True, has_links=True)


def _read(path: str) -> dict[str, list[dict[str, Any]]]:
    try:
        with open_text(path, strict=True) as file:
            lists = json.load(file)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: is not JSON: {error}") from error
    missing = [name for name in _LISTS if not isinstance(lists, dict) or not isinstance(lists.get(name), list)]
    if missing:
        raise SourceError(f"{path}: has no list {missing[0]!r}, a COCO detection file has {', '.join(_LISTS)}")
    return lists


def _number_classes(
    path: str, categories: Sequence[Mapping[str, Any]], class_names: Sequence[str] | None
) -> tuple[dict[Any, int], tuple[str, ...]]:
    """Category id to class number, and the class names."""
    by_id = sorted(categories, key=lambda category: category["id"])
    names = [str(category["name"]) for category in by_id]
    if len(set(names)) < len(names):
        raise SourceError(f"{path}: two categories have the same name")
    order = list(class_names) if class_names is not None else names
    if sorted(order) != sorted(names):
        raise SourceError(f"{path}: {spelled('class_names')} are {', '.join(order)}, the categories are {', '.join(names)}")
    return {category["id"]: order.index(name) for category, name in zip(by_id, names, strict=True)}, tuple(order)


def _objects(path: str, lists: Mapping[str, Sequence[Mapping[str, Any]]], numbers: Mapping[Any, int]) -> _Objects:
    objects: _Objects = {image["id"]: [] for image in lists["images"]}
    if len(objects) < len(lists["images"]):
        raise SourceError(f"{path}: two images have the same id")
    for annotation in lists["annotations"]:
        for name, known in (("image_id", objects), ("category_id", numbers)):
            if annotation[name] not in known:
                number = annotation.get("id")
                raise SourceError(f"{path}: annotation {number} has {name} {annotation[name]!r}, which does not exist")
        x, y, width, height = map(float, annotation.get("bbox") or (0, 0, 0, 0))
        if not annotation.get("iscrowd") and width > 0 and height > 0:
            box = [x, y, x + width, y + height]
            objects[annotation["image_id"]].append((box, numbers[annotation["category_id"]]))
    return objects


def _images(sizes: FileSizes, images: Sequence[Mapping[str, Any]], objects: _Objects) -> Iterator[SourceImage]:
    used_paths: set[bytes] = set()
    paths = [path_bytes(image["file_name"]) for image in images]
    for image, path, num_bytes, rejection in zip(images, paths, *sizes.inspect_all(paths), strict=True):
        if path in used_paths:
            rejection = f"is named again: by the image of id {image['id']}"
        used_paths.add(path)
        image_objects = objects[image["id"]]
        boxes = np.array([box for box, _ in image_objects], np.float32).reshape(-1, 4)
        labels = np.array([label for _, label in image_objects], np.int32)
        yield SourceImage(path, -1, None, 0 if rejection else num_bytes, rejection, values=(boxes, labels))
