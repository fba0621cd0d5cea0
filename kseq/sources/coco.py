"""COCO's detection JSON: images, the boxes around objects in them, and the objects' classes.

The rules:

- Classes are the categories, in the order of their ids; a class number is the place of a category there.
- A box `[x, y, width, height]` becomes x1, y1, x2, y2.
- Annotations of crowds (`iscrowd`), without a box, or whose box has no area are left out. An image without annotations has no
  boxes.
- An image whose file name an earlier one has is refused.

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
from kseq.sources.assemble import object_fields
from kseq.sources.base import FileSource, SourceImage
from kseq.sources.links import Links
from kseq.storage.rejected import with_remedy

__all__ = ["CocoSource"]

_LISTS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class CocoSource(FileSource):
    """The images that a COCO file names, in its order."""

    @classmethod
    def load(
        cls, path: str, root: str | None = None, class_names: Sequence[str] | None = None, *, follow_links: bool = False
    ) -> CocoSource:
        """Read an annotation file.

        Args:
            path: The file.
            root: The folder that file names are relative to; None for the file's own.
            class_names: Another order of the classes; all of them.
            follow_links: Follow links out of that folder.

        Raises:
            SourceError: Where it is no such file, or contradicts itself.
        """
        root = os.path.dirname(path) or "." if root is None else root
        if not os.path.isdir(root):
            raise SourceError(f"{root}: is not a folder, expected is the one that the paths in {path} are relative to")
        found = _read(path)
        try:
            numbers, names = _number_classes(path, found["categories"], class_names)
            objects = _objects(path, found, numbers)
            images = list(_images(Links(root, follow_links), found["images"], objects))
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(f"{path}: is not a COCO detection file: {type(error).__name__} {error}") from error
        if all(image.refused for image in images):
            reason = f" (first: {os.fsdecode(images[0].path)}: {with_remedy(images[0].refused or '')})" if images else ""
            raise SourceError(f"{path}: names no image that can be packed{reason}")
        if all(image.num_bytes == 0 for image in images):
            first = os.fsdecode(images[0].path)
            raise SourceError(
                f"{path}: none of its {len(images)} images lies in {root}, such as {first} ({spelled('root')} says where)"
            )
        return cls(root, names, images, object_fields(names))


def _read(path: str) -> dict[str, list[dict[str, Any]]]:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: is not JSON: {error}") from error
    missing = [name for name in _LISTS if not isinstance(found, dict) or not isinstance(found.get(name), list)]
    if missing:
        raise SourceError(f"{path}: has no list {missing[0]!r}, a COCO detection file has {', '.join(_LISTS)}")
    return found


def _number_classes(
    path: str, categories: Sequence[Mapping[str, Any]], wanted: Sequence[str] | None
) -> tuple[dict[Any, int], tuple[str, ...]]:
    """Category id to class number, and the class names."""
    ordered = sorted(categories, key=lambda each: each["id"])
    names = [str(each["name"]) for each in ordered]
    if len(set(names)) < len(names):
        raise SourceError(f"{path}: two categories have the same name")
    order = list(wanted) if wanted is not None else names
    if sorted(order) != sorted(names):
        raise SourceError(f"{path}: {spelled('class_names')} are {', '.join(order)}, the categories are {', '.join(names)}")
    return {each["id"]: order.index(name) for each, name in zip(ordered, names, strict=True)}, tuple(order)


def _objects(
    path: str, found: Mapping[str, Sequence[Mapping[str, Any]]], numbers: Mapping[Any, int]
) -> dict[Any, list[tuple[list[float], int]]]:
    """Image id to the boxes and class numbers of its objects."""
    objects: dict[Any, list[tuple[list[float], int]]] = {image["id"]: [] for image in found["images"]}
    if len(objects) < len(found["images"]):
        raise SourceError(f"{path}: two images have the same id")
    for each in found["annotations"]:
        for name, known in (("image_id", objects), ("category_id", numbers)):
            if each[name] not in known:
                raise SourceError(f"{path}: annotation {each.get('id')} has {name} {each[name]!r}, which does not exist")
        x, y, width, height = map(float, each.get("bbox") or (0, 0, 0, 0))
        if not each.get("iscrowd") and width > 0 and height > 0:
            objects[each["image_id"]].append(([x, y, x + width, y + height], numbers[each["category_id"]]))
    return objects


def _images(
    links: Links, images: Sequence[Mapping[str, Any]], objects: Mapping[Any, list[tuple[list[float], int]]]
) -> Iterator[SourceImage]:
    seen: set[bytes] = set()
    for image in images:
        name = os.fsencode(image["file_name"])
        size, refused = links.look(name)
        if name in seen:
            refused = f"is named again: by the image of id {image['id']}"
        seen.add(name)
        found = objects[image["id"]]
        boxes = np.array([box for box, _ in found], np.float32).reshape(-1, 4)
        labels = np.array([label for _, label in found], np.int32)
        yield SourceImage(name, -1, None, 0 if refused else size, refused, more=(boxes, labels))
