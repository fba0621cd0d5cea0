"""The text lists of well-known benchmarks: which files tell each, and what their lines say."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kseq.errors import SourceError
from kseq.images.formats import IMAGE_SUFFIXES, JPEG, PNG
from kseq.sources.text import open_text

__all__ = ["Benchmark", "ListedImage", "find_benchmark"]

# Lists leave them out.
_JPG, _PNG = JPEG.suffixes[0], PNG.suffixes[0]


class ListedImage(NamedTuple):
    """An image that lists name.

    Attributes:
        image: Its path below the root, perhaps without a suffix.
        class_name: Its class; None if no list says it.
        split: `"train"`, `"val"` or `"test"`; None if no list says it.
        box: x1, y1, x2, y2 in pixels.
        mask: The path of its mask below the root.
        fault: Why a line of it makes no sense.
    """

    image: str
    class_name: str | None
    split: str | None = None
    box: tuple[float, float, float, float] | None = None
    mask: str | None = None
    fault: str | None = None


@dataclass
class Benchmark:
    """A collection.

    Attributes:
        name: What it is called.
        root: The folder that its images lie below.
        rows: Its images.
        class_names: Its classes in the order of their numbers; empty if no list has them.
        notes: What a user should know of it.
        has_boxes: Whether its images have a box.
        has_masks: Whether its images have a mask.
        mask_folders: Folders below the root whose images are no samples.
    """

    name: str
    root: str
    rows: list[ListedImage] = field(default_factory=list)
    class_names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    has_boxes: bool = False
    has_masks: bool = False
    mask_folders: tuple[str, ...] = ()


def find_benchmark(folder: str, *, reads: bool = True) -> Benchmark | None:
    """The collection whose lists lie in a folder; None if there are none.

    Args:
        folder: The folder.
        reads: Whether to read its lists; without that, it has no rows.

    Raises:
        SourceError: If a list cannot be read, or names no image.
    """
    for name, marks, read in _BENCHMARKS:
        if not all(os.path.exists(os.path.join(folder, mark)) for mark in marks) or not _begins_as(folder, marks[0]):
            continue
        if not reads:
            return Benchmark(name, folder)
        found = read(name, folder)
        if not found.rows:
            raise SourceError(f"{os.path.join(folder, marks[0])}: names no image")
        return found
    return None


def _begins_as(folder: str, mark: str) -> bool:
    """Whether the first line of a list is one of its collection, where others have lists of that name too."""
    pattern = _FIRST_LINES.get(mark)
    if pattern is None:
        return True
    try:
        lines = _lines(folder, mark)
    except SourceError:
        return False
    return bool(lines) and re.fullmatch(pattern, lines[0]) is not None


def _lines(folder: str, name: str) -> list[str]:
    """The lines of a list without blank ones and comments; none if there is no such file."""
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        return []
    try:
        with open_text(path) as file:
            return [line.strip() for line in file if line.strip() and not line.startswith("#")]
    except (OSError, UnicodeError) as error:
        raise SourceError(f"{path}: cannot be read: {error}") from error


def _pairs(folder: str, name: str) -> dict[str, str]:
    """The first word of each line to the rest of it."""
    parts = (line.split(None, 1) for line in _lines(folder, name))
    return {part[0]: part[1] if len(part) > 1 else "" for part in parts}


def _in_order(names: Mapping[str, str]) -> list[str]:
    return [names[key] for key in sorted(names, key=lambda key: (not key.isdecimal(), int(key) if key.isdecimal() else 0, key))]


def _cub(name: str, folder: str) -> Benchmark:
    images, labels = _pairs(folder, "images.txt"), _pairs(folder, "image_class_labels.txt")
    classes, splits = _pairs(folder, "classes.txt"), _pairs(folder, "train_test_split.txt")
    boxes = _pairs(folder, "bounding_boxes.txt")
    found = Benchmark(name, os.path.join(folder, "images"), class_names=_in_order(classes), has_boxes=bool(boxes))
    for key, path in images.items():
        fault, box = None, None
        if splits.get(key, "1") not in ("0", "1"):
            fault = f"has {splits[key][:20]!r} in train_test_split.txt, allowed are 1 (train) and 0 (test)"
        if key in boxes:
            try:
                x, y, width, height = map(float, boxes[key].split())
                box = (x, y, x + width, y + height)
            except ValueError:
                fault = fault or f"has {boxes[key][:40]!r} in bounding_boxes.txt, allowed are x, y, width and height"
        # The folder is called like the class, where no list says it.
        label = classes.get(labels[key]) if key in labels else path.split("/")[0]
        split = {"1": "train", "0": "test"}.get(splits.get(key, ""))
        found.rows.append(ListedImage(path, label, split, box, fault=fault))
    unused = [part for part in ("parts", "attributes") if os.path.exists(os.path.join(folder, part))]
    if unused:
        found.notes.append(f"{folder}: its {' and '.join(unused)} are not used")
    return found


def _pets(name: str, folder: str) -> Benchmark:
    splits = {"trainval.txt": "train", "test.txt": "test"}
    lists = {file: _pairs(folder, f"annotations/{file}") for file in splits}
    listed = _pairs(folder, "annotations/list.txt") or {key: value for part in lists.values() for key, value in part.items()}
    has_masks = os.path.isdir(os.path.join(folder, "annotations", "trimaps"))
    found = Benchmark(name, folder, has_masks=has_masks, mask_folders=(os.path.join("annotations", "trimaps"),))
    classes: dict[str, str] = {}
    for stem, numbers in listed.items():
        breed = re.sub(r"_\d+$", "", stem)
        number = numbers.split()[:1]
        classes.setdefault(number[0] if number else breed, breed)
        split = next((split for file, split in splits.items() if stem in lists[file]), None)
        mask = f"annotations/trimaps/{stem}{_PNG}" if has_masks else None
        found.rows.append(ListedImage(f"images/{stem}{_JPG}", breed, split, mask=mask))
    found.class_names = _in_order(classes)
    if os.path.isdir(os.path.join(folder, "annotations", "xmls")):
        found.notes.append(f"{folder}: the boxes of heads in annotations/xmls are not used")
    return found


def _dtd(name: str, folder: str) -> Benchmark:
    found = Benchmark(name, os.path.join(folder, "images"))
    for split in ("train", "val", "test"):
        for path in _lines(folder, f"labels/{split}1.txt"):
            found.rows.append(ListedImage(path, path.split("/")[0], split))
    if os.path.isfile(os.path.join(folder, "labels/train2.txt")):
        found.notes.append(f"{folder}: of its partitions into splits the first is taken (labels/train1.txt)")
    return found


def _aircraft(name: str, folder: str) -> Benchmark:
    folder = os.path.join(folder, "data") if os.path.isdir(os.path.join(folder, "data")) else folder
    found = Benchmark(name, os.path.join(folder, "images"), class_names=_lines(folder, "variants.txt"))
    for split in ("train", "val", "test"):
        for stem, variant in _pairs(folder, f"images_variant_{split}.txt").items():
            found.rows.append(ListedImage(f"{stem}{_JPG}", variant, split))
    found.notes.append(f"{folder}: classes are its variants; families, manufacturers and boxes are not used")
    return found


def _food(name: str, folder: str) -> Benchmark:
    found = Benchmark(name, os.path.join(folder, "images"), class_names=_lines(folder, "meta/classes.txt"))
    for split in ("train", "test"):
        for path in _lines(folder, f"meta/{split}.txt"):
            found.rows.append(ListedImage(f"{path}{_JPG}", path.split("/")[0], split))
    return found


def _sun(name: str, folder: str) -> Benchmark:
    classes = [line.strip("/") for line in _lines(folder, "ClassName.txt")]
    splits = {
        path.strip("/"): split
        for file, split in (("Training_01.txt", "train"), ("Testing_01.txt", "test"))
        for path in _lines(folder, file)
    }
    found = Benchmark(name, folder, class_names=classes)
    for class_name in classes:
        if not os.path.isdir(os.path.join(folder, class_name)):
            found.notes.append(f"{folder}: has no folder of its class {class_name}")
        found.rows += [ListedImage(path, class_name, splits.get(path)) for path in _images(folder, class_name)]
    if splits:
        found.notes.append(f"{folder}: splits are those of the first partition (Training_01.txt, Testing_01.txt)")
    return found


def _tiny_imagenet(name: str, folder: str) -> Benchmark:
    classes = _lines(folder, "wnids.txt")
    found = Benchmark(name, folder, class_names=classes)
    for class_name in classes:
        place = f"train/{class_name}/images"
        found.rows += [ListedImage(path, class_name, "train") for path in _images(folder, place)]
    for path, rest in _pairs(folder, "val/val_annotations.txt").items():
        class_name = rest.split()[0] if rest else ""
        fault = None if class_name in classes else f"has the class {class_name[:20]!r}, which wnids.txt has not"
        found.rows.append(ListedImage(f"val/images/{path}", class_name, "val", fault=fault))
    found.notes.append(f"{folder}: classes are called by their ids (words.txt says what they mean); its boxes are not used")
    return found


def _images(folder: str, place: str) -> list[str]:
    """The paths of the images in one of the folders of a collection, sorted; none if it is not there."""
    try:
        files = sorted(entry.name for entry in os.scandir(os.path.join(folder, place)) if entry.is_file())
    except OSError:
        return []
    return [f"{place}/{file}" for file in files if file.lower().endswith(IMAGE_SUFFIXES)]


def _places(name: str, folder: str) -> Benchmark:
    numbers = {number: path.strip("/") for path, number in _pairs(folder, "categories_places365.txt").items()}
    found = Benchmark(name, folder, class_names=_in_order(numbers))
    lists = (
        ("train", ("places365_train_standard.txt", "places365_train_challenge.txt"), _PLACES_TRAIN),
        ("val", ("places365_val.txt",), _PLACES_VAL),
    )
    for split, files, folders in lists:
        file = next((file for file in files if os.path.isfile(os.path.join(folder, file))), "")
        paths = _pairs(folder, file) if file else {}
        place = next((place for place in folders if os.path.isdir(os.path.join(folder, place))), "")
        for path, number in paths.items():
            fault = None if number in numbers else f"has the class {number[:20]!r}, which categories_places365.txt has not"
            found.rows.append(ListedImage(f"{place}/{path.strip('/')}".strip("/"), numbers.get(number), split, fault=fault))
    return found


def _gtsrb(name: str, folder: str) -> Benchmark:
    """The archives of the benchmark itself: folders of classes, each with a list beside its images."""
    found = Benchmark(name, folder, has_boxes=True)
    top = "GTSRB/" if os.path.isdir(os.path.join(folder, "GTSRB")) else ""
    train, test = f"{top}Final_Training/Images", f"{top}Final_Test/Images"
    try:
        classes = sorted(entry.name for entry in os.scandir(os.path.join(folder, train)) if entry.is_dir())
    except OSError:
        classes = []
    for class_name in classes:
        for row in _table(folder, f"{train}/{class_name}/GT-{class_name}.csv"):
            found.rows.append(_sign(f"{train}/{class_name}/{row.get('Filename')}", row, "train"))
    places = [f"{place}GT-final_test.csv" for place in ("", top, f"{test}/")]
    tests = next((place for place in places if os.path.isfile(os.path.join(folder, place))), f"{test}/GT-final_test.test.csv")
    found.rows += [_sign(f"{test}/{row.get('Filename')}", row, "test") for row in _table(folder, tests)]
    return found


def _gtsrb_tables(name: str, folder: str) -> Benchmark:
    """Kaggle's copy: a table for each split."""
    found = Benchmark(name, folder, has_boxes=True)
    for file, split in (("Train.csv", "train"), ("Test.csv", "test")):
        found.rows += [_sign(row.get("Path") or "", row, split) for row in _table(folder, file)]
    return found


