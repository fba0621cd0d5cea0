"""YOLO's data sets: images, and for each image a text file of boxes; in a folder or in a zip.

The rules:

- `kseq/sources/yolo_pairs.py` says which text file goes with which image, `kseq/sources/yolo_text.py` what its lines say, and
  `kseq/sources/yolo_config.py` where class names and splits come from.
- Where no file names the splits, a folder called `train`, `val` or `test` on the way is the split, also as `train2017`,
  `images_train` or `obj_train_data`.
- An image without a text file has no boxes, and the report counts these images. A fault in a text file rejects its image alone.
- Classes that no file names are called by their numbers. Given names that are those of the file, or some of them, say their
  order, and which objects are left out.
- Outlines become a mask if `Columns(mask=...)` asks for one, see `kseq/sources/object_masks.py`; else a line says that they
  were not used.
- The rule about links holds for text files as for images, see `kseq/sources/folder.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from kseq.arguments import counted, spelled
from kseq.errors import ImageError, SourceError
from kseq.images.deep_pixels import read_size
from kseq.sources.assemble import CORNERS, box_fields, keypoint_field
from kseq.sources.base import FileSource, ImageTable, Source, SourceImage, describe_first
from kseq.sources.column_roles import Columns, mask_of_objects
from kseq.sources.folder_tree import Entry, FolderTree
from kseq.sources.layouts import looks_like_yolo
from kseq.sources.masked_source import MaskedSource, with_mask
from kseq.sources.object_masks import (
    INSTANCES,
    MOST_OBJECTS,
    ObjectMask,
    OutlinedObject,
    check_room,
    describe_bare,
    describe_crowded,
    describe_unused,
    describe_wide,
    needs_wide,
)
from kseq.sources.point_names import describe_outside
from kseq.sources.source_format import SourceFormat, SourceRequest
from kseq.sources.split_names import split_of_path
from kseq.sources.tree_files import TreeFiles, zip_files
from kseq.sources.yolo_config import YoloSplits, find_splits, read_config
from kseq.sources.yolo_pairs import Pair, pair_files
from kseq.sources.yolo_text import LineError, ObjectCounts, Objects, looks_like_boxes, parse_objects
from kseq.sources.zip_archive import ZipSource
from kseq.storage.fields import Field

__all__ = ["YOLO", "YoloSource", "YoloZipSource"]


class _InPixels(MaskedSource):
    """Turns boxes into pixels when an image is read, and draws its mask."""

    def read(self, image: SourceImage) -> dict[str, Any]:
        values = super().read(image)
        height, width, _ = read_size(values["image"])
        sides = np.array([width, height] * 2, np.float32)
        pixels = {"boxes": values["boxes"] * sides}
        for name in {"keypoints", "corners"} & set(values):
            # A visibility stays as it is. A point at the lower edge is there in any rounding.
            points, size = values[name].copy(), sides[:2]
            points[..., :2] *= size
            if points.shape[-1] == 3:
                points[..., :2] = np.minimum(points[..., :2], size)
            pixels[name] = points
        return values | pixels | self.drawn(values, height, width)


@dataclass(frozen=True)
class YoloSource(_InPixels, FileSource):
    """The images of such a folder, sorted by split and path."""

    @classmethod
    def scan(
        cls,
        root: str,
        class_names: Sequence[str] | None = None,
        *,
        follow_links: bool = False,
        columns: Columns | None = None,
    ) -> YoloSource:
        """Find the images of a folder, and read their boxes.

        Args:
            root: The folder.
            class_names: The classes, in the order of their numbers; None for those that the folder names.
            follow_links: Follow links out of the folder.
            columns: Which mask is asked for; None for none.

        Raises:
            SourceError: If the folder is not laid out like this, or a file that names classes makes no sense.
        """
        if not os.path.isdir(root):
            raise SourceError(
                f"{root}: is {'a file' if os.path.exists(root) else 'not there'}, expected is a folder or a zip (yolo)"
            )
        found = _scan(TreeFiles(FolderTree(root, follow_links)), class_names, columns or Columns())
        return cls(root, found.class_names, found.images, found.fields, **found.remarks)


@dataclass(frozen=True)
class YoloZipSource(_InPixels, ZipSource):
    """The same in a zip."""

    @classmethod
    def scan(cls, path: str, class_names: Sequence[str] | None = None, *, columns: Columns | None = None) -> YoloZipSource:
        """Find the images of a zip, and read their boxes; as `YoloSource.scan`."""
        found = _scan(zip_files(path), class_names, columns or Columns())
        return cls(path, found.class_names, found.images, found.fields, **found.remarks)


def _open(request: SourceRequest) -> Source:
    if os.path.isfile(request.path) and request.path.lower().endswith(".zip"):
        return YoloZipSource.scan(request.path, request.class_names, columns=request.columns)
    return YoloSource.scan(request.path, request.class_names, follow_links=request.follow_links, columns=request.columns)


YOLO = SourceFormat(
    "yolo",
    _open,
    is_folder=looks_like_yolo,
    is_archive=looks_like_yolo,
    has_links=True,
    has_outlines=True,
    downloads=r"\.(txt|ya?ml|names|labels|data)",
)


@dataclass
class _Reader:
    """Reads the text files of a data set.

    Attributes:
        files: The files.
        source_names: The class names by the files of the data set; None if they are not named.
        numbers: For each class of these the number that it has in the dataset, -1 for one that is left out; None to keep them.
        keypoint_shape: As in `parse_objects`.
        mask: The mask that is asked for; None for none.
        counts: What was read.
        highest: The highest class number that was read.
        num_without: How many images have no text file.
        num_left_out: How many objects are of classes that are left out.
        num_bare: How many objects have no outline, where a mask is asked for.
        most_objects: How many objects an image has at most.
    """

    files: TreeFiles
    source_names: tuple[str, ...] | None
    numbers: np.ndarray | None
    keypoint_shape: tuple[int, int] | None
    mask: str | None
    counts: ObjectCounts = field(default_factory=ObjectCounts)
    highest: int = -1
    num_without: int = 0
    num_left_out: int = 0
    num_bare: int = 0
    most_objects: int = 0

    def sample(self, pair: Pair, split: str | None) -> SourceImage:
        """The sample of an image; rejected if its text file cannot be read. Where a mask is asked for, its location and the
        numbers of the boxes are the last values."""
        rejection, objects = pair.rejection, Objects.none(self.keypoint_shape)
        path, outlined, ids = os.fsencode(pair.image.path), list[OutlinedObject](), np.empty(0, np.int32)
        if rejection is None:
            if pair.text is None:
                self.num_without += 1
            else:
                try:
                    objects, outlined, ids = self._objects(pair.text)
                except ImageError as error:
                    rejection = str(error)
        num_bytes = 0 if rejection else pair.image.num_bytes
        masks = () if self.mask is None else (ObjectMask.of(path, outlined, in_shares=True), ids)
        return SourceImage(path, -1, split, num_bytes, rejection, values=(*objects, *masks))

    def _objects(self, text: Entry) -> tuple[Objects, list[OutlinedObject], np.ndarray]:
        """The objects of a text file that are wanted, the outlines of all, and the numbers of those that are wanted."""
        if text.rejection is not None:
            raise ImageError(f"has a text file that {text.rejection}")
        try:
            outlines = None if self.mask is None else list[list[float] | None]()
            objects = parse_objects(self.files.read(text.path), self.counts, self.keypoint_shape, outlines)
        except LineError as error:
            raise ImageError(f"has a text file with a bad line: {text.path}, {error}") from error
        except ImageError as error:
            raise ImageError(f"has a text file that cannot be read: {text.path}: {error}") from error
        highest = int(objects.labels.max(initial=-1))
        if self.source_names is not None and highest >= len(self.source_names):
            names = ", ".join(self.source_names[:5])
            raise ImageError(
                f"has a text file with an unknown class: {text.path} has number {highest}, there are "
                f"{len(self.source_names)} names ({names})"
            )
        self.highest = max(self.highest, highest)
        if self.mask == INSTANCES and len(objects.labels) > MOST_OBJECTS:
            raise ImageError(describe_crowded(len(objects.labels)))
        self.most_objects = max(self.most_objects, len(objects.labels))
        outlined = list(self._outlined(objects.labels.tolist(), outlines or []))
        ids = np.arange(1, len(objects.labels) + 1, dtype=np.int32)
        if self.numbers is None:
            return objects, outlined, ids
        new_labels = self.numbers[objects.labels]
        stays = new_labels >= 0
        self.num_left_out += len(stays) - int(stays.sum())
        return objects.of(stays, new_labels), outlined, ids[stays]

    def _outlined(self, labels: Sequence[int], outlines: Sequence[list[float] | None]) -> Iterator[OutlinedObject]:
        """The objects that have an outline; the others are counted."""
        for number, (label, outline) in enumerate(zip(labels, outlines, strict=False), 1):
            name = str(label) if self.source_names is None else self.source_names[label]
            if outline is None:
                self.num_bare += 1
            else:
                yield OutlinedObject(name, number, [outline])


class _Found(NamedTuple):
    """The class names, the samples and their fields, and what a `Source` says of them: `box_facts` and `notes`."""

    class_names: tuple[str, ...]
    images: ImageTable
    fields: tuple[Field, ...]
    remarks: dict[str, Any]


def _scan(files: TreeFiles, class_names: Sequence[str] | None, columns: Columns) -> _Found:
    """All that a data set has."""
    root, config, mask = files.root, read_config(files), mask_of_objects(columns)
    splits = find_splits(files, config)
    pairs = pair_files(files.entries.values(), lambda entry: _is_box_text(files, entry))
    if not any(pair.text is not None or pair.rejection is None for pair in pairs):
        first = f" (first: {pairs[0].image.path}: {pairs[0].rejection})" if pairs else ""
        raise SourceError(
            f"{root}: holds no image with a text file{first}, expected are {root}/images and {root}/labels, or "
            f"{root}/train/images and {root}/train/labels, or text files beside the images"
        )
    names = config.class_names if class_names is None else tuple(class_names)
    known = config.class_names if config.class_names is not None else names
    numbers = _renumber(config.file, config.class_names, class_names)
    reader = _Reader(files, known, numbers, config.keypoint_shape, mask)
    placed = sorted(((_split(splits, pair.image.path), pair) for pair in pairs), key=_order)
    images = ImageTable.of(reader.sample(pair, split) for split, pair in placed)
    if images.is_rejected.all():
        raise SourceError(f"{root}: holds no image that can be packed{describe_first(images)}")
    if reader.counts.are_poses:
        raise SourceError(
            f"{root}: looks like YOLO pose, each object a box and points in it: kpt_shape in data.yaml says how many points, "
            "and of how many numbers each, such as 'kpt_shape: [5, 2]'; then boxes and keypoints are packed"
        )
    if names is None:
        names = tuple(map(str, range(reader.highest + 1)))
    notes = [*config.notes, *splits.notes, *_notes(reader, pairs, splits, images, has_names=known is not None)]
    points = None
    if config.keypoint_shape:
        points = keypoint_field(*config.keypoint_shape, config.mirror_order)
    elif reader.counts.are_oriented:
        points = CORNERS
    fields = box_fields(names, points)
    boxes, labels, keypoints, *masks = images.values
    values = [boxes, labels] if points is None else [boxes, labels, keypoints]
    if mask is not None:
        check_room(root, mask, names)
        fields = with_mask(fields, columns, mask, is_wide=needs_wide(mask, reader.most_objects))
        values = [masks[0], *values, *(masks[1:] if mask == INSTANCES else ())]
    images = replace(images, values=tuple(values))
    # Of four corners, the outline is stored, and in a mask.
    num_boxed = 0 if points is CORNERS or mask is not None else reader.counts.outlines
    facts = {"outline": num_boxed, "unknown_class": reader.num_left_out}
    return _Found(names, images, fields, {"box_facts": facts, "notes": tuple(notes)})


def _is_box_text(files: TreeFiles, entry: Entry) -> bool:
    try:
        return looks_like_boxes(files.read(entry.path))
    except ImageError:
        return False


def _order(placed: tuple[str | None, Pair]) -> tuple[str, bytes]:
    split, pair = placed
    return split or "", os.fsencode(pair.image.path)


def _split(splits: YoloSplits, path: str) -> str | None:
    return (splits.split(path) if splits else None) or split_of_path(path)


def _renumber(file: str, names: tuple[str, ...] | None, class_names: Sequence[str] | None) -> np.ndarray | None:
    """For each class of the data set its number among the classes that are wanted; None if the numbers stay."""
    if names is None or class_names is None or list(names) == list(class_names):
        return None
    unknown = [name for name in class_names if name not in names]
    if unknown:
        raise SourceError(
            f"{file}: has no class {', '.join(unknown[:5])} ({spelled('class_names')}), its classes are {', '.join(names[:20])}"
        )
    numbers = {name: number for number, name in enumerate(class_names)}
    return np.array([numbers.get(name, -1) for name in names], np.int32)


def _notes(reader: _Reader, pairs: Sequence[Pair], splits: YoloSplits, images: ImageTable, *, has_names: bool) -> Iterator[str]:
    """What was guessed and left out, a line each."""
    counts, num_images = reader.counts, int((~images.is_rejected).sum())
    texts = [pair.text.path for pair in pairs if pair.text is not None]
    if not texts:
        yield "no text file goes with an image: all images are packed without objects"
    elif not counts.objects:
        yield "no image has an object: the text files are empty, or their images were left out"
    elif reader.num_without:
        yield f"{reader.num_without:,} of {num_images:,} images have no text file: they are packed as images without objects"
    if len(texts) > len(set(texts)):
        shared = counted(len(texts) - len(set(texts)), "image shares", "images share")
        yield f"{shared} a text file with another image of the same name"
    if counts.poses:
        yield (
            f"{counted(counts.poses, 'object has', 'objects have')} keypoints: boxes are packed, the keypoints are left out "
            "('kpt_shape: [17, 3]' in data.yaml packs them, with their number in place of 17)"
        )
    if counts.are_oriented and not reader.keypoint_shape:
        objects = counted(counts.objects, "object has", "objects have")
        yield f"all {objects} four corners (YOLO OBB): these are the field corners, boxes are upright"
    if reader.mask is None and counts.outlines and not counts.are_oriented:
        yield describe_unused(counts.outlines)
    if reader.num_bare:
        yield describe_bare(reader.num_bare)
    if needs_wide(reader.mask, reader.most_objects):
        yield describe_wide(reader.most_objects)
    if counts.points_outside:
        yield describe_outside(counts.points_outside)
    if not has_names and counts.objects:
        yield "no file names the classes (data.yaml, obj.names, classes.txt): they are called by their numbers"
    if splits:
        outside = sum(not pair.rejection and splits.split(pair.image.path) is None for pair in pairs)
        if outside:
            yield f"{counted(outside, 'image is', 'images are')} in no split that the data set names: by folders, or to train"
