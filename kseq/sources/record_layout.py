"""Which features of records hold the images, the classes and the boxes, and what is said where that cannot be told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kseq.arguments import spelled, spelled_call
from kseq.errors import ImageError, NotAnImageError, SourceError
from kseq.images.formats import read_header
from kseq.sources.column_roles import Columns, find_columns, has_targets, pixel_columns, value_columns
from kseq.sources.example_message import Features
from kseq.sources.record_boxes import BoxFeatures, find_box_features

__all__ = ["BOXES", "BOX_LABELS", "CLASS", "RecordLayout", "find_layout", "is_image"]

_USUAL = {
    "image": ("image/encoded", "image", "image_raw", "img", "jpeg", "png"),
    "label": ("image/class/label", "label", "class", "image/class/text"),
}
# The feature of the numbers of classes, and that of their names.
_CLASS_NUMBER, _CLASS_TEXT = "image/class/label", "image/class/text"
# Columns of the samples of such records that are no features.
BOXES, BOX_LABELS, CLASS = "(boxes)", "(box labels)", "(class)"
# What says again what the image, its label and its boxes say.
_OF_IMAGE = ("filename", "source_id", "key/sha256", "format", "height", "width", "channels", "colorspace", "depth")
_OF_OBJECTS = ("area", "difficult", "truncated", "group_of", "view", "weight")
_KNOWN = frozenset((*_OF_IMAGE, "class/label", "class/text", "class/synset", *(f"object/{name}" for name in _OF_OBJECTS)))
# So much of a feature is shown.
_LONGEST_TEXT = 80


@dataclass(frozen=True)
class RecordLayout:
    """Which features of records hold what.

    Attributes:
        columns: The columns of the samples: features, or `BOXES`, `BOX_LABELS` and `CLASS`.
        boxes: The features of boxes; None if boxes are not read by the usual names.
        class_features: The features of the number and the name of the class of an image; None if one column says it.
    """

    columns: Columns
    boxes: BoxFeatures | None = None
    class_features: tuple[str, str] | None = None

    @property
    def pixels(self) -> tuple[str, ...]:
        """The features of images, and that of masks."""
        return pixel_columns(self.columns)

    @property
    def values(self) -> list[str]:
        """The columns that are used besides those."""
        return value_columns(self.columns)

    @property
    def label_feature(self) -> str | None:
        """The feature that may hold the number of the class of an image."""
        return self.columns.label if self.class_features is None else self.class_features[0]

    def unused(self, names: Iterable[str]) -> list[str]:
        """The features that nothing is read from, and that say something of their own."""
        used = {*self.pixels, *self.values, *(self.class_features or ()), *(self.boxes.used if self.boxes else ())}
        return sorted(name for name in set(names) - used if name.removeprefix("image/") not in _KNOWN)


def find_layout(path: str, columns: Columns, kinds: Mapping[str, str], features: Features) -> RecordLayout:
    """Find which features hold what, by their usual names where they are not named.

    Args:
        path: The source, for messages.
        columns: The columns as the caller named them.
        kinds: The features that are known, each with its kind in words.
        features: Those of one record.

    Raises:
        SourceError: If they cannot be told, or one that is named is missing.
    """
    names = sorted(kinds)
    boxes = None
    if columns.boxes is None and columns.box_labels is None:
        boxes = find_box_features(names)
    asked = columns
    if boxes is not None:
        # Any feature that there is, so that a label is not needed.
        asked = replace(columns, boxes=boxes.sides[0])
    try:
        found = find_columns(asked, path, names, _USUAL)
    except SourceError as error:
        needs_image = not columns.image and not any(name in kinds for name in _USUAL["image"])
        needs_label = columns.label is None and not has_targets(asked) and not any(name in kinds for name in _USUAL["label"])
        if needs_image or needs_label:
            raise SourceError(_which(path, columns, kinds, features, needs_image=needs_image)) from error
        raise
    if boxes is not None:
        found = replace(found, boxes=BOXES, box_labels=BOX_LABELS if boxes.has_classes else None)
    class_features = None
    if columns.label is None and found.label == _CLASS_NUMBER and _CLASS_TEXT in kinds:
        class_features = (_CLASS_NUMBER, _CLASS_TEXT)
        found = replace(found, label=CLASS)
    return RecordLayout(found, boxes, class_features)


def _which(path: str, columns: Columns, kinds: Mapping[str, str], features: Features, *, needs_image: bool) -> str:
    """What to say where the image or the label cannot be told: the features, and the command that names them."""
    images = [name for name, values in features.items() if len(values) == 1 and is_image(values[0])]
    labels = [name for name, values in features.items() if name not in images and len(values) == 1 and _may_be_label(values[0])]
    labels.sort(key=lambda name: not any(word in name.lower() for word in ("label", "class", "category", "target")))
    image = images[0] if images else "FEATURE"
    roles = {"label": columns.label if columns.label is not None else labels[0] if labels else ""}
    if not columns.image and needs_image:
        roles = {"image": image, **roles}
    options = " ".join(spelled(f"columns.{role}", name) for role, name in roles.items())
    listed = ", ".join(f"{name} ({kind})" for name, kind in sorted(kinds.items()))
    role = "image" if needs_image else "label"
    return (
        f"{path}: which feature is the {role}? Its features are {listed}: "
        f"{spelled_call('pack', path, 'DATASET')} with {options}"
    )


def _may_be_label(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, bytes) and len(value) <= _LONGEST_TEXT)


def is_image(data: Any) -> bool:
    """Whether bytes begin as those of an image."""
    if not isinstance(data, bytes):
        return False
    try:
        read_header(data)
    except NotAnImageError:
        return False
    except ImageError:
        pass
    return True
