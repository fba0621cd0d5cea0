"""Sources whose masks are drawn from the outlines of objects when an image is read: what they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kseq.errors import image_error_prefix
from kseq.images.noted_pixels import NotedPixels
from kseq.sources.assemble import MASK
from kseq.sources.base import Source, SourceImage
from kseq.sources.column_roles import Columns, mask_field_name
from kseq.sources.object_masks import INSTANCES, SEMANTIC, ObjectMask, draw_objects
from kseq.storage.field_kinds import InstanceIds, Instances, WideInstances
from kseq.storage.fields import Field

__all__ = ["MaskedSource", "with_mask"]


@dataclass(frozen=True)
class MaskedSource(Source):
    """A source of boxes, whose mask, if it has one, has an `ObjectMask` for its location."""

    @property
    def mask_field(self) -> Field | None:
        """The field of the mask; None if none was asked for."""
        return next((field for field in self.fields if field.is_pixels and not field.is_image), None)

    def drawn(self, values: Mapping[str, Any], height: int, width: int) -> dict[str, NotedPixels]:
        """The mask of a sample, by the name of its field; nothing if none was asked for.

        Args:
            values: Of the sample.
            height: Of the image on which its objects were drawn, in pixels.
            width: Of the same image.

        Raises:
            ImageError: If an outline makes no sense.
        """
        field = self.mask_field
        if field is None:
            return {}
        labels = next(other for other in self.fields if other.kind == "labels")
        numbers = {name: number for number, name in enumerate(labels.class_names)}
        kind = INSTANCES if isinstance(field.handler, Instances) else SEMANTIC
        with image_error_prefix(f"its {field.name}"):
            dtype = field.handler.dtypes[0]
            drawn = draw_objects(values[field.name], height, width, kind=kind, class_numbers=numbers, dtype=dtype)
            return {field.name: drawn}

    def fetch(self, location: Any) -> Any:
        """The bytes of an image; of a mask its objects, which are drawn when the size of the image is known."""
        return location if isinstance(location, ObjectMask) else super().fetch(location)

    def stamp(self, location: Any) -> int:
        return super().stamp(location.path if isinstance(location, ObjectMask) else location)

    def _urls(self, image: SourceImage) -> dict[str, int]:
        # Masks lie at no URL: they are drawn.
        values = tuple(value.path if isinstance(value, ObjectMask) else value for value in image.values)
        urls: dict[str, int] = super()._urls(image._replace(values=values))  # type: ignore[misc]  # of `FileSource`
        return urls


def with_mask(fields: tuple[Field, ...], columns: Columns, kind: str, *, is_wide: bool) -> tuple[Field, ...]:
    """The fields of boxes, with a mask behind the image, and for instances, perhaps of 16 bits, the numbers of the boxes at the
    end."""
    default = MASK.name if kind == SEMANTIC else Instances.name
    name = default if isinstance(columns.mask, str) else mask_field_name(columns)
    image, *others = fields
    if kind == SEMANTIC:
        return (image, replace(MASK, name=name), *others)
    ids = Field(InstanceIds.name, InstanceIds.name, False, InstanceIds.dtypes[0], InstanceIds.shape or ())
    handler = WideInstances if is_wide else Instances
    return (image, replace(MASK, name=name, kind=handler.name, dtype=handler.dtypes[0]), *others, ids)
