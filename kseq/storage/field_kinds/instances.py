"""The pixels of each object of an image: one map of object numbers, and which number belongs to which box."""

from __future__ import annotations

from typing import Any

from kseq.errors import ArgumentError
from kseq.images.pixel_form import LITTLE_ENDIAN
from kseq.storage.field_kinds.base import FieldKind
from kseq.storage.field_kinds.pixels import Mask

__all__ = ["InstanceIds", "Instances", "WideInstances"]


class Instances(Mask):
    """For each pixel of the first image the number of the object that it belongs to, 1 to 255, or 0: `(height, width, 1)`."""

    name = "instances"
    meaning = "the number of the object of each pixel"
    can_be_target = True

    def feature_name(self, has_one_image: bool) -> str:
        return self.field.name

    def image_features(self, data: bytes, format: str, image: Any) -> dict[str, list[bytes]]:
        return {self.field.name: [data]}

    def pack_options(self, column: str, has_one_image: bool = True) -> list[str]:
        return ["--target", f"{self.field.name}={column}:{self.name}"]


class WideInstances(Instances):
    """The same for images of more objects, 1 to 65,535: a PNG of 16 bits, or numbers."""

    name = "wide_instances"
    dtypes = (LITTLE_ENDIAN["uint16"],)
    meaning = "the number of the object of each pixel, of more than 255"

    @property
    def fits_png(self) -> bool:
        return True


class InstanceIds(FieldKind):
    """The number that each box of a sample has in its map of `instances`; it leaves the sample with its box."""

    name = "instance_ids"
    dtypes = ("<i4",)
    shape = (None,)
    meaning = "the number of each box among the instances"
    can_be_added = False

    @property
    def leader(self) -> str:
        return "boxes"

    def condition_value(self, value: Any, class_names: Any) -> Any:
        raise ArgumentError(f"where {self.field.name}: numbers of objects are chosen by a function, which is given all of them")
