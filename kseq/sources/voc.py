"""A folder as Pascal VOC and its tools lay it out: images, and for each image an XML file of boxes.

The rules:

- XML files lie beside their images, or in a folder `Annotations` beside one of images (`JPEGImages`, `images`). The image of an
  XML file is the one of the same name in its folder or at the same place in the other; else the one that `filename` names.
- `xmin`, `ymin`, `xmax`, `ymax` become x1, y1, x2, y2, as they are: pixels counted from 1 are not moved. Of a polygon or a
  turned box, the box around it is taken, and a mask drawn if `Columns(mask=...)` asks for one. `difficult` and `truncated`
  objects are objects.
- An image without an XML file has no boxes, and is counted. An XML file without an image is rejected, and one that cannot be
  read rejects its image.
- An object is an element `object` at any depth; a file with a `bndbox` outside of these rejects its image.
- Classes are sorted by name. `ImageSets/Main/train.txt`, `val.txt`, `test.txt` and `trainval.txt` (train, as far as no other
  list says more) tell the splits of the folder that `ImageSets` lies in; without `Main`, lists in another folder of
  `ImageSets`, or beside the images, which a line says; else folders do.

Source: the development kit of the PASCAL Visual Object Classes Challenge 2012.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from kseq.arguments import counted
from kseq.errors import ImageError, SourceError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.annotated_images import (
    AnnotatedImage,
    AnnotatedSource,
    FoundObject,
    check_box,
    unused_outlines,
)
from kseq.sources.folder_tree import Entry, FolderTree
from kseq.sources.layouts import annotates_most_images
from kseq.sources.listing import Listing
from kseq.sources.shape_outlines import outline_box, rectangle_corners, turned_box
from kseq.sources.source_format import SourceFormat, SourceRequest
from kseq.sources.split_names import split_of_path
from kseq.sources.stated_sizes import stated_size
from kseq.sources.text import open_text
from kseq.sources.xml_files import read_xml

__all__ = ["VOC", "VocSource"]

_ANNOTATIONS = "annotations"
_IMAGE_FOLDERS = ("jpegimages", "images", "image", "imgs")
_MASK_FOLDERS = {"segmentationclass", "segmentationobject", "segmentationclassaug", "trimaps", "masks"}
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_HEAD = 2000


@dataclass(frozen=True)
class VocSource(AnnotatedSource):
    """The images of such a folder, in the order of their paths."""

    @staticmethod
    def is_at(listing: Listing) -> bool:
        """Whether most images of a folder have XML files of VOC."""
        return listing.has_file(_begins_like_voc, ".xml") and annotates_most_images(listing, ".xml")

    @classmethod
    def open(cls, request: SourceRequest) -> VocSource:
        """Open such a folder as a source.

        Raises:
            SourceError: If it holds no image that can be packed.
        """
        root = request.path
        if not os.path.isdir(root):
            raise SourceError(f"{root}: is not a folder, expected is one of images and XML files (voc)")
        files = _Files.find(FolderTree(root, request.follow_links))
        splits = _splits(root, files)
        facts: Counter[str] = Counter()
        images = list(_images(root, files, splits, facts))
        notes = [*_notes(root, files, images, splits), *unused_outlines(request, facts)]
        return cls.of(request, root, root, images, facts=facts, notes=notes)


VOC = SourceFormat(
    "voc", VocSource.open, is_folder=VocSource.is_at, has_links=True, has_outlines=True, downloads=r"\.(xml|txt)"
)


def _begins_like_voc(path: str) -> bool:
    try:
        with open_text(path) as file:
            return re.search(r"<annotation[\s>]", file.read(_HEAD)) is not None
    except (OSError, UnicodeError):
        return False


@dataclass
class _Files:
    """The files of a folder.

    Attributes:
        images: Path without suffix, with the folders of images and annotations left out, to the image files of that name.
        texts: The same of XML files.
        by_name: The name of an image file to the files of that name.
        num_plain: How many images have no XML file.
    """

    images: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    texts: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    by_name: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    num_plain: int = 0

    @classmethod
    def find(cls, tree: FolderTree) -> _Files:
        files = cls()
        for entry in tree.files(tree.top):
            name = entry.name.lower()
            if entry.rejection is None and not _MASK_FOLDERS.isdisjoint(entry.path.lower().split("/")[:-1]):
                entry = entry._replace(rejection="is a mask, and no image with boxes")
            if name.endswith(IMAGE_SUFFIXES) or (entry.rejection is not None and not name.endswith(".xml")):
                files.images[_stem(entry.path)].append(entry)
                files.by_name[entry.name].append(entry)
            elif name.endswith(".xml"):
                files.texts[_stem(entry.path)].append(entry)
        return files


def _stem(path: str) -> str:
    """The path without its suffix, and without folders that only tell images from annotations."""
    *folders, name = path.split("/")
    kept = [folder for folder in folders if folder.lower() not in (_ANNOTATIONS, *_IMAGE_FOLDERS)]
    return "/".join([*kept, os.path.splitext(name)[0]])


def _images(root: str, files: _Files, splits: _Splits, facts: Counter[str]) -> Iterator[AnnotatedImage]:
    annotations: dict[str, Entry] = {}
    unclear: dict[str, str] = {}
    lost: list[AnnotatedImage] = []
    # Those whose image has their name come first: others may name it too.
    for stem, texts in sorted(files.texts.items(), key=lambda item: item[0] not in files.images):
        for text in texts:
            images = files.images.get(stem) or _named_in(root, text, files)
            reason = text.rejection
            if reason is None and len(images) > 1:
                images = [image for image in _named_in(root, text, files) if image in images] or images
            if reason is None and len(images) != 1:
                count = f"{len(images)} images go" if images else "no image goes"
                reason = f"{count} with it"
                unclear.update({image.path: f"is not the only image that goes with {text.path}" for image in images})
            if reason is None and images[0].path in annotations:
                reason = f"its image {images[0].path} has another XML file, {annotations[images[0].path].path}"
            if reason is None:
                annotations[images[0].path] = text
            else:
                lost.append(AnnotatedImage(text.path, rejection=reason))
    found = sorted((entry for entries in files.images.values() for entry in entries), key=lambda entry: os.fsencode(entry.path))
    for entry in found:
        split = splits.split(entry.path) if splits.by_folder else split_of_path(entry.path)
        own = annotations.get(entry.path)
        if entry.rejection is not None or (own is None and entry.path in unclear):
            yield AnnotatedImage(entry.path, split=split, rejection=entry.rejection or unclear[entry.path])
        elif own is None:
            files.num_plain += 1
            yield AnnotatedImage(entry.path, split=split)
        else:
            yield _read(root, entry, own, split, facts)
    yield from lost


def _named_in(root: str, text: Entry, files: _Files) -> list[Entry]:
    """The image files that an XML file names, where none has its own name."""
    if text.rejection is not None:
        return []
    try:
        name = _parse(root, text.path).findtext("filename") or ""
    except ImageError:
        return []
    return files.by_name.get(name.replace("\\", "/").rpartition("/")[2].strip(), [])


def _parse(root: str, path: str) -> ElementTree.Element:
    """The outermost element of an XML file.

    Raises:
        ImageError: If it cannot be read.
    """
    try:
        return read_xml(os.path.join(root, path))
    except ImageError as error:
        raise ImageError(f"{path} {error}") from error


def _read(root: str, entry: Entry, text: Entry, split: str | None, facts: Counter[str]) -> AnnotatedImage:
    try:
        annotation = _parse(root, text.path)
        objects = list(annotation.iter("object"))
        found = [_object(number, element, text.path, facts) for number, element in enumerate(objects, 1)]
        num_boxes = sum(1 for _ in annotation.iter("bndbox"))
        if num_boxes > sum(1 for element in objects for _ in element.iter("bndbox")):
            raise ImageError(f"{text.path} has a bndbox that is in no object")
    except ImageError as error:
        return AnnotatedImage(entry.path, split=split, rejection=str(error))
    size = stated_size(annotation.findtext("size/height"), annotation.findtext("size/width"))
    return AnnotatedImage(entry.path, [each for each in found if each is not None], size, split)


def _object(number: int, element: ElementTree.Element, path: str, facts: Counter[str]) -> FoundObject | None:
    """An object; None if nothing says where it is.

    Raises:
        ImageError: If it makes no sense.
    """
    what, name = f"{path}: object {number}", (element.findtext("name") or "").strip()
    if not name:
        raise ImageError(f"{what} has no name")
    box, turned, polygon = element.find("bndbox"), element.find("robndbox"), element.find("polygon")
    outline, around = (None, None) if polygon is None else _polygon(what, polygon)
    if box is not None:
        facts["outline"] += outline is not None
        sides = check_box([box.findtext(side) for side in _SIDES], f"{what}: its bndbox")
        return FoundObject(name, sides, outline=outline)
    if turned is not None:
        sides = check_box([turned.findtext(side) for side in ("cx", "cy", "w", "h")], f"{what}: its robndbox")
        x, y, width, height = sides
        (angle,) = check_box([turned.findtext("angle"), 0, 0, 0], f"{what}: its angle")[:1]
        facts["turned"] += 1
        # In radians, as roLabelImg writes it.
        degrees, about = math.degrees(angle), (x, y)
        left, top = x - width / 2, y - height / 2
        corners = rectangle_corners([left, top, left + width, top + height], degrees, about)
        return FoundObject(name, turned_box(left, top, width, height, degrees, about), outline=[corners])
    if around is not None:
        facts["outline"] += 1
        return FoundObject(name, around, outline=outline)
    facts["shapeless"] += 1
    return None


def _polygon(what: str, element: ElementTree.Element) -> tuple[Any, list[float] | None]:
    """The outline of a polygon and the box around it; None twice if it has too few corners.

    Raises:
        ImageError: If something in it is no number.
    """
    try:
        # `x1`, `y1`, `x2`, ... of Roboflow, or points of `x` and `y`.
        points = [float(child.text or "") for child in element.iter() if child is not element and child.tag[:1] in "xy"]
        box = outline_box(points)
    except ValueError as error:
        raise ImageError(f"{what}: its polygon has something that is no number") from error
    return (None if box is None else [points]), box


@dataclass(frozen=True)
class _Splits:
    """The splits that lists tell.

    Attributes:
        by_folder: A folder below the root to the names of its images, without suffix, to their splits.
        notes: What a user should know.
    """

    by_folder: Mapping[str, Mapping[str, str]]
    notes: tuple[str, ...] = ()

    def split(self, path: str) -> str | None:
        """The split of an image; None if no list names it."""
        stem = _list_name(path)
        folders = (folder for folder in self.by_folder if not folder or path.startswith(f"{folder}/"))
        return next((split for folder in folders if (split := self.by_folder[folder].get(stem)) is not None), None)


def _splits(root: str, files: _Files) -> _Splits:
    """What the lists say of the images that are there."""
    stems = {_list_name(entry.name) for entries in files.images.values() for entry in entries}
    by_folder: dict[str, Mapping[str, str]] = {}
    notes = []
    for name in ("", *sorted(os.listdir(root))):
        parent = os.path.join(root, name) if name else root
        sets = os.path.join(parent, "ImageSets")
        inner = sorted(os.listdir(sets)) if os.path.isdir(sets) else []
        for folder in (os.path.join(sets, "Main"), *(os.path.join(sets, each) for each in inner), sets, parent):
            found = _read_lists(folder)
            if not stems.isdisjoint(found):
                by_folder[name] = found
                if not folder.endswith("Main"):
                    notes.append(f"{folder}: its lists tell the splits")
                break
    return _Splits(by_folder, tuple(notes))


def _read_lists(folder: str) -> dict[str, str]:
    """The name of an image, without its suffix, to its split, as the lists in a folder say; empty if there are none."""
    splits: dict[str, str] = {}
    for name, split in (("train", "train"), ("val", "val"), ("test", "test"), ("trainval", "train")):
        path = os.path.join(folder, f"{name}.txt")
        if not os.path.isfile(path):
            continue
        try:
            with open_text(path) as file:
                for line in file:
                    # Lists of one class have a second column.
                    splits.setdefault(_list_name(re.sub(r"\s+-?[01]$", "", line.strip())), split)
        except (OSError, UnicodeError) as error:
            raise SourceError(f"{path}: cannot be read: {error}") from error
    splits.pop("", None)
    return splits


def _list_name(path: str) -> str:
    """What a list calls an image: its name without the suffix."""
    name = path.replace("\\", "/").rpartition("/")[2]
    return os.path.splitext(name)[0] if name.lower().endswith((*IMAGE_SUFFIXES, ".xml")) else name


def _notes(root: str, files: _Files, images: list[AnnotatedImage], splits: _Splits) -> list[str]:
    notes = list(splits.notes)
    if files.num_plain:
        notes.append(
            f"{root}: {counted(files.num_plain, 'image without XML is', 'images without XML are')} packed without boxes"
        )
    unlisted = sum(image.split is None and image.rejection is None for image in images) if splits.by_folder else 0
    if unlisted:
        notes.append(f"{root}: {counted(unlisted, 'image is', 'images are')} in none of the lists of splits: to train")
    return notes
