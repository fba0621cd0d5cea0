"""Images with boxes around objects, as the files of annotation tools name them: what all these formats share.

The rules:

- A path with backslashes, as tools on Windows write it, is the path with slashes, unless a file has that very name.
- A file that is not where an annotation says is looked for by its path below `images` beside the annotations, or below other
  folders that its format names; a name without the suffix of an image, with one; then by the last parts of its path, which
  other machines begin otherwise, and a line counts these.
- Where annotations say the size of the image, and that is the size of its pixels before EXIF turns them, boxes are turned too.
  Where it is another size, the image is rejected: its boxes would lie elsewhere.
- `class_names` chooses classes and their numbers; objects of other classes are left out, and counted.
- Where a mask is asked for, the outlines of objects are drawn as `kseq/sources/object_masks.py` says. An object without an
  outline is background there, and counted in a note.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from kseq.arguments import counted, is_url, spelled
from kseq.errors import ImageError, SourceError
from kseq.images.codecs import upright
from kseq.images.deep_pixels import read_size
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.platforms.files import path_bytes
from kseq.sources.assemble import box_fields
from kseq.sources.base import FileSource, ImageTable, SourceImage, describe_first
from kseq.sources.class_names import sort_class_names
from kseq.sources.column_roles import mask_of_objects
from kseq.sources.masked_source import MaskedSource, with_mask
from kseq.sources.object_masks import (
    INSTANCES,
    MOST_OBJECTS,
    WHOLE_BOX,
    ObjectMask,
    OutlinedObject,
    check_room,
    describe_bare,
    describe_crowded,
    describe_rectangles,
    describe_unused,
    describe_wide,
    needs_wide,
)
from kseq.sources.shape_outlines import are_sane, rectangle_corners
from kseq.sources.source_format import SourceRequest
from kseq.sources.stated_sizes import SizedLocation, path_of, turned_boxes
from kseq.sources.text import may_be_path
from kseq.sources.url_files import FileSizes
from kseq.storage.fields import Field

__all__ = [
    "AnnotatedImage",
    "AnnotatedSource",
    "FoundObject",
    "check_box",
    "find_image",
    "unused_outlines",
]


class FoundObject(NamedTuple):
    """An object in an image.

    Attributes:
        class_name: The name of its class.
        box: x1, y1, x2, y2 in pixels.
        points: x, y and visibility of each keypoint, one after the other; None if it has none.
        outline: As in `OutlinedObject`; `WHOLE_BOX` for a rectangle; None if it has none, or no mask is asked for.
    """

    class_name: str
    box: Sequence[float]
    points: Sequence[float] | None = None
    outline: Any = None


class AnnotatedImage(NamedTuple):
    """An image file and the objects in it.

    Attributes:
        path: The file, below the root.
        objects: The objects.
        size: Height and width that the annotation says; None if it does not.
        split: The split that the source tells.
        rejection: Why the image cannot be packed.
        in_shares: Whether boxes are in shares of the width and the height.
        crowds: The outlines of crowds.
        segments: The PNG of the segments of its objects, if there is one.
    """

    path: str
    objects: Sequence[FoundObject] = ()
    size: tuple[int, int] | None = None
    split: str | None = None
    rejection: str | None = None
    in_shares: bool = False
    crowds: Sequence[Any] = ()
    segments: str = ""


Self = TypeVar("Self", bound="AnnotatedSource")


@dataclass(frozen=True)
class AnnotatedSource(MaskedSource, FileSource):
    """Image files and the boxes that annotations say of them."""

    @staticmethod
    def hint(root: str) -> str:
        """What to do where no image lies below a folder."""
        return f"{spelled('root')} says where"

    @classmethod
    def of(
        cls: type[Self],
        request: SourceRequest,
        path: str,
        root: str,
        images: Sequence[AnnotatedImage],
        *,
        facts: Mapping[str, int],
        known_classes: Sequence[str] | None = None,
        keypoints: Field | None = None,
        notes: Iterable[str] = (),
        folders: Sequence[str] = ("images", "data", "JPEGImages"),
    ) -> Self:
        """A source of some images.

        Args:
            request: Which classes are wanted, and how files are reached.
            path: The file or folder of the annotations, for messages.
            root: The folder or URL that the paths of images are relative to.
            images: The images, in their order.
            facts: What was counted of boxes already, by the names in `kseq.storage.box_counts`.
            known_classes: The classes that the annotations name, in the order of their numbers; None for those of the objects,
                sorted.
            keypoints: The field of the keypoints of objects; None if they have none.
            notes: What a user should know of the source.
            folders: Where images are looked for that are not at their paths, below the root.

        Raises:
            SourceError: If no image can be packed, or the class names that are wanted are none of the annotations.
        """
        if known_classes is None:
            known_classes = sort_class_names(found.class_name for image in images for found in image.objects)
        names = tuple(known_classes if request.class_names is None else request.class_names)
        if len(set(names)) < len(names) or (known_classes and set(names).isdisjoint(known_classes)):
            allowed = ", ".join(known_classes)
            raise SourceError(
                f"{path}: {spelled('class_names')} are {', '.join(names)}, allowed are different ones of {allowed}"
            )
        numbers = {name: number for number, name in enumerate(names)}
        counts = Counter(facts)
        sizes = FileSizes(root, request.follow_links, request.storage_options)
        written = {image.path.replace("\\", "/") for image in images}
        located = [_found(root, image, folders, written) for image in images]
        notes = [*notes, *(f"{path}: {note}" for note in _count_tails(images, located))]
        kind = mask_of_objects(request.columns)
        if kind is not None:
            # Of these the outline is stored too.
            del counts["outline"]
        notes = [*notes, *_mask_notes(path, kind, names, images)]
        table = ImageTable.of(_samples(sizes, located, numbers, counts, keypoints, kind))
        if not len(table):
            raise SourceError(f"{path}: names no image")
        if table.is_rejected.all():
            raise SourceError(f"{path}: names no image that can be packed{describe_first(table)}")
        if not table.num_bytes.any():
            first = os.fsdecode(table[0].path)
            raise SourceError(f"{path}: none of its {len(table)} images lies in {root}, such as {first} ({cls.hint(root)})")
        fields = box_fields(names, keypoints)
        if kind is not None:
            fields = with_mask(fields, request.columns, kind, is_wide=needs_wide(kind, _most_objects(located)))
        return cls(root, names, table, fields, request.storage_options, box_facts=dict(counts), notes=tuple(notes))

    def read(self, image: SourceImage) -> dict[str, Any]:
        location = image.location
        mask = self.mask_field
        if location is None:
            values = super().read(image)
            return values if mask is None else values | self.drawn(values, *read_size(values["image"])[:2])
        path, height, width = location
        values = super().read(image._replace(location=path))
        *found, orientation = read_size(values["image"])
        found_size = (found[0], found[1])
        if not height:
            sides = np.array([*found_size[::-1]] * 2, np.float32)
            return {**values, "boxes": values["boxes"] * sides} | self.drawn(values, *found_size)
        turned = turned_boxes(values, (height, width), found_size, orientation)
        values |= self.drawn(values, height, width)
        if "boxes" in turned and mask is not None:
            drawn = values[mask.name]
            turned[mask.name] = drawn._replace(pixels=upright(drawn.pixels, orientation))
        return values | turned

    def stamp(self, location: Any) -> int:
        return super().stamp(path_of(location))

    def _urls(self, image: SourceImage) -> dict[str, int]:
        return super()._urls(image if image.location is None else image._replace(location=path_of(image.location)))


def _found(root: str, image: AnnotatedImage, folders: Sequence[str], written: Set[str]) -> AnnotatedImage:
    """An image with the path at which its file lies, by the rules at the top of this module."""
    if not may_be_path(image.path):
        return AnnotatedImage(ascii(image.path), rejection="has a path that no file can have")
    if not may_be_path(image.segments):
        reason = image.rejection or "has a PNG of segments with a path that no file can have"
        return image._replace(segments="", rejection=reason)
    return image if image.rejection or not image.path else image._replace(path=find_image(root, image.path, folders, written))


def find_image(root: str, path: str, folders: Sequence[str], written: Set[str]) -> str:
    """The path below the root at which a file lies that annotations name; the name, where none does.

    Args:
        root: The folder or URL.
        path: The name.
        folders: Where files are looked for that are not at their paths.
        written: All names: a file that another stands for is not taken.
    """
    if is_url(path) or is_url(root):
        return path.replace("\\", "/")
    plain = path.replace("\\", "/")
    candidates = [path, plain] if plain != path else [path]
    if not os.path.isabs(plain):
        candidates += [f"{folder}/{plain}" for folder in folders]
    if not plain.lower().endswith(IMAGE_SUFFIXES):
        candidates += [f"{candidate}{suffix}" for candidate in candidates for suffix in IMAGE_SUFFIXES]
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    for start in range(1, len(parts)):
        tail = "/".join(parts[start:])
        if tail in written:
            # The file of another image.
            break
        candidates += [tail, *(f"{folder}/{tail}" for folder in folders)]
    existing = (candidate for candidate in candidates if os.path.lexists(os.path.join(root, candidate)))
    return next(existing, plain)


def _count_tails(images: Sequence[AnnotatedImage], located: Sequence[AnnotatedImage]) -> Iterator[str]:
    """A line on images that were found by the last parts of their paths."""
    pairs = [
        (image.path, found.path)
        for image, found in zip(images, located, strict=True)
        if found.path.count("/") < image.path.replace("\\", "/").removeprefix("./").count("/")
    ]
    if pairs:
        written, path = pairs[0]
        lie = counted(len(pairs), "image lies", "images lie")
        yield f"{lie} elsewhere than is written, such as {written}: {path} is taken"


def _samples(
    sizes: FileSizes,
    images: Sequence[AnnotatedImage],
    numbers: Mapping[str, int],
    facts: Counter[str],
    keypoints: Field | None,
    mask_kind: str | None,
) -> Iterator[SourceImage]:
    used: set[bytes] = set()
    paths = [path_bytes(image.path) for image in images]
    for image, path, num_bytes, refused in zip(images, paths, *sizes.inspect_all(paths), strict=True):
        rejection = image.rejection or refused
        # `a.jpg` and `./a.jpg` are one file.
        file = path if is_url(image.path) else os.path.normpath(path)
        if rejection is None and file in used:
            rejection = "is named again"
        if rejection is None:
            used.add(file)
        chosen = [found for found in image.objects if found.class_name in numbers]
        if rejection is None and mask_kind == INSTANCES and len(image.objects) > MOST_OBJECTS:
            rejection = describe_crowded(len(image.objects))
        facts["unknown_class"] += len(image.objects) - len(chosen)
        boxes = np.array([found.box for found in chosen], np.float32).reshape(-1, 4)
        labels = np.array([numbers[found.class_name] for found in chosen], np.int32)
        values: list[Any] = [boxes, labels]
        if keypoints is not None:
            # Of an object without keypoints, none is labelled.
            points = np.zeros((len(chosen), *keypoints.handler.element_shape), np.float32)
            for row, found in zip(points, chosen, strict=True):
                row[:] = 0 if found.points is None else np.reshape(found.points, row.shape)
            values.append(points)
        if mask_kind is not None:
            values.insert(0, _object_mask(path, image))
        if mask_kind == INSTANCES:
            ids = [number for number, found in enumerate(image.objects, 1) if found.class_name in numbers]
            values.append(np.array(ids, np.int32))
        size = (0, 0) if image.in_shares else image.size
        location = None if size is None or rejection else SizedLocation(path, *size)
        yield SourceImage(path, -1, image.split, 0 if rejection else num_bytes, rejection, None, tuple(values), location)


def _object_mask(path: bytes, image: AnnotatedImage) -> ObjectMask:
    objects = [
        OutlinedObject(found.class_name, number, [rectangle_corners(found.box)] if _is_rectangle(found) else found.outline)
        for number, found in enumerate(image.objects, 1)
        if found.outline is not None
    ]
    crowds = [OutlinedObject("", 0, outline) for outline in image.crowds]
    return ObjectMask.of(path, [*objects, *crowds], in_shares=image.in_shares, file=os.fsencode(image.segments))


def _most_objects(images: Sequence[AnnotatedImage]) -> int:
    """How many objects an image that has room for them has at most."""
    counts = (len(image.objects) for image in images if image.rejection is None)
    return max((count for count in counts if count <= MOST_OBJECTS), default=0)


def _is_rectangle(found: FoundObject) -> bool:
    return found.outline is WHOLE_BOX


def _mask_notes(path: str, kind: str | None, names: Sequence[str], images: Sequence[AnnotatedImage]) -> Iterator[str]:
    """What a user should know of masks.

    Raises:
        SourceError: If there are too many classes.
    """
    if kind is None:
        return
    check_room(path, kind, names)
    num_bare = sum(found.outline is None for image in images for found in image.objects)
    if num_bare:
        yield f"{path}: {describe_bare(num_bare)}"
    most_objects = _most_objects(images)
    if needs_wide(kind, most_objects):
        yield f"{path}: {describe_wide(most_objects)}"
    num_rectangles = sum(_is_rectangle(found) for image in images for found in image.objects)
    if num_rectangles:
        yield f"{path}: {describe_rectangles(num_rectangles)}"


def unused_outlines(request: SourceRequest, facts: Mapping[str, int]) -> list[str]:
    """A line that says that outlines are not packed, where none asks for them, of a format that has them."""
    if not facts.get("outline") or mask_of_objects(request.columns) is not None:
        return []
    return [f"{request.path}: {describe_unused(facts['outline'])}"]


def check_box(box: Sequence[Any], what: str) -> list[float]:
    """Four numbers.

    Raises:
        ImageError: If they are not, with `what` in the message.
    """
    try:
        numbers = [float(side) for side in box]
    except (TypeError, ValueError, OverflowError):
        numbers = []
    if len(numbers) != 4 or isinstance(box, str) or not are_sane(numbers):
        raise ImageError(f"{what} is {str(box)[:60]}, allowed are four finite numbers")
    return numbers
