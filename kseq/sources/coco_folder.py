"""A folder of COCO files and the images that they name, one file for each split.

The rules, besides those of `kseq/sources/coco.py`:

- The files are `instances_*.json`, where there are such, else all JSON files of COCO in the folder and in those in it; others
  (`captions_*.json`, `person_keypoints_*.json`, `image_info_*.json`) are not used, and a line names them.
- The name of a file tells its split (`instances_train2017.json`), else its folder does (`train/_annotations.coco.json`).
- Its images lie beside it, or in a folder called like the end of its name (`train2017`), in `images` or `data`, or in one
  called like that in `images`: wherever the first of them is found.
- Classes are those of the first file, in the order of their ids; names that only later files have follow.
- Keypoints are stored where all files have the same number of them for each object; else none are, and a line says so.

Source: the downloads of cocodataset.org, and the exports of CVAT, Datumaro and Roboflow.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from kseq.arguments import counted
from kseq.errors import SourceError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.annotated_images import AnnotatedImage
from kseq.sources.assemble import keypoint_field
from kseq.sources.base import Source
from kseq.sources.coco import CocoSource, read_coco
from kseq.sources.column_roles import mask_of_objects
from kseq.sources.file_sets import split_from_name
from kseq.sources.folder_tree import FolderTree
from kseq.sources.labelled_images import label_images
from kseq.sources.layouts import COCO_NAME, find_layout, looks_like_coco
from kseq.sources.listing import Listing, read_ends
from kseq.sources.source_format import SourceFormat, SourceRequest
from kseq.sources.text import may_be_path
from kseq.storage.fields import Field

__all__ = ["COCO"]

_MOST_TRIED = 20


def _open(request: SourceRequest) -> Source:
    """Open a file or a folder of files as a source.

    Raises:
        SourceError: If it holds no COCO file, or names no image that can be packed.
    """
    if not os.path.isdir(request.path):
        return CocoSource.open(request)
    folder = request.path
    files, others = _choose(folder)
    if not files:
        raise SourceError(f"{folder}: has no JSON file of COCO, in itself or in a folder in it")
    images: list[AnnotatedImage] = []
    labels: list[list[str]] = []
    has_boxes = False
    class_names: dict[str, None] = {}
    facts: Counter[str] = Counter()
    notes: list[str] = []
    if others:
        notes.append(
            f"{folder}: {', '.join(os.path.relpath(other, folder) for other in others)}: not used, boxes come from instances"
        )
    keypoints: list[Field] = []
    for file in files:
        content = read_coco(
            file, request.class_names, mask=mask_of_objects(request.columns), root=folder, may_lack_classes=True
        )
        name = os.path.relpath(file, folder).replace(os.sep, "/")
        split, place = split_from_name(name), _image_folder(folder, file, content.images)
        images += [_placed(image, place, split) for image in content.images]
        labels += content.labels or [[] for _ in content.images]
        has_boxes |= content.labels is None and bool(content.facts or any(image.objects for image in content.images))
        class_names |= dict.fromkeys(content.class_names)
        facts += content.facts
        notes += content.notes
        keypoints += [] if content.keypoints is None else [content.keypoints]
    named = {os.path.normpath(path) for image in images for path in (image.path, image.path.replace("\\", "/"))}
    named |= {os.path.relpath(image.segments, os.path.abspath(folder)) for image in images if image.segments}
    num_others = sum(os.path.normpath(path) not in named for path in _image_files(folder, request.follow_links))
    if num_others:
        notes.append(
            f"{folder}: {counted(num_others, 'image is', 'images are')} named by none of its JSON files, and not packed"
        )
    root = folder if request.root is None else request.root
    if any(labels) and not has_boxes:
        return label_images(request, folder, root, images, labels, class_names=list(class_names), notes=notes)
    points = _common_keypoints(folder, keypoints, notes)
    if points is None:
        images = [image._replace(objects=[found._replace(points=None) for found in image.objects]) for image in images]
    return CocoSource.of(
        request, folder, root, images, facts=facts, known_classes=list(class_names), keypoints=points, notes=notes
    )


def _common_keypoints(folder: str, found: Sequence[Field], notes: list[str]) -> Field | None:
    """The field of the keypoints of all files; None if they have none, or differ in their number."""
    shapes = sorted({(field.shape[-2] or 0, field.shape[-1] or 0) for field in found})
    if len(shapes) > 1:
        numbers = " or ".join(str(num_points) for num_points, _ in shapes)
        notes.append(
            f"{folder}: its files have {numbers} keypoints for an object: they are not stored, pack each file by itself"
        )
    if len(shapes) != 1:
        return None
    if len(set(found)) == 1:
        return found[0]
    notes.append(f"{folder}: its files differ in which keypoints are left and which are right: none are known to be")
    return keypoint_field(*shapes[0], ())


def _image_files(folder: str, follow_links: bool) -> Iterator[str]:
    tree = FolderTree(folder, follow_links)
    return (entry.path for entry in tree.files(tree.top) if entry.name.lower().endswith(IMAGE_SUFFIXES))


def _is_folder(listing: Listing) -> bool:
    layout = find_layout(listing)
    return layout is not None and layout.name == COCO_NAME and layout.is_certain


COCO = SourceFormat(
    "coco", _open, (".json",), r"\.json", _is_folder, has_root=True, has_links=True, has_outlines=True, downloads=r"\.json"
)


def _choose(folder: str) -> tuple[list[str], list[str]]:
    """The files that are read, and other files of COCO."""
    found = [file for file in sorted(_json_files(folder)) if looks_like_coco(read_ends(file))]
    instances = [file for file in found if os.path.basename(file).lower().startswith("instances")]
    chosen = instances or found
    return chosen, [file for file in found if file not in chosen]


def _json_files(folder: str) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        depth = os.path.relpath(parent, folder).count(os.sep) + (parent != folder)
        folders[:] = [name for name in sorted(folders) if name[0] != "." and depth < 2]
        yield from (os.path.join(parent, name) for name in names if name.lower().endswith(".json") and name[0] != ".")


def _image_folder(folder: str, file: str, images: Sequence[AnnotatedImage]) -> str:
    """The folder of the images of a file, as a path below the folder of all; where none is found, that of the file."""
    own = os.path.dirname(file)
    end = re.sub(r"^(instances|person_keypoints|annotations?)[_-]?", "", os.path.splitext(os.path.basename(file))[0])
    places = [own]
    for parent in dict.fromkeys((own, os.path.dirname(own) if own != folder else own, folder)):
        places += [
            os.path.join(parent, *parts) for parts in (("images", end), (end, "images"), (end,), ("images",), ("data",), ())
        ]
    names = [image.path for image in images[:_MOST_TRIED] if image.path and may_be_path(image.path)]
    for place in dict.fromkeys(places):
        if any(os.path.isfile(os.path.join(place, name.replace("\\", "/"))) for name in names):
            return _relative(place, folder)
    return _relative(own, folder)


def _relative(place: str, folder: str) -> str:
    path = os.path.relpath(place, folder).replace(os.sep, "/")
    return "" if path == "." else path


def _placed(image: AnnotatedImage, place: str, split: str | None) -> AnnotatedImage:
    """An image with its path below the folder of all, and its split."""
    is_name = image.path.lower().endswith(IMAGE_SUFFIXES) and not os.path.isabs(image.path)
    return image._replace(path=f"{place}/{image.path}" if place and is_name else image.path, split=split)
