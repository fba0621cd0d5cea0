"""What a folder or a zip looks like, by the names of some of its files and the beginnings of a few.

A layout of an annotation tool that is packed as folders of classes becomes classes called `images` and `labels`, in silence. So
it is told before:

- YOLO: text files below a folder for labels beside one for images, or text files of boxes beside images.
- Pascal VOC, CVAT, COCO and LabelMe, by what their XML and JSON files hold.
- What lies beside images, such as masks and tables: see `kseq/sources/beside_images.py`.

Where all folders have names that no class has (`images`, `Annotations`, `data`), the layout is refused as classes, with the
command that packs it; else the annotation files are a note.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from kseq.arguments import spelled, spelled_call
from kseq.sources.beside_images import find_beside
from kseq.sources.layout_sample import HEAD, LayoutSample, folder_of, read_sample, stem_of, walk_folder
from kseq.sources.side_files import find_side_file
from kseq.sources.tool_layouts import find_tool
from kseq.sources.yolo_pairs import has_image_role, has_label_role, is_plain_text
from kseq.sources.yolo_text import looks_like_boxes

__all__ = [
    "COCO_NAME",
    "Layout",
    "annotates_most_images",
    "find_layout",
    "looks_like_yolo",
]

COCO_NAME = "COCO"

# How many files of each kind are opened.
_OPENED = 5
_MOST_COMPARED = 1000


@dataclass(frozen=True)
class Layout:
    """A layout that is no tree of class folders.

    Attributes:
        name: What it looks like.
        evidence: A file that says so.
        way_out: How it is packed.
        is_certain: Whether no folder is called like a class.
    """

    name: str
    evidence: str
    way_out: str
    is_certain: bool

    def refusal(self, path: str) -> str:
        """Why a path is not packed as folders of classes."""
        as_classes = spelled("source_format", "zip" if os.path.isfile(path) else "folder")
        return f"{path}: looks like {self.name} ({self.evidence}): {self.way_out}; {as_classes} packs its folders as classes"

    def note(self) -> str:
        """What a packing as folders of classes did not use."""
        return (
            f"the folders are packed as classes, but {self.evidence} looks like {self.name}, which is not used: {self.way_out}"
        )


def looks_like_yolo(path: str) -> bool:
    """Whether a folder or a zip is a data set of YOLO."""
    sample = read_sample(path)
    return sample is not None and _yolo_file(sample) is not None


def annotates_most_images(path: str, suffix: str) -> bool:
    """Whether more than half of the images of a folder have a file of the same name that ends so; a few files beside classes
    are no annotated collection."""
    sample = LayoutSample(path, list(walk_folder(path)))
    texts = sample.ending(suffix)
    stems, folders = {stem_of(name) for name in texts}, {folder_of(name) for name in texts}

    def is_annotated(image: str) -> bool:
        # The sample need not have the very file that goes with an image.
        stem = stem_of(image)
        return stem in stems or any(os.path.lexists(os.path.join(path, folder, stem + suffix)) for folder in folders)

    images = sample.images[:: len(sample.images) // _MOST_COMPARED + 1]
    return 2 * sum(map(is_annotated, images)) > len(images) if images else bool(texts)


def find_layout(path: str) -> Layout | None:
    """What a folder or a zip looks like that might be taken for folders of classes; None if nothing speaks against that."""
    sample = read_sample(path)
    if sample is None:
        return None
    for find in (_find_yolo, _find_dota, _find_xml, _find_json):
        found = find(sample)
        if found is not None:
            is_certain = sample.has_no_class or (found[0] == COCO_NAME and _names_most_images(sample, found[1]))
            return Layout(*found, is_certain)
    found = find_tool(path, sample.names, sample.images, sample.head)
    if found is not None:
        return Layout(*found, True)
    told = find_beside(sample)
    if told is not None:
        return Layout(*told)
    folders = {part for name in sample.images for part in name.split("/")[:-1]}
    found = None if sample.has_no_class else find_side_file(path, sample.names, folders, sample.head)
    return None if found is None else Layout(*found, is_certain=False)


_Found = tuple[str, str, str] | None


def _yolo_file(sample: LayoutSample) -> str | None:
    """A text file that says that this is a data set of YOLO; None if it is none."""
    all_texts = sample.ending(".txt")
    texts = [name for name in all_texts if not is_plain_text(name.rpartition("/")[2])]
    below_labels = [name for name in all_texts if has_label_role(folder_of(name)) and not name.lower().endswith("/classes.txt")]
    # Of millions of images, the sample may have none of those that go with its texts: names of folders are enough.
    if below_labels and any(has_image_role(folder_of(image)) for image in sample.images):
        # A file at a URL is not there yet: it has its length, and nothing in it.
        heads = ((name, sample.head(name)) for name in below_labels[:_OPENED])
        return next((name for name, head in heads if not head.strip("\0 \r\n") or looks_like_boxes(head)), None)
    image_folders = {folder_of(name) for name in sample.images}
    candidates = [name for name in texts if folder_of(name) in image_folders] + below_labels
    found = next((name for name in candidates[:_OPENED] if looks_like_boxes(sample.head(name))), None)
    return found if sample.images else None


def _find_yolo(sample: LayoutSample) -> _Found:
    file = _yolo_file(sample)
    return None if file is None else ("YOLO", file, spelled_call("pack", sample.path, "DATASET", source_format="yolo"))


def _find_dota(sample: LayoutSample) -> _Found:
    texts = [name for name in sample.ending(".txt") if folder_of(name).rpartition("/")[2].lower().startswith("labeltxt")]
    return ("DOTA", texts[0], _way_out(sample, "dota", sample.path)) if texts and sample.images else None


def _way_out(sample: LayoutSample, source_format: str, source: str) -> str:
    """How files of another format are packed, which kseq reads in a folder."""
    if os.path.isfile(sample.path):
        return f"unpack it, and pack that ({spelled('source_format', source_format)})"
    return spelled_call("pack", source, "DATASET", source_format=source_format)


def _find_xml(sample: LayoutSample) -> _Found:
    for name in sample.ending(".xml")[:_OPENED]:
        head = sample.head(name)
        if "<annotations>" in head:
            return "CVAT for images", name, _way_out(sample, "cvat", os.path.join(sample.path, name))
        if "<annotation" in head:
            return "Pascal VOC", name, _way_out(sample, "voc", sample.path)
    return None


def _find_json(sample: LayoutSample) -> _Found:
    for name in sample.ending(".json")[:_OPENED]:
        head = sample.head(name)
        path = os.path.join(sample.path, name)
        if _is_coco(head):
            if os.path.isfile(sample.path):
                return COCO_NAME, name, f"unpack it, and pack the JSON file ({spelled('root')} says where the images are)"
            root = os.path.join(sample.path, _folder_of_images(sample, name, head))
            return COCO_NAME, name, spelled_call("pack", path, "DATASET", root=root)
        if '"shapes"' in head and '"imagePath"' in head:
            return "LabelMe", name, _way_out(sample, "labelme", sample.path)
    return None


def _is_coco(head: str) -> bool:
    # Datumaro's files have categories and annotations, of items.
    has_items = '"items"' in head and '"images"' not in head
    return not has_items and sum(f'"{word}"' in head for word in ("images", "annotations", "categories")) >= 2


def _folder_of_images(sample: LayoutSample, annotations: str, head: str) -> str:
    """The folder that most likely has the images of an annotation file."""
    named = set(re.findall(r'"file_name"\s*:\s*"([^"]+)"', head))
    stem = annotations.rpartition("/")[2].rpartition(".")[0].lower()
    folders = sorted({folder_of(image) for image in sample.images})
    by_name = [
        folder_of(image) for image in sample.images if image.rpartition("/")[2] in {name.rpartition("/")[2] for name in named}
    ]
    matching = [folder for folder in folders if folder and folder.rpartition("/")[2].lower() in stem]
    return next(iter(by_name or matching or folders), "")


def _names_most_images(sample: LayoutSample, file: str) -> bool:
    """Whether a file of COCO names more than half of the images; of a long file, whether most that it names are there."""
    head = sample.head(file)
    named = {re.split(r"[/\\]", name)[-1] for name in re.findall(r'"file_name"\s*:\s*"([^"]+)"', head)}
    images = {image.rpartition("/")[2] for image in sample.images}
    is_long = len(head) > HEAD
    return 2 * len(named & images) > (min(len(named), len(images)) if is_long else len(images))
