"""What a folder or a zip looks like, by the names of some of its files and the beginnings of a few.

A layout of an annotation tool that is packed as folders of classes becomes classes called `images` and `labels`, in silence. So
it is told before:

- YOLO: text files below a folder for labels beside one for images, or text files of boxes beside images.
- Pascal VOC, CVAT, COCO, LabelMe, VIA and Label Studio, by what their XML and JSON files hold.
- What lies beside images, such as masks and tables: see `kseq/sources/beside_images.py`; a spreadsheet.

Where all folders have names that no class has (`images`, `Annotations`, `data`), the layout is refused as classes, with the
command that packs it, or packed, where a format does so without a further word; else the annotation files are a note.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import chain

from kseq.arguments import spelled, spelled_call
from kseq.sources.beside_images import find_beside
from kseq.sources.listing import LISTED_HEAD, Listing, folder_of, stem_of
from kseq.sources.side_files import find_side_file, is_split_list
from kseq.sources.tool_layouts import find_spreadsheet, find_tool
from kseq.sources.yolo_pairs import has_image_role, has_label_role, is_plain_text
from kseq.sources.yolo_text import looks_like_boxes

__all__ = [
    "COCO_NAME",
    "Layout",
    "annotates_most_images",
    "find_layout",
    "looks_like_coco",
    "looks_like_yolo",
]

COCO_NAME = "COCO"

# Tools that write one file for all images: the format, and what stands in the file.
_JSON_TOOLS = {
    "the VGG Image Annotator": ("via", r'"(shape|region)_attributes"\s*:', r'"regions"\s*:|"filename"\s*:'),
    "Label Studio": ("labelstudio", r'"(annotations|completions)"\s*:', r'"result"\s*:', r'"(from_name|original_width)"\s*:'),
}

# How many files of each kind are opened, how many images are looked for beside them, and how many names in them are looked up.
_OPENED, _MOST_COMPARED, _LOOKED_UP = 5, 1000, 100


@dataclass(frozen=True)
class Layout:
    """A layout that is no tree of class folders.

    Attributes:
        name: What it looks like.
        evidence: A file that says so.
        way_out: How it is packed.
        is_certain: Whether no folder is called like a class.
        source_format: The format that packs it; None where the user has to do something.
    """

    name: str
    evidence: str
    way_out: str
    is_certain: bool
    source_format: str | None = None

    def refusal(self, path: str) -> str:
        """Why a path is not packed as folders of classes."""
        as_classes = spelled("source_format", "zip" if os.path.isfile(path) else "folder")
        return f"{path}: looks like {self.name} ({self.evidence}): {self.way_out}; {as_classes} packs its folders as classes"

    def note(self) -> str:
        """What a packing as folders of classes did not use."""
        return (
            f"the folders are packed as classes, but {self.evidence} looks like {self.name}, which is not used: {self.way_out}"
        )


def looks_like_yolo(listing: Listing) -> bool:
    """Whether a folder or a zip is a data set of YOLO."""
    return _yolo_file(listing) is not None


def annotates_most_images(listing: Listing, suffix: str) -> bool:
    """Whether more than half of the images of a folder have a file of the same name that ends so; a few files beside classes
    are no annotated collection."""
    texts = listing.ending(suffix)
    stems, folders = {stem_of(name) for name in texts}, {folder_of(name) for name in texts}

    def is_annotated(image: str) -> bool:
        # Of many folders, the listing need not have the very file that goes with an image.
        stem = stem_of(image)
        return stem in stems or any(listing.holds(folder, stem + suffix) for folder in folders)

    images = listing.images[:: len(listing.images) // _MOST_COMPARED + 1]
    return 2 * sum(map(is_annotated, images)) > len(images) if images else bool(texts)


def find_layout(listing: Listing) -> Layout | None:
    """What a folder or a zip looks like that might be taken for folders of classes; None if nothing speaks against that."""
    for find in (_find_yolo, _find_dota, _find_xml, _find_json):
        found = find(listing)
        if found is not None:
            is_certain = listing.has_no_class or (found[0] == COCO_NAME and _names_most_images(listing, found[1]))
            return Layout(*found, is_certain)
    told = find_beside(listing)
    if told is not None and told.is_certain and told.source_format is not None:
        return Layout(*told)
    found = find_tool(listing)
    if found is not None:
        return Layout(*found, True)
    found = None if listing.has_no_class or (told is not None and told.is_certain) else find_side_file(listing)
    # A list of a split names images too, and is no table that can be packed.
    if told is not None and not (found is not None and is_split_list(told.evidence)):
        return Layout(*told)
    sheet = find_spreadsheet(listing)
    if sheet is not None and (found is None or listing.has_no_class):
        return Layout("images and a spreadsheet", *sheet, listing.has_no_class)
    return None if found is None else Layout(*found, is_certain=False)


_Found = tuple[str, str, str] | None


def _yolo_file(listing: Listing) -> str | None:
    """A text file that says that this is a data set of YOLO; None if it is none."""
    all_texts = listing.ending(".txt")
    texts = [name for name in all_texts if not is_plain_text(name.rpartition("/")[2])]
    below_labels = [name for name in all_texts if has_label_role(folder_of(name)) and not name.lower().endswith("/classes.txt")]
    # Of millions of images, the listing may have none of those that go with its texts: names of folders are enough.
    if below_labels and any(has_image_role(folder_of(image)) for image in listing.images):
        # A file at a URL is not there yet: it has its length, and nothing in it.
        heads = ((name, listing.head(name)) for name in below_labels[:_OPENED])
        return next((name for name, head in heads if not head.strip("\0 \r\n") or looks_like_boxes(head)), None)
    image_folders = set(listing.image_folders)
    candidates = [name for name in texts if folder_of(name) in image_folders] + below_labels
    found = next((name for name in candidates[:_OPENED] if looks_like_boxes(listing.head(name))), None)
    return found if listing.images else None


def _find_yolo(listing: Listing) -> _Found:
    file = _yolo_file(listing)
    return None if file is None else ("YOLO", file, spelled_call("pack", listing.path, "DATASET", source_format="yolo"))


def _find_dota(listing: Listing) -> _Found:
    texts = [name for name in listing.ending(".txt") if folder_of(name).rpartition("/")[2].lower().startswith("labeltxt")]
    return ("DOTA", texts[0], _way_out(listing, "dota", listing.path)) if texts and listing.images else None


def _way_out(listing: Listing, source_format: str, source: str) -> str:
    """How files of another format are packed, which kseq reads in a folder."""
    if not listing.is_folder:
        return f"unpack it, and pack that ({spelled('source_format', source_format)})"
    return spelled_call("pack", source, "DATASET", source_format=source_format)


def _find_xml(listing: Listing) -> _Found:
    for name in listing.ending(".xml")[:_OPENED]:
        head = listing.head(name)
        if "<annotations>" in head:
            return "CVAT for images", name, _way_out(listing, "cvat", os.path.join(listing.path, name))
        if "<annotation" in head:
            return "Pascal VOC", name, _way_out(listing, "voc", listing.path)
    return None


def _find_json(listing: Listing) -> _Found:
    for name in listing.ending(".json")[:_OPENED]:
        head = listing.head(name)
        path = os.path.join(listing.path, name)
        if looks_like_coco(head):
            if not listing.is_folder:
                return COCO_NAME, name, f"unpack it, and pack the JSON file ({spelled('root')} says where the images are)"
            root = os.path.join(listing.path, _folder_of_images(listing, name, head))
            return COCO_NAME, name, spelled_call("pack", path, "DATASET", root=root)
        if '"shapes"' in head and '"imagePath"' in head:
            return "LabelMe", name, _way_out(listing, "labelme", listing.path)
        for tool, (source_format, *words) in _JSON_TOOLS.items():
            if all(re.search(word, head) for word in words):
                return tool, name, _way_out(listing, source_format, path)
    return None


def looks_like_coco(head: str) -> bool:
    """Whether the beginning and the end of a JSON file are those of COCO's, in whatever order its parts come."""
    # Datumaro's files have categories and annotations, of items.
    if '"items"' in head and '"images"' not in head:
        return False
    num_parts = sum(f'"{word}"' in head for word in ("images", "annotations", "categories"))
    # Of a long file only the middle may name the other parts; files of results have none.
    return num_parts >= 2 or (num_parts == 1 and '"file_name"' in head and '"image_id"' in head)


