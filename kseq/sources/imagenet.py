"""ImageNet's localization lists as Kaggle has them: the classes and boxes of the images in `ILSVRC/Data/CLS-LOC`.

The rules:

- The source is the folder of `LOC_train_solution.csv`, `LOC_val_solution.csv` or both, or one of the files. The first is
  train, the second val.
- A row is an image and its objects: a class and x1, y1, x2, y2 in pixels for each. They are the fields `boxes` and `labels`;
  the class of the first object is the `label` of the image.
- `LOC_synset_mapping.txt` beside it names the classes, in its order; a name that two classes have is followed by their id.
- The image of `n01440764_10026` is `ILSVRC/Data/CLS-LOC/train/n01440764/n01440764_10026.JPEG`, that of
  `ILSVRC2012_val_00000001` lies in `val`; also without the first folders, or below the root that is given.
- A row whose objects make no sense is rejected. Images that no list names are not packed.

Source: the page of the competition "ImageNet Object Localization Challenge".
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from kseq.errors import SourceError
from kseq.images.formats import JPEG, PNG
from kseq.sources.cell_types import Rejection
from kseq.sources.column_roles import Columns
from kseq.sources.listing import Listing
from kseq.sources.named_files import NamedFiles
from kseq.sources.source_format import SourceFormat, SourceRequest, check_root
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.table import TableSource
from kseq.sources.table_files import Table
from kseq.sources.text import describe_bytes, open_text
from kseq.sources.url_files import FileSizes
from kseq.storage.rejected import with_remedy

__all__ = ["IMAGENET"]

_LISTS = {"LOC_train_solution.csv": "train", "LOC_val_solution.csv": "val"}
_MAPPING = "LOC_synset_mapping.txt"
_FILE_NAMES = r"LOC_(train|val)_solution\.csv"
_ID, _OBJECTS = "ImageId", "PredictionString"
_ROOTS = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC", "")
_SUFFIXES = (JPEG.suffixes[1].upper(), JPEG.suffixes[1], JPEG.suffixes[0], PNG.suffixes[0])


class _Place(NamedTuple):
    """Where the images of a split lie: below which folder, in which of some folders there, and with which suffix."""

    top: str
    number: int
    suffix: str

    def path(self, folders: Sequence[str], name: str) -> str:
        """The path of an image below the root."""
        return "/".join(filter(None, [self.top, folders[self.number], name + self.suffix]))


def _open(request: SourceRequest) -> TableSource:
    """Open such lists as a source.

    Raises:
        SourceError: If a list cannot be read, or none of its rows can be packed.
    """
    path = request.path
    folder = path if os.path.isdir(path) else os.path.dirname(path) or "."
    lists = (
        [name for name in _LISTS if os.path.isfile(os.path.join(folder, name))] if folder == path else [os.path.basename(path)]
    )
    if not lists:
        raise SourceError(f"{path}: has no list of ImageNet, expected is LOC_train_solution.csv or LOC_val_solution.csv")
    root = check_root(path, request.image_root) if request.image_root is not None else folder
    names = _class_names(os.path.join(folder, _MAPPING))
    cells = {name: SpooledColumn() for name in ("image", "split", "label", "boxes", "labels")}
    faults = SpooledColumn()
    places: dict[str, _Place] = {}
    for name in lists:
        split = next((split for known, split in _LISTS.items() if known.lower() == name.lower()), None)
        for row in _rows(os.path.join(folder, name), names, faults):
            cells["image"].append(_image(root, row.pop("id"), split or "train", places))
            cells["split"].append(split)
            for column, cell in row.items():
                cells[column].append(cell)
    return TableSource.of_cells(
        path,
        root,
        NamedFiles(root, FileSizes(root, request.follow_links, request.storage_options), None),
        Columns(image="image", label="label", boxes="boxes", box_labels="labels", split="split"),
        cells,
        faults,
        request.class_names or (list(names.values()) or None),
        storage_options=request.storage_options,
        notes=[] if names else [f"{path}: has no {_MAPPING} beside it: classes are called by their ids"],
    )


def _is_folder(listing: Listing) -> bool:
    return any(os.path.isfile(os.path.join(listing.path, name)) for name in _LISTS)


IMAGENET = SourceFormat(
    "imagenet",
    _open,
    tuple(_LISTS),
    _FILE_NAMES,
    _is_folder,
    has_root=True,
    has_links=True,
    downloads=r"(LOC_\w+\.(csv|txt))",
    siblings=r"LOC_(\w+solution\.csv|synset_mapping\.txt)",
)


def _class_names(path: str) -> dict[str, str]:
    """Id to name of each class, in the order of the file; empty if there is no such file."""
    if not os.path.isfile(path):
        return {}
    try:
        with open_text(path, strict=True) as file:
            pairs = [line.strip().partition(" ") for line in file if line.strip()]
    except UnicodeError as error:
        raise SourceError(f"{path}: {with_remedy(describe_bytes(error))}") from error
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    names = {key: name.strip() or key for key, _, name in pairs}
    counts = Counter(names.values())
    return {key: name if counts[name] == 1 else f"{name} ({key})" for key, name in names.items()}


def _rows(path: str, names: Mapping[str, str], faults: SpooledColumn) -> Iterator[dict[str, object]]:
    table = Table.open(path, "csv")
    missing = [name for name in (_ID, _OBJECTS) if name not in table.names]
    if missing:
        raise SourceError(f"{path}: has no column {missing[0]!r}, its columns are {', '.join(table.names)}")
    own_faults = SpooledColumn()
    cells = table.read([_ID, _OBJECTS], own_faults)
    for key, text, fault in zip(cells[_ID], cells[_OBJECTS], own_faults, strict=True):
        classes: list[str] = []
        boxes: list[list[float]] = []
        try:
            classes, boxes = _objects(text or "", names) if fault is None else (classes, boxes)
        except ValueError as error:
            fault = Rejection(str(error))
        faults.append(fault)
        yield {"id": key or "", "label": classes[0] if classes else None, "boxes": boxes, "labels": classes}


def _objects(text: str, names: Mapping[str, str]) -> tuple[list[str], list[list[float]]]:
    """The classes and boxes of a row; raises ValueError, whose text continues one that begins with the row."""
    words = text.split()
    if not words or len(words) % 5:
        raise ValueError(f"has the objects {text[:40]!r}, allowed are a class and four numbers for each")
    classes = words[::5]
    unknown = next((name for name in classes if names and name not in names), None)
    if unknown is not None:
        raise ValueError(f"has the class {unknown[:40]!r}, which {_MAPPING} does not have")
    try:
        boxes = [list(map(float, words[start + 1 : start + 5])) for start in range(0, len(words), 5)]
    except ValueError as error:
        raise ValueError(f"has the objects {text[:40]!r}, allowed are a class and four numbers for each") from error
    return [names.get(name, name) for name in classes], boxes


def _image(root: str, key: object, split: str, places: dict[str, _Place]) -> str:
    """Where the image of an id lies; where the first that is found lies, all of its split do."""
    name = str(key)
    synset = re.fullmatch(r"(n\d{8})_\d+", name)
    folders = [f"{split}/{synset[1]}", synset[1], split, ""] if synset else [split, "", "", ""]
    if split not in places:
        candidates = [_Place(top, number, suffix) for top in _ROOTS for number in range(len(folders)) for suffix in _SUFFIXES]
        found = next((place for place in candidates if os.path.isfile(os.path.join(root, place.path(folders, name)))), None)
        if found is None:
            return _Place(_ROOTS[0], 0, _SUFFIXES[0]).path(folders, name)
        places[split] = found
    return places[split].path(folders, name)
