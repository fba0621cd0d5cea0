"""What a folder or a zip looks like, by the names of some of its files and the beginnings of a few.

A layout of an annotation tool that is packed as folders of classes becomes classes called `images` and `labels`, in silence. So
it is told before:

- YOLO: text files below a folder for labels beside one for images, or text files of boxes beside images.
- Pascal VOC, CVAT, COCO and LabelMe, by what their XML and JSON files hold.
- Images and masks, or maps such as depth: two folders that have images of the same names, one called like masks or maps.
- Images and a table: a CSV or JSON Lines file, and folders that are called like no class.

Where all folders have names that no class has (`images`, `Annotations`, `data`), the layout is refused as classes, with the
command that packs it; else the annotation files are a note.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from itertools import chain, islice

from kseq.arguments import spelled, spelled_call
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.listing import LISTED_HEAD, Listing, folders_around
from kseq.sources.side_files import find_side_file
from kseq.sources.tool_layouts import find_tool
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

# How many files of each kind are opened, how many images are looked for beside them, and how many names in them are looked up.
_OPENED, _MOST_COMPARED, _LOOKED_UP = 5, 1000, 100

_MASKS = re.compile(
    r"(?<![a-z])(masks?|msks?|segmentation\w*|trimaps?|gt|ground_?truth|annotations?|labels?)(?![a-z])", re.IGNORECASE
)

# Folders of images that belong to those of another, in lower case.
_PAIRS = (
    ("input", "target"),
    ("inputs", "targets"),
    ("source", "target"),
    ("noisy", "clean"),
    ("blur", "sharp"),
    ("low", "high"),
    ("lr", "hr"),
    ("lq", "gt"),
    ("before", "after"),
)

_MAPS = re.compile(r"(?<![a-z])(depths?(_?maps?)?|disparit(y|ies)|heat_?maps?)(?![a-z])", re.IGNORECASE)


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


def looks_like_yolo(listing: Listing) -> bool:
    """Whether a folder or a zip is a data set of YOLO."""
    return _yolo_file(listing) is not None


def annotates_most_images(listing: Listing, suffix: str) -> bool:
    """Whether more than half of the images of a folder have a file of the same name that ends so; a few files beside classes
    are no annotated collection."""
    texts = listing.ending(suffix)
    stems, folders = {_stem(name) for name in texts}, {_folder(name) for name in texts}

    def is_annotated(image: str) -> bool:
        # Of many folders, the listing need not have the very file that goes with an image.
        stem = _stem(image)
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
    found = find_tool(listing)
    if found is not None:
        return Layout(*found, True)
    found = _find_masks(listing) or _find_table(listing) or _find_pairs(listing) or _find_annotations(listing)
    if found is None and not listing.has_no_class:
        found = find_side_file(listing)
    return None if found is None else Layout(*found, listing.has_no_class)


_Found = tuple[str, str, str] | None


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]


def _yolo_file(listing: Listing) -> str | None:
    """A text file that says that this is a data set of YOLO; None if it is none."""
    all_texts = listing.ending(".txt")
    texts = [name for name in all_texts if not is_plain_text(name.rpartition("/")[2])]
    below_labels = [name for name in all_texts if has_label_role(_folder(name)) and not name.lower().endswith("/classes.txt")]
    # Of millions of images, the listing may have none of those that go with its texts: names of folders are enough.
    if below_labels and any(has_image_role(_folder(image)) for image in listing.images):
        # A file at a URL is not there yet: it has its length, and nothing in it.
        heads = ((name, listing.head(name)) for name in below_labels[:_OPENED])
        return next((name for name, head in heads if not head.strip("\0 \r\n") or looks_like_boxes(head)), None)
    image_folders = set(listing.image_folders)
    candidates = [name for name in texts if _folder(name) in image_folders] + below_labels
    found = next((name for name in candidates[:_OPENED] if looks_like_boxes(listing.head(name))), None)
    return found if listing.images else None


def _find_yolo(listing: Listing) -> _Found:
    file = _yolo_file(listing)
    return None if file is None else ("YOLO", file, spelled_call("pack", listing.path, "DATASET", source_format="yolo"))


def _find_dota(listing: Listing) -> _Found:
    texts = [name for name in listing.ending(".txt") if _folder(name).rpartition("/")[2].lower().startswith("labeltxt")]
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
        return 2 * sum(image.rpartition("/")[2] in set(named) for image in listing.images) > len(listing.images)
    some = named[:: len(named) // _LOOKED_UP + 1]
    return 2 * sum(any(listing.holds(folder, name) for folder in listing.image_folders) for name in some) > len(some)


def _names_in_coco(head: str) -> list[str]:
    """Names of image files in a part of a file of COCO, without the folders that it may name."""
    return list(dict.fromkeys(re.split(r"[/\\]", name)[-1] for name in re.findall(r'"file_name"\s*:\s*"([^"]+)"', head)))


def _find_masks(listing: Listing) -> _Found:
    called = [folder for folder in listing.image_folders if _MASKS.search(folder) or _MAPS.search(folder)]
    if not called:
        return None
    stems: dict[str, set[str]] = {}
    for image in listing.images:
        stem = re.sub(r"[_-]?(mask|seg|gt|labels?|depth|disparity|heatmap)$", "", _stem(image).lower())
        stems.setdefault(_folder(image), set()).add(stem)
    for folder in called:
        for pattern, role in ((_MASKS, "mask"), (_MAPS, "map")):
            others = (stems_there for other, stems_there in stems.items() if not pattern.search(other))
            if pattern.search(folder) is not None and any(stems[folder] & stems_there for stems_there in others):
                return f"images and {role}s", f"{folder}/", _table_way_out(role)
    return None


def _table_way_out(role: str) -> str:
    """How images with masks or maps beside them are packed."""
    if role == "mask":
        given = spelled("columns", label="", mask=role)
    else:
        given = spelled("columns", label="", targets={role: role}, kinds={role: role})
    table = spelled_call("pack", "table.csv", "DATASET")
    return f"list both in a table with the columns image and {role}: {table} with {given}"


def _find_pairs(listing: Listing) -> _Found:
    """Two folders of images that belong together, by their names and those of the images."""
    called = {folder.rpartition("/")[2].lower() for folder in listing.image_folders}
    for pair in _PAIRS:
        if called != set(pair):
            continue
        stems: dict[str, set[str]] = {}
        for image in listing.images:
            stems.setdefault(_folder(image).rpartition("/")[2].lower(), set()).add(_stem(image))
        first, second = (stems[name] for name in pair)
        # Numbers from 0 on are names of images of classes as well: those of pairs are the same on both sides.
        if 2 * len(first & second) > max(len(first), len(second)):
            table = spelled_call("pack", "table.csv", "DATASET")
            given = spelled("columns", label="", image=["image", "target"])
            way_out = f"list both in a table with the columns image and target: {table} with {given}"
            return "pairs of images", f"{pair[1]}/", way_out
    return None


def _find_annotations(listing: Listing) -> _Found:
    """A file of annotations of no known form, where no folder is called like a class."""
    files = listing.ending(".json", ".odgt", ".mat", ".pkl") if listing.has_no_class else []
    table = spelled_call("pack", "table.csv", "DATASET", root=listing.path)
    columns = "image,label, or image,xmin,ymin,xmax,ymax,class"
    return ("images and annotations of another form", files[0], f"list them in a table ({columns}): {table}") if files else None


def _find_table(listing: Listing) -> _Found:
    if not listing.has_no_class:
        return None
    tables = listing.ending(".csv", ".tsv", ".jsonl")
    # Kaggle's competitions have tables of what is to be found too.
    for name in sorted(tables, key=lambda name: re.search(r"submission|test", name, re.IGNORECASE) is not None):
        if not listing.is_folder:
            return "images and a table", name, f"unpack it, and pack the table ({spelled('root')} says where the images are)"
        root = os.path.join(listing.path, _root_of_table(listing, name)).rstrip("/")
        return "images and a table", name, spelled_call("pack", os.path.join(listing.path, name), "DATASET", root=root)
    return None


def _root_of_table(listing: Listing, table: str) -> str:
    """The folder that most of the paths in a table seem to be relative to; else one that is called like the table."""
    folders = listing.image_folders
    suffixes = sorted({os.path.splitext(image)[1] for image in listing.images})
    # Of an image in a/b, the path in the table may be relative to a/b, to a, or to the top.
    places = dict.fromkeys(place for folder in folders for place in (folder, *folders_around(folder)))
    cells = (cell.strip().replace("\\", "/") for cell in re.split(r"[,;\t|\r\n]+", listing.head(table).replace('"', "")))
    roots: Counter[str] = Counter()
    for cell in islice((cell for cell in dict.fromkeys(cells) if cell and not cell.startswith("/")), _LOOKED_UP):
        names = [cell] if cell.lower().endswith(IMAGE_SUFFIXES) else [cell + suffix for suffix in suffixes]
        roots.update(islice((place for place in places if any(listing.holds(place, name) for name in names)), 1))
    like = (folder for folder in folders if folder and folder.rpartition("/")[2].lower() in _stem(table).lower())
    return roots.most_common(1)[0][0] if roots else next(chain(like, folders), "")
