"""What a folder or a zip looks like, by the names of some of its files and the beginnings of a few.

A layout of an annotation tool that is packed as folders of classes becomes classes called `images` and `labels`, in silence. So
it is told before:

- YOLO: text files below a folder for labels beside one for images, or text files of boxes beside images.
- Pascal VOC, CVAT, COCO and LabelMe, by what their XML and JSON files hold.
- Images and masks, or maps such as depth: two folders that have images of the same names, one called like masks or maps.
- Images and a table: a CSV or JSON Lines file, and folders that are called like no class.

Where all folders have names that no class has (`images`, `Annotations`, `data`), the layout is refused as classes, with the
command that packs it; else the annotation files are a note. At most some thousand names are looked at.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from kseq.arguments import spelled, spelled_call
from kseq.errors import ImageError, SourceError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.images.number_files import ARRAY_SUFFIXES
from kseq.sources.class_names import is_no_class_name
from kseq.sources.side_files import find_side_file
from kseq.sources.split_names import folder_split
from kseq.sources.tool_layouts import find_tool
from kseq.sources.yolo_pairs import has_image_role, has_label_role, is_plain_text
from kseq.sources.yolo_text import looks_like_boxes
from kseq.sources.zip_archive import read_zip_tree
from kseq.sources.zip_members import read_zip_member

__all__ = [
    "COCO_NAME",
    "Layout",
    "annotates_most_images",
    "find_layout",
    "looks_like_yolo",
    "walk_folder",
]

COCO_NAME = "COCO"
_MOST_FOLDERS, _MOST_FILES, _MOST_MEMBERS = 100, 300, 100_000

# How many files of each kind are opened, and how many bytes of each end are read.
_OPENED, _HEAD = 5, 1 << 16
_MOST_COMPARED = 1000

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


def looks_like_yolo(path: str) -> bool:
    """Whether a folder or a zip is a data set of YOLO."""
    sample = _sample(path)
    return sample is not None and _yolo_file(sample) is not None


def annotates_most_images(path: str, suffix: str) -> bool:
    """Whether more than half of the images of a folder have a file of the same name that ends so; a few files beside classes
    are no annotated collection."""
    sample = _Sample(path, list(walk_folder(path)))
    texts = sample.ending(suffix)
    stems, folders = {_stem(name) for name in texts}, {_folder(name) for name in texts}

    def is_annotated(image: str) -> bool:
        # The sample need not have the very file that goes with an image.
        stem = _stem(image)
        return stem in stems or any(os.path.lexists(os.path.join(path, folder, stem + suffix)) for folder in folders)

    images = sample.images[:: len(sample.images) // _MOST_COMPARED + 1]
    return 2 * sum(map(is_annotated, images)) > len(images) if images else bool(texts)


def find_layout(path: str) -> Layout | None:
    """What a folder or a zip looks like that might be taken for folders of classes; None if nothing speaks against that."""
    sample = _sample(path)
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
    found = _find_masks(sample) or _find_table(sample) or _find_pairs(sample) or _find_annotations(sample)
    if found is None and not sample.has_no_class:
        folders = {part for name in sample.images for part in name.split("/")[:-1]}
        found = find_side_file(path, sample.names, folders, sample.head)
    return None if found is None else Layout(*found, sample.has_no_class)


_Found = tuple[str, str, str] | None


class _Sample:
    """Some of the files of a folder or of a zip.

    Args:
        path: The folder or the zip.
        names: The paths of the files below it.
    """

    def __init__(self, path: str, names: Sequence[str]) -> None:
        self.path = path
        self.names = sorted(names)
        self.images = [name for name in self.names if name.lower().endswith((*IMAGE_SUFFIXES, *ARRAY_SUFFIXES))]

    def ending(self, *suffixes: str) -> list[str]:
        """Files whose names end in certain suffixes."""
        return [name for name in self.names if name.lower().endswith(suffixes)]

    @property
    def has_no_class(self) -> bool:
        """Whether no folder on the way to an image is called like a class."""
        folders = {part for name in self.images for part in name.split("/")[:-1]}
        return all(is_no_class_name(part) or folder_split(part) is not None for part in folders)

    def head(self, name: str) -> str:
        """The beginning and the end of a file, as text; empty if it cannot be read."""
        try:
            if os.path.isfile(self.path):
                data = read_zip_member(self.path, name)
                return _text(data[:_HEAD] + b"\n" + data[-_HEAD:])
            full_path = os.path.join(self.path, name)
            if not os.path.isfile(full_path):
                return ""
            with open(full_path, "rb") as file:
                head = file.read(_HEAD)
                file.seek(max(len(head), os.path.getsize(full_path) - _HEAD))
                return _text(head + b"\n" + file.read(_HEAD))
        except (OSError, ImageError):
            return ""


def _text(data: bytes) -> str:
    # Only words and numbers are looked for: an encoding need not be right.
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace")


def _sample(path: str) -> _Sample | None:
    if os.path.isdir(path):
        return _Sample(path, list(walk_folder(path)))
    try:
        tree, _ = read_zip_tree(path)
        return _Sample(path, [entry.path for entry in islice(tree.files(tree.top), _MOST_MEMBERS) if entry.rejection is None])
    except (OSError, SourceError, zipfile.BadZipFile):
        return None


def walk_folder(root: str) -> Iterator[str]:
    """Files below a folder, of each folder the first that the system names: the outermost folders first."""
    folders = deque([""])
    for _ in range(_MOST_FOLDERS):
        if not folders:
            return
        folder = folders.popleft()
        try:
            with os.scandir(os.path.join(root, folder)) as scanned:
                for entry in islice(scanned, _MOST_FILES):
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        folders.append(path)
                    else:
                        yield path
        except OSError:
            continue


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]


def _yolo_file(sample: _Sample) -> str | None:
    """A text file that says that this is a data set of YOLO; None if it is none."""
    all_texts = sample.ending(".txt")
    texts = [name for name in all_texts if not is_plain_text(name.rpartition("/")[2])]
    below_labels = [name for name in all_texts if has_label_role(_folder(name)) and not name.lower().endswith("/classes.txt")]
    # Of millions of images, the sample may have none of those that go with its texts: names of folders are enough.
    if below_labels and any(has_image_role(_folder(image)) for image in sample.images):
        # A file at a URL is not there yet: it has its length, and nothing in it.
        heads = ((name, sample.head(name)) for name in below_labels[:_OPENED])
        return next((name for name, head in heads if not head.strip("\0 \r\n") or looks_like_boxes(head)), None)
    image_folders = {_folder(name) for name in sample.images}
    candidates = [name for name in texts if _folder(name) in image_folders] + below_labels
    found = next((name for name in candidates[:_OPENED] if looks_like_boxes(sample.head(name))), None)
    return found if sample.images else None


def _find_yolo(sample: _Sample) -> _Found:
    file = _yolo_file(sample)
    return None if file is None else ("YOLO", file, spelled_call("pack", sample.path, "DATASET", source_format="yolo"))


def _find_dota(sample: _Sample) -> _Found:
    texts = [name for name in sample.ending(".txt") if _folder(name).rpartition("/")[2].lower().startswith("labeltxt")]
    return ("DOTA", texts[0], _way_out(sample, "dota", sample.path)) if texts and sample.images else None


def _way_out(sample: _Sample, source_format: str, source: str) -> str:
    """How files of another format are packed, which kseq reads in a folder."""
    if os.path.isfile(sample.path):
        return f"unpack it, and pack that ({spelled('source_format', source_format)})"
    return spelled_call("pack", source, "DATASET", source_format=source_format)


def _find_xml(sample: _Sample) -> _Found:
    for name in sample.ending(".xml")[:_OPENED]:
        head = sample.head(name)
        if "<annotations>" in head:
            return "CVAT for images", name, _way_out(sample, "cvat", os.path.join(sample.path, name))
        if "<annotation" in head:
            return "Pascal VOC", name, _way_out(sample, "voc", sample.path)
    return None


def _find_json(sample: _Sample) -> _Found:
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


def _folder_of_images(sample: _Sample, annotations: str, head: str) -> str:
    """The folder that most likely has the images of an annotation file."""
    named = set(re.findall(r'"file_name"\s*:\s*"([^"]+)"', head))
    stem = annotations.rpartition("/")[2].rpartition(".")[0].lower()
    folders = sorted({_folder(image) for image in sample.images})
    by_name = [
        _folder(image) for image in sample.images if image.rpartition("/")[2] in {name.rpartition("/")[2] for name in named}
    ]
    matching = [folder for folder in folders if folder and folder.rpartition("/")[2].lower() in stem]
    return next(iter(by_name or matching or folders), "")


def _names_most_images(sample: _Sample, file: str) -> bool:
    """Whether a file of COCO names more than half of the images; of a long file, whether most that it names are there."""
    head = sample.head(file)
    named = {re.split(r"[/\\]", name)[-1] for name in re.findall(r'"file_name"\s*:\s*"([^"]+)"', head)}
    images = {image.rpartition("/")[2] for image in sample.images}
    is_long = len(head) > _HEAD
    return 2 * len(named & images) > (min(len(named), len(images)) if is_long else len(images))


def _find_masks(sample: _Sample) -> _Found:
    stems: dict[str, set[str]] = {}
    for image in sample.images:
        stem = re.sub(
            r"[_-]?(mask|seg|gt|labels?|depth|disparity|heatmap)$", "", image.rpartition("/")[2].rpartition(".")[0].lower()
        )
        stems.setdefault(_folder(image), set()).add(stem)
    for folder, names in stems.items():
        for called, role in ((_MASKS, "mask"), (_MAPS, "map")):
            others = (stems_there for other, stems_there in stems.items() if not called.search(other))
            if called.search(folder) is not None and any(names & stems_there for stems_there in others):
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


def _find_pairs(sample: _Sample) -> _Found:
    """Two folders of images that belong together, by their names and those of the images."""
    stems: dict[str, set[str]] = {}
    for image in sample.images:
        folder, _, name = image.rpartition("/")
        stems.setdefault(folder.rpartition("/")[2].lower(), set()).add(name.rpartition(".")[0])
    for pair in _PAIRS:
        first, second = (stems.get(name, set()) for name in pair)
        # Numbers from 0 on are names of images of classes as well: those of pairs are the same on both sides.
        if len(stems) == 2 and 2 * len(first & second) > max(len(first), len(second)):
            table = spelled_call("pack", "table.csv", "DATASET")
            given = spelled("columns", label="", image=["image", "target"])
            way_out = f"list both in a table with the columns image and target: {table} with {given}"
            return "pairs of images", f"{pair[1]}/", way_out
    return None


def _find_annotations(sample: _Sample) -> _Found:
    """A file of annotations of no known form, where no folder is called like a class."""
    files = sample.ending(".json", ".odgt", ".mat", ".pkl") if sample.has_no_class else []
    table = spelled_call("pack", "table.csv", "DATASET", root=sample.path)
    columns = "image,label, or image,xmin,ymin,xmax,ymax,class"
    return ("images and annotations of another form", files[0], f"list them in a table ({columns}): {table}") if files else None


def _find_table(sample: _Sample) -> _Found:
    if not sample.has_no_class:
        return None
    tables = sample.ending(".csv", ".tsv", ".jsonl")
    # Kaggle's competitions have tables of what is to be found too.
    for name in sorted(tables, key=lambda name: re.search(r"submission|test", name, re.IGNORECASE) is not None):
        if os.path.isfile(sample.path):
            return "images and a table", name, f"unpack it, and pack the table ({spelled('root')} says where the images are)"
        root = os.path.join(sample.path, _root_of_table(sample, name)).rstrip("/")
        return "images and a table", name, spelled_call("pack", os.path.join(sample.path, name), "DATASET", root=root)
    return None


def _root_of_table(sample: _Sample, table: str) -> str:
    """The folder that most of the paths in a table seem to be relative to; else one that is called like the table."""
    cells = set(re.split(r"[,;\t|\r\n]+", sample.head(table).replace('"', "")))
    by_stem: dict[str, list[str]] = {}
    for cell in cells:
        by_stem.setdefault(_stem(cell) or cell.rpartition("/")[2], []).append(cell.strip().replace("\\", "/"))
    roots: Counter[str] = Counter()
    for image in sample.images:
        for cell in by_stem.get(_stem(image), ()):
            for whole in (image, image.rpartition(".")[0]):
                if f"/{whole}".endswith(f"/{cell}"):
                    roots[whole[: -len(cell)].rstrip("/")] += 1
    if roots:
        return roots.most_common(1)[0][0]
    folders = sorted({_folder(image) for image in sample.images})
    like = [folder for folder in folders if folder and folder.rpartition("/")[2].lower() in _stem(table).lower()]
    return next(iter(like or folders), "")
