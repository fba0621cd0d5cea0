"""Files beside records that name numbered classes: label maps, and the lists of TensorFlow Datasets and of TF-Slim.

The rules:

- A label map (`.pbtxt`) lies in the folder of the records, or in the one around it; of several, the one that is called like a
  label map. The name of a class is its `display_name`, else its `name`; a record may say either.
- `FEATURE.labels.txt` in the folder of the records has a name in each line, from class 0 on; `/` in the name of the feature is
  written `-` or `.`. In `labels.txt`, each line is `NUMBER:NAME`.

Source: `object_detection/protos/string_int_label_map.proto` and `slim/datasets/dataset_utils.py` in
github.com/tensorflow/models; the metadata files of TensorFlow Datasets.
"""

from __future__ import annotations

import ast
import glob
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kseq.errors import SourceError
from kseq.sources.class_names import compose_class_name
from kseq.sources.text import describe_bytes, open_text
from kseq.storage.rejected import with_remedy

__all__ = ["LABEL_FILES", "NumberedNames", "find_names"]

LABEL_FILES = r"(\.pbtxt|labels\.txt)"
"""A regular expression for the end of the names of such files."""

# `item { id: 1 name: 'cat' }`, in any order, with keypoints and other messages in it.
_ITEM = re.compile(r"\bitem\s*:?\s*\{")
_STRING = r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'"
_TOKEN = re.compile(rf"#[^\n]*|({_STRING})|(\w+)\s*:|([{{}}])|(-?\d+)|[^\s]")
_NUMBERED_LINE = re.compile(r"(\d+):(.*)")
# A label map of all classes of Open Images has 60 kB; a file with more than this is something else.
_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class NumberedNames:
    """What a file says of classes.

    Attributes:
        path: The file.
        names: The name of each class by its number, in the order of the numbers.
        numbers: The number of each class by all of its names.
    """

    path: str
    names: Mapping[int, str]
    numbers: Mapping[str, int]


def find_names(folder: str, feature: str | None, *, has_label_map: bool = True) -> NumberedNames | None:
    """What a file beside records says of the classes of a feature; None if there is none, or several are as good.

    Args:
        folder: The folder of the records.
        feature: The feature that holds the numbers of classes; None if there is none.
        has_label_map: Whether a label map may name them.

    Raises:
        SourceError: If such a file cannot be read.
    """
    if feature is not None:
        for name in (feature.replace("/", "-"), feature.replace("/", ".")):
            path = os.path.join(folder, f"{name}.labels.txt")
            if os.path.isfile(path):
                return _of_names(path, dict(enumerate(filter(None, map(str.strip, _read(path).split("\n"))))), {})
    for parent in (folder, os.path.dirname(os.path.abspath(folder))) if has_label_map else ():
        maps = [found for path in _pbtxt_files(parent) if (found := _read_label_map(path)) is not None]
        named = [found for found in maps if "label" in os.path.basename(found.path).lower()]
        for chosen in (maps, named):
            if len(chosen) == 1:
                return chosen[0]
        if maps:
            return None
    path = os.path.join(folder, "labels.txt")
    lines = _read(path).split("\n") if os.path.isfile(path) else []
    matches = [match for line in lines if (match := _NUMBERED_LINE.fullmatch(line.strip())) is not None]
    return _of_names(path, {int(match[1]): match[2].strip() for match in matches}, {}) if matches else None


def _pbtxt_files(folder: str) -> list[str]:
    return sorted(path for path in glob.glob(os.path.join(glob.escape(folder), "*.pbtxt")) if os.path.isfile(path))


def _read(path: str) -> str:
    """The text of such a file.

    Raises:
        SourceError: If it cannot be read, is no text, or is too large to be one.
    """
    try:
        with open_text(path, strict=True) as file:
            text = file.read(_MOST_BYTES + 1)
    except UnicodeError as error:
        raise SourceError(f"{path}: names classes, and {with_remedy(describe_bytes(error))}") from error
    except OSError as error:
        raise SourceError(f"{path}: names classes, and cannot be read: {error.strerror}") from error
    if len(text) > _MOST_BYTES:
        raise SourceError(f"{path}: has more than {_MOST_BYTES:,} characters, a file of class names has fewer")
    return text


def _of_names(path: str, names: Mapping[int, str], others: Mapping[str, int]) -> NumberedNames:
    composed = {number: compose_class_name(names[number]) for number in sorted(names)}
    return NumberedNames(path, composed, {**others, **{name: number for number, name in composed.items()}})


def _read_label_map(path: str) -> NumberedNames | None:
    """What a label map says; None if a `.pbtxt` is something else, such as a graph.

    Raises:
        SourceError: If it is a label map, and two of its classes have one number or one name.
    """
    text = _read(path)
    names: dict[int, str] = {}
    others: dict[str, int] = {}
    for item in _items(text):
        number, name = item.get("id", "0"), item.get("display_name", item.get("name"))
        if name is None or not re.fullmatch(r"-?\d{1,9}", number):
            continue
        if int(number) in names or name in names.values():
            raise SourceError(f"{path}: two classes have the id {number} or the name {name!r}, allowed is one of each")
        names[int(number)] = name
        others[compose_class_name(item.get("name", name))] = int(number)
    return _of_names(path, names, others) if names else None


def _items(text: str) -> Iterator[dict[str, str]]:
    """The values of each item of a label map by their keys, without those of messages inside."""
    for start in _ITEM.finditer(text):
        item: dict[str, str] = {}
        depth, key = 1, ""
        for token in _TOKEN.finditer(text, start.end()):
            string, name, brace, number = token.groups()
            depth += {"{": 1, "}": -1}.get(brace or "", 0)
            if depth == 0:
                yield item
                break
            if name:
                key = name
            elif depth == 1 and key and (string or number):
                item[key] = _unquote(string) if string else number
                key = ""


def _unquote(string: str) -> str:
    """The text of a string in quotes; escapes are those of C, of which bytes stand for UTF-8."""
    try:
        text: str = ast.literal_eval(string)
        return text.encode("latin-1").decode() if re.search(r"\\[0-7x]", string) else text
    except (ValueError, SyntaxError):
        return string[1:-1]
