"""Lists of paths and labels, texts or masks in text files: `train.txt` with lines `images/1.jpg 3`, MXNet's `.lst`.

The rules:

- A line is a path that ends as an image, and what follows: a mask, if it is such a path too; a label, if all are numbers, or
  words of which each is used twice on average; a target, if all are numbers with decimals; else a text. Between them are
  spaces, a tab or a comma; quotes around a path or a text are none of it. In a `.lst` it may be a number, the label and the
  path. Blank lines, those that begin with `#`, and a first one with names of columns (`image label`) are none.
- In a folder, lists are told by their lines, and by an image that lies where a line says. Of several, each is called like
  another split (`train.txt`, `val_list.txt`), which is that of its images; other files are no lists. Beside folders that are
  called like classes, lists that name less than half of the images are none.
- Paths are relative to the folder of the list, the collection, or another folder in it where the images lie; they may have
  backslashes. A path that two lists name is in the first; what no list names is counted.
- Numbers are the names of classes, unless a file beside them has the names (`classes.txt`, `label_list.txt`; by its numbers, or
  in its order), or each number goes with one folder of images, and each folder with one number. They are from 0 on; from 1 on
  where none is 0 and the highest is the number of names. A file that has no name for one of them names none.

Source: the lists of Caffe, of PaddleClas, PaddleSeg, PaddleOCR and MMPretrain, and of ICDAR's task of words; `im2rec` of MXNet.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from kseq.arguments import spelled
from kseq.errors import SourceError
from kseq.images.formats import IMAGE_END
from kseq.sources.base import Source
from kseq.sources.column_roles import Columns
from kseq.sources.listing import Listing, folder_of, list_folder, read_ends, stem_of
from kseq.sources.source_format import SourceFormat, SourceRequest, check_is_file, check_root
from kseq.sources.split_names import loose_folder_split
from kseq.sources.split_tables import find_place
from kseq.sources.spooled_column import BLOCK_ROWS
from kseq.sources.table import TableSource
from kseq.sources.table_files import Block, Table
from kseq.sources.text import describe_text, open_text

__all__ = ["LISTS"]

_FILE_NAMES = r"\.(txt|lst)"
# The first letter is looked for before all that may follow it: lists have millions of lines.
_END = rf"(?=\.){IMAGE_END}"
_IMAGE, _VALUE, _SPLIT = _COLUMNS = ("image", "value", "split")
_LINE = re.compile(rf'(.+?{_END})(?: *\t *(?:[^\t]+)| *[,;] *(?:".*"|[^\t,;]+)| +(?:[^\t]+))')
_PATH = re.compile(rf".+?{_END}(?=[ \t,;])")
# Seen in a list at once, whatever lines it has.
_MARK = re.compile(rf"{_END}[\s,;]")
_NUMBERED_LINE = re.compile(rf"\d+\t(-?\d+(?:\.0*)?)\t(.+{_END})")
# Python makes no number of thousands of digits.
_NUMBER = re.compile(r"-?\d{1,18}(?:\.0*)?", re.ASCII)
_DECIMAL = re.compile(r"-?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_QUOTED_PATH = re.compile(rf'"([^"]+{_END})"')
_COLUMN_NAMES = re.compile(r"(image|img|file|path)\w* +[a-z]\w*", re.IGNORECASE)
# Boxes, several labels, shapes as JSON, several images: none of what a list has.
_NO_VALUE = re.compile(rf"-?[\d.]+(?:[\s,]+-?[\d.]+)+|[\[{{].*|.*{_END}[\s,;].*")
_MASK = re.compile(rf".*{_END}")
# A list is told by so many lines, the first of which have no fault; of files called so by no more than some.
_HEAD_LINES, _LOOKED_FOR, _MOST_LISTS = 200, 5, 20
# How often a word is used, on average, that is a label; of so many lines in which each word may be another class.
_LEAST_USES, _LEAST_USES_OF_MANY, _MANY_LINES = 2, 5, 20_000
_SHOWN = 40
_FROM_ONE = "the numbers of its lists are from 1 on"

_CLASS_FILE = re.compile(
    r"((class|label|category)_?)?(class(es)?|labels?|names?|categories|list|map|synsets?)\.txt", re.IGNORECASE
)
_NUMBER_FIRST, _NUMBER_LAST = re.compile(r"(\d+)[\s:,]+(.+)"), re.compile(r"(.+?)[\s:,]+(\d+)")


class _Lists(NamedTuple):
    """The lists of a folder.

    Attributes:
        folders: Each list, and the folder in the collection that its paths are relative to.
        splits: The split of each; empty for a single list that is called like none.
        kind: What follows a path: `"label"`, `"number"`, `"text"` or `"mask"`.
    """

    folders: dict[str, str]
    splits: dict[str, str]
    kind: str


class _Line(NamedTuple):
    path: str
    value: str
    fault: str | None = None


def _parse(line: str, *, may_be_numbered: bool) -> _Line | None:
    """A line of a list; None if it is none."""
    line = _QUOTED_PATH.sub(r"\1", line, count=1) if line[0] == '"' else line
    numbered = _NUMBERED_LINE.fullmatch(line) if may_be_numbered else None
    if numbered is not None:
        value, path = numbered.groups()
    elif _LINE.fullmatch(line):
        path = _PATH.match(line)[0]  # type: ignore[index]  # it begins as the line does
        value = line[len(path) :].strip(" \t,;")
    else:
        return None
    if not value or _NO_VALUE.fullmatch(value):
        return None
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1].replace('\\"', '"').replace('""', '"')
    # MXNet writes 1.000000.
    return _Line(path, value.partition(".")[0] if _NUMBER.fullmatch(value) else value)


def _lines(path: str) -> Iterator[_Line]:
    """All lines of a list; one that is none has a fault."""
    name = os.path.basename(path)
    may_be_numbered = name.lower().endswith(".lst")
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            text = line.strip()
            if text and text[0] != "#" and not (number == 1 and _COLUMN_NAMES.fullmatch(text)):
                yield _parse(text, may_be_numbered=may_be_numbered) or _Line(
                    "", "", f"is line {number} of {name}, {describe_text(text[:_SHOWN])}, expected are a path and a label"
                )


def _head(path: str) -> list[_Line]:
    """The first lines of a list; nothing if a file is none."""
    if _MARK.search(read_ends(path)) is None:
        return []
    try:
        lines = list(islice(_lines(path), _HEAD_LINES))
    except (OSError, UnicodeError):
        return []
    return lines if all(line.fault is None for line in lines[:_LOOKED_FOR]) else []


def _kind(path: str, lines: Sequence[_Line]) -> str:
    """What follows the paths of a list: a label, a number with decimals, a text, or the path of a mask.

    Args:
        path: The list.
        lines: Its first lines.
    """
    values = {line.value for line in lines if line.fault is None}
    if all(map(_MASK.fullmatch, values)):
        return "mask"
    if all(map(_DECIMAL.fullmatch, values)):
        return "label" if all(map(_NUMBER.fullmatch, values)) else "number"
    if _LEAST_USES * len(values) <= len(lines):
        return "label"
    # Of two hundred classes, the first lines have but one image each.
    many = [line.value for line in islice(_lines(path), _MANY_LINES) if line.fault is None]
    return "label" if _LEAST_USES_OF_MANY * len(set(many)) <= len(many) else "text"


def _find_lists(listing: Listing) -> _Lists | None:
    """The lists of a folder; None if it has none whose images are there, or one cannot tell which ones count."""
    folders: dict[str, str] = {}
    kinds: dict[str, str] = {}
    for name in listing.ending(".txt", ".lst")[:_MOST_LISTS]:
        lines = _head(listing.full_path(name)) if name.count("/") <= 1 else []
        place = _place(listing, name, lines)
        if place is not None:
            folders[name], kinds[name] = place, _kind(listing.full_path(name), lines)
    splits = {name: split for name in folders if (split := loose_folder_split(stem_of(name))) is not None}
    if len(folders) > 1 or splits:
        # Of a list of all images and those of its parts, the parts say more.
        folders = {name: place for name, place in folders.items() if name in splits}
    told = {kinds[name] for name in folders}
    return _Lists(folders, splits, told.pop()) if len(told) == 1 and len(set(splits.values())) == len(splits) else None


def _is_folder(listing: Listing) -> bool:
    """Whether a folder is one of lists: not one of classes with a list of some of their images."""
    lists = _find_lists(listing)
    if lists is None or listing.has_no_class:
        return lists is not None
    rows = _Rows(listing.path, lists, is_below=True)
    paths = (path for block in rows.read_blocks([_IMAGE]) for path in block.columns[0] if path)
    named = {os.path.normpath(path.removeprefix(_top(listing.path)).replace("\\", "/")) for path in paths}
    return 2 * sum(image in named for image in listing.images) >= len(listing.images)


def _place(listing: Listing, name: str, lines: Sequence[_Line]) -> str | None:
    """The folder that the paths of a list are relative to; None if its first images lie in none."""
    if any(line.path.startswith(_top(listing.path)) for line in lines[:_LOOKED_FOR]):
        return ""
    first = (_slashed(line.path) for line in lines[:_LOOKED_FOR])
    return find_place(listing, folder_of(name), loose_folder_split(stem_of(name)), first)


def _top(folder: str) -> str:
    """What paths in a folder begin with that are written from the top of the system on."""
    return os.path.join(os.path.abspath(folder), "")


def _slashed(path: str) -> str:
    """A path that may have been written on Windows."""
    return path if "/" in path else path.replace("\\", "/")


def _open(request: SourceRequest) -> Source:
    """Open a list, or a folder of lists.

    Raises:
        SourceError: If it is none, or none of its images can be packed.
    """
    path = request.path
    is_folder = os.path.isdir(path)
    listing = list_folder(path) if is_folder else None
    lists = _open_file(path) if listing is None else _open_folder(listing)
    folder = path if is_folder else os.path.dirname(path)
    rows = _Rows(folder, lists, is_below=request.image_root is None)
    names, note = ({}, None) if lists.kind != "label" else _name_classes(folder, lists, rows, request.class_names)
    rows.names = names
    notes = [note] if note else []
    if listing is not None:
        told = f"{lists.kind}s{' and splits' if lists.splits else ''}"
        as_classes = f" ({spelled('source_format', 'folder')} packs its folders as classes)"
        of_lists = f"{path}: the {told} of its images are those of {', '.join(lists.folders)}"
        notes.append(of_lists if listing.has_no_class else of_lists + as_classes)
    source = TableSource.of_table(
        Table(path, list(_COLUMNS), rows.read_blocks),
        Columns(
            image=_IMAGE,
            label=_VALUE if lists.kind == "label" else "",
            targets={_VALUE: _VALUE} if lists.kind == "number" else None,
            text=_VALUE if lists.kind == "text" else None,
            mask=("mask", _VALUE) if lists.kind == "mask" else None,
            split=_SPLIT if lists.splits else None,
        ),
        check_root(os.path.join(path, "") if is_folder else path, request.image_root),
        list(names.values()) or request.class_names,
        follow_links=request.follow_links,
        storage_options=request.storage_options,
    )
    return replace(source, notes=(*notes, *source.notes))


def _open_folder(listing: Listing) -> _Lists:
    lists = _find_lists(listing)
    if lists is None:
        raise SourceError(
            f"{listing.path}: has no lists of paths and labels, texts or masks, expected are files such as train.txt and "
            "val.txt with lines such as 'images/1.jpg 3', and the images"
        )
    return lists


def _open_file(path: str) -> _Lists:
    check_is_file(path, "lists")
    lines = _head(path) if os.path.isfile(path) else []
    if os.path.isfile(path) and not lines:
        raise SourceError(f"{path}: is no list of paths and labels, expected are lines such as 'images/1.jpg 3'")
    return _Lists({os.path.basename(path): ""}, {}, _kind(path, lines) if lines else "label")


class _Rows:
    """The lines of lists as the rows of a table.

    Args:
        folder: The folder of the lists.
        lists: Which ones they are.
        is_below: Whether paths are relative to the folders of `lists`.

    Attributes:
        names: The names of classes, by their numbers in the lists, in the order of these.
    """

    def __init__(self, folder: str, lists: _Lists, *, is_below: bool) -> None:
        self._folder = folder
        self._lists = lists
        self._is_below = is_below
        self.names: Mapping[str, str] = {}

    def read_blocks(self, asked: Sequence[str]) -> Iterator[Block]:
        rows = self._rows()
        while block := list(islice(rows, BLOCK_ROWS)):
            cells = dict(zip(_COLUMNS, zip(*(row for row, _ in block), strict=True), strict=True))
            faults = [fault for _, fault in block]
            yield Block([cells[name] for name in asked], faults if any(faults) else ())

    def _rows(self) -> Iterator[tuple[tuple[str | None, str | None, str | None], str | None]]:
        for name, place in self._lists.folders.items():
            split = self._lists.splits.get(name)
            for path, value, fault in _lines(os.path.join(self._folder, name)):
                value = self._placed(value, place) if self._lists.kind == "mask" and not fault else self._named(value)
                yield (None, None, None) if fault else (self._placed(path, place), value, split), fault

    def _named(self, value: str) -> str:
        """The name of the class of a number, which may have zeros before it."""
        return self.names.get(value) or self.names.get(value.lstrip("0") or "0", value)

    def _placed(self, path: str, place: str) -> str:
        if path[0] == "/" and not os.path.lexists(path):
            # Relative to the collection, all the same.
            path = path.lstrip("/")
        return f"{place}/{path}" if self._is_below and place and path[0] != "/" else path

    def _lines(self) -> Iterator[_Line]:
        """The lines of all lists without a fault."""
        for name in self._lists.folders:
            yield from (line for line in _lines(os.path.join(self._folder, name)) if line.fault is None)

    def values(self) -> set[str]:
        """What follows the paths."""
        return {line.value for line in self._lines()}

    def folder_names(self) -> dict[str, str]:
        """The name of the folder of the images of each number, in the order of the numbers; nothing if images of one number
        lie in several, or those of several in one."""
        folders: dict[str, str] = {}
        for path, value, _ in self._lines():
            folder = _slashed(path).rpartition("/")[0].rpartition("/")[2]
            if not (folder and _NUMBER.fullmatch(value) and folders.setdefault(value, folder) == folder):
                return {}
        differ = len(folders) > 1 and len(set(folders.values())) == len(folders)
        return {value: folders[value] for value in sorted(folders, key=int)} if differ else {}


def _name_classes(folder: str, lists: _Lists, rows: _Rows, given: Sequence[str] | None) -> tuple[dict[str, str], str | None]:
    """The name of the class of each number, and what to say of that; no names where labels are names themselves."""
    if given is not None:
        values = rows.values()
        if not values.isdisjoint(given):
            return {}, None
        names, is_from_one = _by_number(values, dict(enumerate(given)))
        # A number without a name rejects its images.
        return names or {str(number): name for number, name in enumerate(given)}, _FROM_ONE if is_from_one else None
    file = next(_class_files(folder, lists), None)
    if file is None:
        return rows.folder_names(), None
    with open_text(file) as opened:
        in_file = _numbered([line.strip() for line in opened if line.strip()])
    if len(set(in_file.values())) < len(in_file):
        return {}, f"{file}: names a class twice: classes are called by their numbers"
    names, is_from_one = _by_number(rows.values(), in_file)
    if not names:
        return (
            {},
            f"{file}: has not the names of all {len(rows.values()):,} classes of its lists, which are called as these say",
        )
    return names, f"{file}: has the names of the classes{f'; {_FROM_ONE}' if is_from_one else ''}"


def _by_number(values: set[str], names: Mapping[int, str]) -> tuple[dict[str, str], bool]:
    """The names of classes by their numbers in lists, and whether these are one higher; no names if they do not fit.

    Args:
        values: What the lists have: numbers, of which negative ones mean no class, or names.
        names: The names, by their numbers.
    """
    numbers = {int(value) for value in values if _NUMBER.fullmatch(value)}
    numbers = {number for number in numbers if number >= 0}
    words = {value for value in values if not _NUMBER.fullmatch(value)}
    is_from_one = bool(numbers) and 0 in names and min(numbers) > 0 and max(numbers) == len(names)
    placed = {number + is_from_one: name for number, name in names.items()}
    fits = numbers <= placed.keys() and words <= set(names.values())
    return {str(number): name for number, name in placed.items()} if fits else {}, is_from_one and fits


def _class_files(folder: str, lists: _Lists) -> Iterator[str]:
    """The files of names of classes beside lists, or at the top."""
    for place in dict.fromkeys([*map(folder_of, lists.folders), ""]):
        for name in sorted(os.listdir(os.path.join(folder, place) or ".")):
            file = os.path.join(folder, place, name)
            if _CLASS_FILE.fullmatch(name) and os.path.isfile(file) and not _head(file):
                yield file


def _numbered(lines: list[str]) -> dict[int, str]:
    """Names by their numbers, from 0 or 1 on, where each line has one, before or behind its name; else by their order."""
    for form, number, name in ((_NUMBER_FIRST, 1, 2), (_NUMBER_LAST, 2, 1)):
        found = [match for line in lines if (match := form.fullmatch(line)) is not None]
        names = {int(match[number]): match[name] for match in found}
        if (
            len(found) == len(lines)
            and names
            and sorted(names) == list(range(min(names), min(names) + len(lines)))
            and min(names) < 2
        ):
            return dict(sorted(names.items()))
    return dict(enumerate(lines))


LISTS = SourceFormat(
    "lists",
    _open,
    (".txt", ".lst"),
    _FILE_NAMES,
    _is_folder,
    is_file=lambda path: bool(_head(path)),
    has_root=True,
    has_links=True,
    downloads=_FILE_NAMES,
    siblings=_CLASS_FILE.pattern,
)