def _folder_of_images(listing: Listing, annotations: str, head: str) -> str:
    """The folder that most likely has the images of an annotation file."""
    names = _names_in_coco(head)[:_LOOKED_UP]
    stem = annotations.rpartition("/")[2].rpartition(".")[0].lower()
    folders = listing.image_folders
    by_name = (folder for name in names for folder in folders if listing.holds(folder, name))
    matching = (folder for folder in folders if folder and folder.rpartition("/")[2].lower() in stem)
    return next(chain(by_name, matching, folders), "")


def _names_most_images(listing: Listing, file: str) -> bool:
    """Whether a file of COCO names more than half of the images; of a long file, whether most that it names are there."""
    head = listing.head(file)
    named = _names_in_coco(head)
    if len(head) <= LISTED_HEAD:
        known = set(named)
        return 2 * sum(image.rpartition("/")[2] in known for image in listing.images) > len(listing.images)
    some = named[:: len(named) // _LOOKED_UP + 1]
    return 2 * sum(any(listing.holds(folder, name) for folder in listing.image_folders) for name in some) > len(some)


def _names_in_coco(head: str) -> list[str]:
    """Names of image files in a part of a file of COCO, without the folders that it may name."""
    return list(dict.fromkeys(re.split(r"[/\\]", name)[-1] for name in re.findall(r'"file_name"\s*:\s*"([^"]+)"', head)))
