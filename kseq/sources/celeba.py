"""CelebA's lists beside its images: attributes, landmarks, boxes, identities and splits, joined by the names of files.

The rules:

- The source is the folder of the lists and images, in one folder or in `Anno`, `Eval` and `Img`; the lists are texts, or the
  CSV files of Kaggle's copy. Any of them may be missing.
- `list_attr_celeba`: an image has the attributes that have 1; -1 and 0 mean no. They are the field `attributes`, whose classes
  are the attributes in the order of the list. Another value rejects the image.
- `list_eval_partition`: 0 is train, 1 is val, 2 is test. `identity_CelebA`: the field `identity`, a number.
- `list_landmarks_align_celeba` goes with `img_align_celeba`, `list_landmarks_celeba` and `list_bbox_celeba` with `img_celeba`:
  the fields `landmarks`, five points (left eye, right eye, nose, left and right corner of the mouth), and `boxes`. Lists of
  the other images are not used, and a line says so.
- Images that no list names are not packed; a line counts them.

Source: the readme of CelebA.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from kseq.arguments import counted
from kseq.errors import SourceError
from kseq.images.formats import IMAGE_END, IMAGE_SUFFIXES, PNG
from kseq.sources.cell_types import Rejection
from kseq.sources.column_roles import Columns
from kseq.sources.listing import Listing
from kseq.sources.named_files import NamedFiles
from kseq.sources.source_format import SourceFormat, SourceRequest
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.table import TableSource
from kseq.sources.text import open_text
from kseq.sources.url_files import FileSizes

__all__ = ["CELEBA"]

_LISTS = {
    "list_attr_celeba": "attributes",
    "list_eval_partition": "split",
    "list_landmarks_align_celeba": "aligned landmarks",
    "list_landmarks_celeba": "landmarks",
    "list_bbox_celeba": "boxes",
    "identity_celeba": "identity",
}
_PARTITION = re.compile(rf"\S+{IMAGE_END}\s*[,\s]\s*[0-2]\s*$")
_LOOKED_AT = 3
_FILE_NAMES = r"(list_(attr|landmarks|landmarks_align|bbox)_celeba|list_eval_partition|identity_celeba)\.(txt|csv)"
_FOLDERS = ("img_align_celeba/img_align_celeba", "img_align_celeba", "img_celeba", "img_align_celeba_png", "images", "")
_SPLITS = {"0": "train", "1": "val", "2": "test"}
_ALIGNED, _WILD = "aligned landmarks", ("landmarks", "boxes")


class _List(NamedTuple):
    """One of the lists.

    Attributes:
        path: The file.
        names: The names of its columns, without that of the files; empty if it has none.
        rows: Name of a file to its values.
        num_bad: How many lines have no value, or more than there are names.
        first_bad: The first of these lines.
    """

    path: str
    names: list[str]
    rows: dict[str, list[str]]
    num_bad: int
    first_bad: str


def _open(request: SourceRequest) -> TableSource:
    """Open such a folder as a source.

    Raises:
        SourceError: If a list cannot be read, or no image lies where it says.
    """
    path = request.path
    top = _top(os.path.dirname(path) or ".") if os.path.isfile(path) else path
    found = {role: _read(file) for role, file in _find_lists(top).items()}
    if not found:
        raise SourceError(f"{path}: has no list of CelebA, expected is list_attr_celeba.txt or list_eval_partition.txt")
    files = list(dict.fromkeys(name for part in found.values() for name in part.rows))
    root, suffix = (request.root, "") if request.root is not None else _image_folder(top, files[:1])
    notes = [
        f"{part.path}: {counted(part.num_bad, 'line makes', 'lines make')} no sense, such as {part.first_bad!r}"
        for part in found.values()
        if part.num_bad
    ]
    is_wild = os.path.basename(os.path.normpath(root)).lower() == "img_celeba"
    for role in (_ALIGNED,) if is_wild else _WILD:
        if role in found:
            notes.append(f"{found.pop(role).path}: belongs to the images of another folder than {root}, and is not used")
    unlisted = _count_others(root, files, suffix)
    if unlisted:
        notes.append(f"{root}: {counted(unlisted, 'image is', 'images are')} in no list, and not packed")
    cells, faults = _cells(files, found, suffix)
    names = NamedFiles(root, FileSizes(root, request.follow_links, request.storage_options), None)
    return TableSource.of_cells(
        path,
        root,
        names,
        _columns(cells),
        cells,
        faults,
        request.class_names,
        target_classes={"attributes": found["attributes"].names} if "attributes" in found else None,
        storage_options=request.storage_options,
        notes=notes,
    )


def _is_folder(listing: Listing) -> bool:
    lists = _find_lists(listing.path)
    if list(lists) != ["split"]:
        return bool(lists)
    # DeepFashion has a list of this name too.
    try:
        with open_text(lists["split"]) as file:
            return any(_PARTITION.match(line) for line in islice(file, _LOOKED_AT))
    except (OSError, UnicodeError):
        return False


CELEBA = SourceFormat(
    "celeba",
    _open,
    ("list_attr_celeba.txt",),
    _FILE_NAMES,
    _is_folder,
    has_root=True,
    has_links=True,
    downloads=r"\.(txt|csv)",
)


def _top(folder: str) -> str:
    """The folder of lists and images, given that of a list."""
    is_inner = os.path.basename(os.path.abspath(folder)).lower() in ("anno", "eval")
    return os.path.join(folder, "..") if is_inner else folder


def _find_lists(top: str) -> dict[str, str]:
    """What each list tells, to its file; texts come before CSV files."""
    found: dict[str, str] = {}
    folders = [top, *(os.path.join(top, name) for name in ("Anno", "Eval", "anno", "eval", "Annotations", "celeba"))]
    for folder in folders:
        try:
            names = sorted(os.listdir(folder), key=lambda name: (not name.lower().endswith(".txt"), name))
        except OSError:
            continue
        for name in names:
            role = _LISTS.get(os.path.splitext(name)[0].lower())
            if role is not None and name.lower().endswith((".txt", ".csv")):
                found.setdefault(role, os.path.join(folder, name))
    return found


def _read(path: str) -> _List:
    names: list[str] = []
    rows: dict[str, list[str]] = {}
    bad: list[str] = []
    try:
        with open_text(path) as file:
            for cells in (re.split(r"[,\s]+", line.strip()) for line in file if line.strip()):
                is_file = cells[0].lower().endswith(IMAGE_SUFFIXES)
                if not is_file and not rows and not cells[0].isdecimal():
                    names = [name for name in cells if name != "image_id"]
                elif is_file and len(cells) > 1 and len(cells) - 1 == (len(names) or len(cells) - 1):
                    rows[cells[0]] = cells[1:]
                elif is_file or rows:
                    bad.append(" ".join(cells)[:40])
    except (OSError, UnicodeError) as error:
        raise SourceError(f"{path}: cannot be read: {error}") from error
    if not rows:
        raise SourceError(f"{path}: names no image, expected are lines such as '000001.jpg -1 1 1'")
    return _List(path, names, rows, len(bad), next(iter(bad), ""))


def _image_folder(top: str, files: Sequence[str]) -> tuple[str, str]:
    """The folder of the images, and the suffix that they have instead of that in the lists; empty if it is the same."""
    for parent in (top, os.path.join(top, "Img"), os.path.join(top, "img"), os.path.join(top, "celeba")):
        for folder in _FOLDERS:
            for suffix in ("", PNG.suffixes[0]):
                full_path = os.path.join(parent, folder)
                if all(os.path.isfile(os.path.join(full_path, _renamed(file, suffix))) for file in files):
                    return os.path.normpath(full_path), suffix
    for folder in (os.path.join(top, folder) for folder in _FOLDERS):
        if folder and os.path.isdir(folder):
            # Some of the images may lie here, though not the first.
            return os.path.normpath(folder), ""
    return os.path.normpath(top), ""


def _renamed(file: str, suffix: str) -> str:
    return os.path.splitext(file)[0] + suffix if suffix else file


def _count_others(root: str, files: Sequence[str], suffix: str) -> int:
    try:
        present = {name for name in os.listdir(root) if name.lower().endswith(IMAGE_SUFFIXES)}
    except OSError:
        return 0
    return len(present.difference(_renamed(file, suffix) for file in files))


def _cells(files: Sequence[str], lists: Mapping[str, _List], suffix: str) -> tuple[dict[str, SpooledColumn], SpooledColumn]:
    """The columns of all lists, and for each image why its values make no sense."""
    cells = {"image": SpooledColumn(_renamed(file, suffix) for file in files)}
    faults: dict[str, str] = {}
    for role, part in lists.items():
        cells[role.removeprefix("aligned ")] = SpooledColumn(_values(role, part, files, faults))
    return cells, SpooledColumn(faults.get(file) for file in files)


def _values(role: str, part: _List, files: Sequence[str], faults: dict[str, str]) -> Iterator[object]:
    for file in files:
        values = part.rows.get(file)
        try:
            if values is None and role != "split":
                raise ValueError("has no line")
            yield None if values is None else _value(role, part, values)
        except ValueError as error:
            faults.setdefault(file, Rejection(f"{error} in {os.path.basename(part.path)}"))
            yield None


def _value(role: str, part: _List, values: Sequence[str]) -> object:
    """The cell of an image; raises ValueError, whose text continues one that begins with the image."""
    if role == "attributes":
        wrong = next((value for value in values if value not in ("-1", "0", "1")), None)
        if wrong is not None:
            raise ValueError(f"has {wrong[:20]!r} (allowed are 1, for yes, and -1)")
        return [name for name, value in zip(part.names, values, strict=True) if value == "1"]
    if role == "split":
        if values[0] not in _SPLITS:
            raise ValueError(f"has {values[0][:20]!r} (allowed are 0, 1 and 2)")
        return _SPLITS[values[0]]
    numbers = list(map(float, values))
    if role == "identity":
        return int(numbers[0])
    if role == "boxes":
        x, y, width, height = numbers
        return [[x, y, x + width, y + height]]
    return [[numbers[column], numbers[column + 1]] for column in range(0, len(numbers) - 1, 2)]


def _columns(cells: Mapping[str, SpooledColumn]) -> Columns:
    kinds = {"attributes": "multi_label", "landmarks": "keypoints", "identity": "number"}
    targets = {name: name for name in kinds if name in cells}
    return Columns(
        image="image",
        targets=targets,
        kinds={name: kinds[name] for name in targets},
        boxes="boxes" if "boxes" in cells else None,
        split="split" if "split" in cells else None,
    )
