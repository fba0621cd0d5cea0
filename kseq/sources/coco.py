"""COCO's detection JSON: images, the boxes around objects in them, and the classes of the objects.

The rules:

- Classes are the categories, in the order of their ids; a class number is the position of a category in that order.
- A box `[x, y, width, height]` becomes x1, y1, x2, y2. Without one, the box around the polygons or the mask (`segmentation`)
  is taken. An annotation with none of these is left out, and counted. Where `bbox_mode` (detectron's) or the `area` of every
  box say that boxes are x1, y1, x2, y2, they are read so, and a line says it.
- Where no annotation has a box, an outline or keypoints (iNaturalist), their classes are labels of the images.
- Annotations of crowds (`iscrowd`) are left out, and counted. An image without annotations has no boxes.
- Outlines (`segmentation`: polygons, run lengths, compressed or not) become a mask if `Columns(mask=...)` asks for one; see
  `kseq/sources/object_masks.py`. Else a line says that they were not used.
- A panoptic file is read with a mask: each segment is an object. Its PNGs lie in the folder called like it, or beside it.
- Keypoints `[x, y, visibility, ...]` become a field `keypoints`, as many points for each box as the categories name; those of
  an object that has none, or that lie outside of the image, are not labelled. The names say which are left and right. Where
  categories differ in the number of their points, none are stored, and the report says so.
- Ids may be numbers or text: 7 and "7" are one id. Without `file_name`, the end of `coco_url` is the file (LVIS).
- A fault in an annotation, or in the entry of an image, rejects that image.
- An image with a file name that an earlier image has is rejected; of different files with one id, all are rejected.
- Annotations of images that the file does not name are left out, and counted.

Source: the COCO data format, cocodataset.org, "Object Detection" and "Panoptic Segmentation".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kseq.arguments import counted, spelled, spelled_call
from kseq.errors import ImageError, SourceError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.annotated_images import AnnotatedImage, AnnotatedSource, FoundObject, check_box
from kseq.sources.base import Source
from kseq.sources.coco_keypoints import find_keypoints, read_points
from kseq.sources.coco_panoptic import MOST_SEGMENTS, id_text, is_panoptic, read_panoptic
from kseq.sources.column_roles import mask_of_objects
from kseq.sources.json_files import read_json
from kseq.sources.labelled_images import label_images
from kseq.sources.object_masks import describe_masks, describe_unused
from kseq.sources.point_names import describe_outside
from kseq.sources.run_lengths import mask_box, plain_mask
from kseq.sources.shape_outlines import are_sane, outline_box
from kseq.sources.source_format import SourceRequest, check_is_file, check_root
from kseq.sources.stated_sizes import stated_size
from kseq.storage.fields import Field

__all__ = ["CocoContent", "CocoSource", "read_coco"]

_LISTS = ("images", "annotations", "categories")
# x and y of no, one or two corners.
_NUMBERS_OF_LINES = (0, 2, 4)


@dataclass(frozen=True)
class CocoSource(AnnotatedSource):
    """The images that a COCO file names, in the order of the file."""

    @classmethod
    def open(cls, request: SourceRequest) -> Source:
        """Open an annotation file as a source.

        Raises:
            SourceError: If the file is no COCO file, or names no image that can be packed.
        """
        path = request.path
        check_is_file(path, "coco")
        root = check_root(path, request.image_root)
        content = read_coco(path, request.class_names, mask=mask_of_objects(request.columns), root=root)
        if content.labels is not None:
            return label_images(
                request, path, root, content.images, content.labels, class_names=content.class_names, notes=content.notes
            )
        return cls.of(
            request,
            path,
            root,
            content.images,
            facts=content.facts,
            known_classes=content.class_names,
            keypoints=content.keypoints,
            notes=content.notes,
        )


class CocoContent(NamedTuple):
    """What a file says.

    Attributes:
        images: Its images.
        class_names: The names of its categories, in the order of their ids.
        facts: What was counted, by the names in `kseq.storage.box_counts`.
        notes: What a user should know.
        keypoints: The field of the keypoints of objects; None if none are stored.
        labels: The classes of each image, where no annotation says where an object is; None if one does.
    """

    images: list[AnnotatedImage]
    class_names: list[str]
    facts: Counter[str]
    notes: list[str]
    keypoints: Field | None
    labels: list[list[str]] | None = None


def read_coco(
    path: str, class_names: Sequence[str] | None, *, mask: str | None, root: str = "", may_lack_classes: bool = False
) -> CocoContent:
    """Read an annotation file.

    Args:
        path: The file.
        class_names: The classes that are wanted; None for all.
        mask: The mask that is asked for, as `kseq.sources.column_roles.mask_of_objects` says.
        root: The folder of the images, beside or in which that of the PNGs of a panoptic file may lie.
        may_lack_classes: Whether the file need not have all of these, as one of several.

    Raises:
        SourceError: If it is no COCO file, or none of its annotations belongs to an image.
    """
    lists = _check_lists(path, read_json(path))
    segments: dict[str, str] = {}
    if is_panoptic(lists["annotations"]):
        if mask is None:
            raise SourceError(f"{path}: is a COCO panoptic file (segments_info): {describe_masks()} packs its segments")
        lists["annotations"], segments = read_panoptic(path, root, lists["annotations"])
    categories = _categories(path, lists["categories"], None if may_lack_classes else class_names)
    wanted = {key for key, name in categories.items() if class_names is None or name in class_names}
    keypoints = find_keypoints(
        [entry for entry in lists["categories"] if id_text(entry["id"]) in wanted],
        [entry for entry in lists["annotations"] if isinstance(entry, dict) and id_text(entry.get("category_id")) in wanted],
    )
    reader = _Annotations(categories, wanted, keypoints, keeps_outlines=mask is not None, has_segments=bool(segments))
    images = list(reader.read(lists["images"], lists["annotations"]))
    if segments:
        ids = [id_text(entry.get("id")) if isinstance(entry, dict) else "" for entry in lists["images"]]
        images = [image._replace(segments=segments.get(key, "")) for image, key in zip(images, ids, strict=True)]
    if lists["annotations"] and reader.num_strangers == len(lists["annotations"]):
        raise SourceError(
            f"{path}: annotation 1 has image_id {reader.stranger!r}, the ids of its {len(images)} images are others, "
            f"such as {reader.first_id!r}: no annotation belongs to an image"
        )
    notes = reader.notes(path, lists["categories"] if class_names is None else ())
    labels = reader.labels if reader.has_labels else None
    if labels is not None:
        notes.append(f"{path}: its annotations say no place in their images: they are the labels of these")
    return CocoContent(images, list(categories.values()), reader.facts, notes, keypoints, labels)


def _check_lists(path: str, content: Any) -> dict[str, list[Any]]:
    lists = content if isinstance(content, dict) else {}
    missing = [name for name in _LISTS if not isinstance(lists.get(name), list)]
    if missing and {"imgs", "anns"} <= lists.keys():
        table = spelled_call("pack", "table.csv", "DATASET")
        raise SourceError(
            f"{path}: is COCO-Text (imgs, anns): list its boxes in a table: image,xmin,ymin,xmax,ymax,class, and {table}"
        )
    if missing and any("caption" in entry for entry in _objects(lists.get("annotations"))):
        raise SourceError(
            f"{path}: has captions (of COCO): list them in a table with the columns image and caption: "
            f"{spelled_call('pack', 'table.csv', 'DATASET')} with {spelled('columns', label='', text='caption')}"
        )
    if missing and lists and all(str(name).lower().endswith(IMAGE_SUFFIXES) for name in lists):
        raise SourceError(
            f"{path}: is an object of names of images: list them in a table with the columns image and label: "
            f"{spelled_call('pack', 'table.csv', 'DATASET')}"
        )
    if missing:
        records = "a list of objects with image and label"
        raise SourceError(
            f"{path}: has no list {missing[0]!r}, a COCO detection file has {', '.join(_LISTS)}; "
            f"{spelled('source_format', 'jsonl')} packs {records}"
        )
    return lists


def _objects(entries: Any) -> list[dict[str, Any]]:
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _order(category: Mapping[str, Any]) -> tuple[int, int, str]:
    key = id_text(category["id"])
    return (0, int(key), key) if re.fullmatch(r"-?\d{1,18}", key) else (1, 0, key)


def _categories(path: str, entries: Sequence[Any], class_names: Sequence[str] | None) -> dict[str, str]:
    """Category id to class name, in the order of the ids."""
    wrong = [entry for entry in entries if not isinstance(entry, dict) or "id" not in entry or "name" not in entry]
    if wrong:
        raise SourceError(f"{path}: a category is {str(wrong[0])[:60]}, a COCO category has an 'id' and a 'name'")
    categories = {id_text(entry["id"]): str(entry["name"]) for entry in sorted(entries, key=_order)}
    if len(set(categories.values())) < len(entries):
        names, ids = ([str(entry[key]) for entry in entries] for key in ("name", "id"))
        again = next(value for value in (*names, *ids) if names.count(value) > 1 or ids.count(value) > 1)
        raise SourceError(f"{path}: two categories have the same name or the same id, {again!r}: give one of them another")
    unknown = [name for name in class_names or () if name not in categories.values()]
    if unknown:
        found = ", ".join(categories.values())
        raise SourceError(f"{path}: {spelled('class_names')} has {unknown[0]!r}, the categories are {found}")
    return categories


class _Annotations:
    """Reads the annotations of a file, and counts what it leaves out.

    Attributes:
        facts: What is counted, by the names in `kseq.storage.box_counts`.
        num_strangers: How many annotations belong to no image of the file.
        stranger: The `image_id` of the first of them.
        first_id: The id of the first image.
        keypoints: The field of keypoints; None if none are stored.
        num_outlines: How many objects have outlines that are not used.
        are_corners: Whether boxes are x1, y1, x2, y2.
        labels: For each image the classes of its annotations that say no place, as of iNaturalist.
    """

    def __init__(
        self,
        categories: Mapping[str, str],
        wanted: Collection[str],
        keypoints: Field | None,
        *,
        keeps_outlines: bool,
        has_segments: bool,
    ) -> None:
        self.keypoints, self._wanted, self._keeps_outlines = keypoints, wanted, keeps_outlines
        self._has_segments = has_segments
        self.num_outside = self.num_outlines = 0
        self.facts: Counter[str] = Counter()
        self.are_corners = False
        self.labels: list[list[str]] = []
        self._found_place = False
        self.num_strangers, self.num_keypoints = 0, 0
        self.stranger: Any = None
        self.first_id: Any = None
        self._categories = categories
        self._used: set[str] = set()
        # The ids that several files have.
        self._shared: set[str] = set()

    def read(self, images: Sequence[Any], annotations: Sequence[Any]) -> Iterator[AnnotatedImage]:
        """The images with their objects."""
        self.are_corners = _are_corners(annotations)
        by_image: dict[str, list[Any]] = {id_text(image.get("id")): [] for image in images if isinstance(image, dict)}
        for annotation in annotations:
            image_id = annotation.get("image_id") if isinstance(annotation, dict) else None
            of_image = by_image.get(id_text(image_id))
            if of_image is not None:
                of_image.append(annotation)
                continue
            self.stranger = self.stranger if self.num_strangers else image_id
            self.num_strangers += 1
        files: dict[str, set[str]] = {}
        for image in images:
            if isinstance(image, dict):
                files.setdefault(id_text(image.get("id")), set()).add(str(_file_name(image)))
        self._shared = {key for key, names in files.items() if len(names) > 1}
        self.first_id = images[0].get("id") if images and isinstance(images[0], dict) else None
        used: set[str] = set()
        for number, image in enumerate(images, 1):
            yield self._image(number, image, by_image, used)

    @property
    def has_labels(self) -> bool:
        """Whether annotations are labels of whole images: none of them says a place."""
        return any(self.labels) and not self._found_place

    def _image(self, number: int, image: Any, by_image: Mapping[str, Sequence[Any]], used: set[str]) -> AnnotatedImage:
        self.labels.append([])
        entry = image if isinstance(image, dict) else {}
        name, key = _file_name(entry), id_text(entry.get("id"))
        if not isinstance(name, str) or not name or "id" not in entry:
            reason = f"is {str(image)[:60]}, an image of COCO has an 'id' and a 'file_name'"
            return AnnotatedImage(f"image {number} of the list", rejection=reason)
        if key in self._shared:
            reason = f"has the id {entry['id']!r} of another image: whose annotations those of this id are is not known"
            return AnnotatedImage(name, rejection=reason)
        if key in used:
            return AnnotatedImage(name, rejection=f"has the id {entry['id']!r} of an earlier image")
        used.add(key)
        try:
            size = stated_size(entry.get("height"), entry.get("width"))
            objects = [found for annotation in by_image[key] if (found := self._object(annotation, size)) is not None]
        except ImageError as error:
            return AnnotatedImage(name, rejection=str(error))
        crowds = [_as_polygons(annotation.get("segmentation") or None) for annotation in by_image[key] if _is_crowd(annotation)]
        return AnnotatedImage(name, objects, size, crowds=[*filter(None, crowds)] if self._keeps_outlines else ())

    def _object(self, annotation: Mapping[str, Any], size: tuple[int, int] | None) -> FoundObject | None:
        """The object of an annotation; None if it is left out.

        Raises:
            ImageError: If the annotation makes no sense.
        """
        what = f"annotation {annotation.get('id')}"
        key = id_text(annotation.get("category_id"))
        if key not in self._categories:
            raise ImageError(f"{what} has category_id {annotation.get('category_id')!r}, which no category has")
        if self._has_segments and annotation.get("segmentation") is None:
            shown = repr(annotation.get("id"))[:40]
            raise ImageError(
                f"has a segment with the id {shown}, allowed are whole numbers from 0 to {MOST_SEGMENTS:,}, "
                "which its PNG has for colours"
            )
        if _is_crowd(annotation):
            self._found_place = True
            self.facts["crowd"] += 1
            return None
        self._found_place |= any(annotation.get(place) for place in ("bbox", "segmentation", "keypoints"))
        box = self._box(annotation, what)
        if box is None:
            self.labels[-1].append(self._categories[key])
            self.facts["shapeless"] += 1
            return None
        self._used.add(key)
        outline = annotation.get("segmentation") or None
        self.num_outlines += outline is not None and not self._keeps_outlines
        points = self._points(annotation, what, size) if key in self._wanted else None
        return FoundObject(self._categories[key], box, points, _as_polygons(outline) if self._keeps_outlines else None)

    def _points(self, annotation: Mapping[str, Any], what: str, size: tuple[int, int] | None) -> list[float] | None:
        """x, y and visibility of each keypoint; None if none are stored, or the object has none."""
        found = annotation.get("keypoints")
        if not found:
            return None
        if self.keypoints is None:
            self.num_keypoints += 1
            return None
        points, num_outside = read_points(found, self.keypoints, what, size)
        self.num_outside += num_outside
        return points

    def _box(self, annotation: Mapping[str, Any], what: str) -> list[float] | None:
        if annotation.get("bbox"):
            x, y, width, height = check_box(annotation["bbox"], f"{what}: its bbox")
            if self.are_corners:
                width, height = width - x, height - y
            if width or height:
                return [x, y, x + width, y + height]
        outline = annotation.get("segmentation")
        try:
            if isinstance(outline, dict) and "segment" in outline:
                return None
            outline = _as_polygons(outline)
            box = mask_box(outline) if isinstance(outline, dict) else _polygons_box(outline)
        except (TypeError, ValueError, OverflowError) as error:
            raise ImageError(f"{what}: its segmentation is {str(outline)[:60]}, allowed are polygons or run lengths") from error
        if box is not None:
            self.facts["outline"] += 1
        elif annotation.get("bbox"):
            # Flat: the rule of all boxes says what becomes of it.
            return [x, y, x + width, y + height]
        return box

    def notes(self, path: str, categories: Sequence[Mapping[str, Any]]) -> list[str]:
        """What a user should know of the file as a whole."""
        notes = []
        if self.are_corners:
            notes.append(f"{path}: its bbox are x1, y1, x2, y2, as bbox_mode or the areas beside them say: read so")
        if self.num_outlines:
            notes.append(f"{path}: {describe_unused(self.num_outlines)}")
        if self.num_strangers:
            notes.append(
                f"{path}: {counted(self.num_strangers, 'annotation belongs', 'annotations belong')} to no image of the file "
                f"({'it is' if self.num_strangers == 1 else 'they are'} left out), the first to "
                f"image_id {self.stranger!r}"
            )
        if self.num_keypoints:
            notes.append(
                f"{path}: the keypoints of {counted(self.num_keypoints, 'annotation', 'annotations')} are not stored, since "
                "categories differ in their "
                f"number; their boxes are ({spelled('class_names')} chooses categories of one number)"
            )
        if self.num_outside:
            notes.append(f"{path}: {describe_outside(self.num_outside)}")
        for key, name in self._categories.items():
            if key in self._used:
                continue
            others = [entry for entry in categories if str(entry["name"]) != name]
            if others and all(entry.get("supercategory") == name for entry in others):
                names = " ".join(str(entry["name"]) for entry in others)
                notes.append(
                    f"{path}: category {name} has no object and is the supercategory of all others: "
                    f"{spelled('class_names')} {names} leaves it out"
                )
        return notes


def _is_crowd(annotation: Mapping[str, Any]) -> bool:
    """Whether `iscrowd` says so: as a number, or as the text of one."""
    mark = annotation.get("iscrowd")
    return mark.strip().lower() not in ("", "0", "0.0", "false", "no", "none") if isinstance(mark, str) else bool(mark)


def _are_corners(annotations: Sequence[Any]) -> bool:
    """Whether boxes are x1, y1, x2, y2: detectron's `bbox_mode` says so, or their areas do, all of them."""
    num_corners = 0
    for annotation in annotations:
        if not isinstance(annotation, dict) or not annotation.get("bbox"):
            continue
        if annotation.get("bbox_mode") == 0:
            num_corners += 1
            continue
        try:
            x, y, right, bottom = map(float, annotation["bbox"])
            area = float(annotation["area"])
        except (KeyError, TypeError, ValueError, OverflowError):
            return False
        if not are_sane((x, y, right, bottom, area)):
            # Where spreadsheets have no area, it is not a number.
            return False
        sides = (right - x) * (bottom - y)
        if min(right - x, bottom - y) <= 0 or abs(sides - area) > 0.01 * area or abs(right * bottom - area) <= 0.01 * area:
            return False
        num_corners += 1
    return num_corners > 0