def _sign(path: str, row: Mapping[str, str], split: str) -> ListedImage:
    """The image of a row: a traffic sign, its box and its class, if the row has it."""
    try:
        left, top, right, bottom = (float(row[f"Roi.{side}"]) for side in ("X1", "Y1", "X2", "Y2"))
    except (KeyError, TypeError, ValueError):
        return ListedImage(path, row.get("ClassId"), split, fault="has no whole Roi in its list")
    number = row.get("ClassId")
    return ListedImage(path, number, split, (left, top, right, bottom), fault=None if number else "has no class in its list")


def _table(folder: str, name: str) -> list[dict[str, str]]:
    """The rows of a table with commas or semicolons; none if there is no such file."""
    lines = _lines(folder, name)
    mark = ";" if lines and ";" in lines[0] else ","
    return list(csv.DictReader(lines, delimiter=mark))


_PLACES_TRAIN = ("data_large_standard", "data_256_standard", "data_large", "data_256", "train")
_PLACES_VAL = ("val_large", "val_256", "val")

# The lists whose names others use too.
_FIRST_LINES = {
    "annotations/list.txt": r"\S+_\d+ \d+ [12] \d+",
    "annotations/trainval.txt": r"\S+_\d+ \d+ [12] \d+",
    "images.txt": r"\d+ \S+",
    "meta/train.txt": r"\S+/\S+",
}

