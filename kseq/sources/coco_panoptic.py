"""COCO's panoptic files: the segments of an image, whose pixels are in a PNG, as annotations of objects."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from kseq.errors import SourceError

__all__ = ["MOST_SEGMENTS", "id_text", "is_panoptic", "read_panoptic"]

MOST_SEGMENTS = (1 << 24) - 1
"""The greatest id of a segment."""


def id_text(value: Any) -> str:
    """An id as text, so that 7, 7.0 and "7" are one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def is_panoptic(annotations: Sequence[Any]) -> bool:
    """Whether the annotations of a file are those of panoptic segmentation."""
    return any(isinstance(annotation, dict) and "segments_info" in annotation for annotation in annotations[:1])


def read_panoptic(path: str, root: str, annotations: Sequence[Any]) -> tuple[list[Any], dict[str, str]]:
    """The segments of a file.

    Args:
        path: The file.
        root: The folder of the images.
        annotations: One for each image.

    Returns:
        An annotation of COCO for each segment, whose `segmentation` is a dict of its id, `segment`, or None where that is no
        whole number of 24 bits; and the id of an image, as `id_text` makes it,
        to its PNG.

    Raises:
        SourceError: If no PNG lies where they are looked for.
    """
    segments: list[Any] = []
    names: dict[str, str] = {}
    for annotation in annotations:
        entry = annotation if isinstance(annotation, dict) else {}
        image_id, name, found = entry.get("image_id"), entry.get("file_name"), entry.get("segments_info")
        if not isinstance(name, str) or not isinstance(found, list):
            # The reader of annotations says what is wrong with it.
            segments.append({"id": entry.get("id"), "image_id": image_id})
            continue
        names[id_text(image_id)] = name
        for segment in found:
            of_segment = segment if isinstance(segment, dict) else {}
            segments.append({**of_segment, "image_id": image_id, "segmentation": _segment(of_segment.get("id"))})
    folder = _png_folder(path, root, list(names.values()))
    return segments, {key: os.path.join(folder, name) for key, name in names.items()}


def _segment(value: Any) -> dict[str, int] | None:
    text = "" if isinstance(value, bool) else id_text(value)
    number = int(text) if text.isascii() and text.isdigit() else -1
    return {"segment": number} if 0 <= number <= MOST_SEGMENTS else None


def _png_folder(path: str, root: str, names: Sequence[str]) -> str:
    """The folder of the PNGs, as an absolute path."""
    beside, stem = os.path.dirname(os.path.abspath(path)), os.path.splitext(os.path.basename(path))[0]
    places = [os.path.join(place, name) for place in (beside, os.path.abspath(root)) for name in (stem, "annotations", "")]
    for place in places:
        found = next((file for name in names[:5] if os.path.isfile(file := os.path.join(place, name))), None)
        if found is not None:
            _check_is_here(path, found)
            return place
    raise SourceError(
        f"{path}: the PNGs of its segments, such as {next(iter(names), '')}, lie neither in {places[0]} nor in {beside}"
    )


def _check_is_here(path: str, file: str) -> None:
    """Raise SourceError if a PNG has its length and nothing in it, as the files of a zip and of a URL have."""
    try:
        with open(file, "rb") as opened:
            head = opened.read(8)
    except OSError:
        # Its image will say so.
        return
    if head and not any(head):
        raise SourceError(f"{path}: the PNGs of its segments are read from a folder alone: unpack or copy them, and pack that")