def _file_name(entry: Mapping[str, Any]) -> Any:
    """The file of an image: `file_name`, or in LVIS the end of its URL, the folder and the name."""
    name, url = entry.get("file_name"), entry.get("coco_url")
    return "/".join(url.split("/")[-2:]) if not name and isinstance(url, str) else name


def _as_polygons(outline: Any) -> Any:
    """An outline; of a polygon that is in no list, a list of it; None if no polygon has three corners, which cover nothing."""
    if isinstance(outline, list) and len(outline) == 1 and isinstance(outline[0], dict):
        # Run lengths in a list of their own.
        outline = outline[0]
    if isinstance(outline, dict) and outline.keys() != {"segment"}:
        return plain_mask(outline)
    if not isinstance(outline, list) or not outline:
        return outline
    # What is neither is refused where it is drawn.
    polygons = outline if isinstance(outline[0], (list, dict)) else [outline]
    are_lines = all(isinstance(polygon, list) and len(polygon) in _NUMBERS_OF_LINES for polygon in polygons)
    return None if are_lines else polygons


def _polygons_box(outline: Any) -> list[float] | None:
    """The box around all polygons of a list; None if there are none."""
    if not outline:
        return None
    polygons = outline if isinstance(outline[0], list) else [outline]
    return outline_box([number for polygon in polygons for number in polygon])