_Reader = Callable[[str, str], Benchmark]
# What each collection is called, the files that tell it, and who reads it.
_BENCHMARKS: Sequence[tuple[str, tuple[str, ...], _Reader]] = (
    ("CUB-200", ("images.txt", "image_class_labels.txt", "images"), _cub),
    ("CUB-200", ("images.txt", "train_test_split.txt", "images"), _cub),
    ("Oxford-IIIT Pet", ("annotations/list.txt", "images"), _pets),
    ("Oxford-IIIT Pet", ("annotations/trainval.txt", "images"), _pets),
    ("DTD", ("labels/train1.txt", "images"), _dtd),
    ("FGVC-Aircraft", ("images_variant_train.txt", "images"), _aircraft),
    ("FGVC-Aircraft", ("data/images_variant_train.txt", "data/images"), _aircraft),
    ("Food-101", ("meta/train.txt", "meta/test.txt", "images"), _food),
    ("GTSRB", ("GTSRB/Final_Training/Images",), _gtsrb),
    ("GTSRB", ("Final_Training/Images",), _gtsrb),
    ("GTSRB", ("Train.csv", "Test.csv", "Meta.csv", "Train"), _gtsrb_tables),
    ("SUN397", ("ClassName.txt", "a"), _sun),
    ("Tiny ImageNet", ("wnids.txt", "train", "val/val_annotations.txt"), _tiny_imagenet),
    ("Places365", ("categories_places365.txt", "places365_val.txt"), _places),
    ("Places365", ("categories_places365.txt", "places365_train_standard.txt"), _places),
)
