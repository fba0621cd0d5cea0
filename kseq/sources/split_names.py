"""What people call splits: in cells of a table, in names of folders, in names of files.

The rules:

- `train` and `training` mean train; `val`, `valid`, `validation` and `dev` mean val; `test` and `testing` mean test;
  `PublicTest` means val and `PrivateTest` test, as in Kaggle's competitions; in upper or lower case. A cell of a table says one
  of these and nothing else.
- The name of a folder may add what says nothing: `train2017`, `test_set`, `Training Data`, `images_val`, `obj_train_data`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from kseq.arguments import spelled

__all__ = ["SPLITS", "describe_unused_split", "folder_split", "is_split_column", "loose_folder_split", "split_of_path"]

# What people call splits, in lower case, and what kseq calls them.
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "validation": "val",
    "valid": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    # The names of Kaggle's competitions, such as that of FER2013.
    "publictest": "val",
    "privatetest": "test",
}

# What people call columns of splits, and those of marks and numbers that stand for splits.
_COLUMNS = re.compile(
    r"(data_?)?(splits?|sets?|subset|usage|partition|phase|dataset)(_name)?|(split|set)_type|mode", re.IGNORECASE
)
_MARKS = re.compile(r"(is_?)?(train(ing)?|valid(ation)?|val|test)|k?_?folds?(_id)?", re.IGNORECASE)

# Of those, what whole numbers may stand for splits in.
_SPLIT_WORD = re.compile(r"split|set|partition|phase|usage", re.IGNORECASE)

_ADDED = r"(?:sets?|data|dataset|images?|imgs?|labels?|split)"
_FOLDER = re.compile(rf"(?:(?:{_ADDED}|obj)[ _.-]*)?({'|'.join(SPLITS)})[ _.-]*{_ADDED}?[ _.-]*\d*")
_WORDS = re.compile(r"[a-z]+")
# A column of more different marks or folds says something else.
_MOST_MARKS = 20


def folder_split(name: str) -> str | None:
    """The split that the name of a folder tells, or None: `Training Data` tells train."""
    found = _FOLDER.fullmatch(name.lower())
    return None if found is None else SPLITS[found[1]]


def loose_folder_split(name: str) -> str | None:
    """The one split among the words of a folder's name, or None: `seg_train` may mean train, and `bullet train` may not."""
    splits = {split for word in _WORDS.findall(name.lower()) if (split := folder_split(word)) is not None}
    return splits.pop() if len(splits) == 1 else None


def split_of_path(path: str) -> str | None:
    """The split that a folder on the way to a file is called like, the outermost; None if none is."""
    return next((split for folder in path.split("/")[:-1] if (split := folder_split(folder)) is not None), None)


def is_split_column(name: str) -> bool:
    """Whether a column that is called so may say the splits of samples."""
    plain = re.sub(r"[ -]+", "_", name.strip())
    return (_COLUMNS.fullmatch(plain) or _MARKS.fullmatch(plain)) is not None


def describe_unused_split(column: str, cells: Iterable[Any]) -> str | None:
    """What to say of a column that may say splits, and that nobody named; None if it says none."""
    words = {"" if cell is None else str(cell).strip().lower() for cell in cells} - {"", "nan"}
    known, others = sorted(words & SPLITS.keys()), sorted(words - SPLITS.keys())
    if known and not others:
        shown = ", ".join(known)
        return f"the column {column!r} says splits ({shown}) and is not used: {spelled('columns.split', column)} uses it"
    takes = f"{spelled('columns.split')} takes one of train, val and test"
    if known and len(others) <= _MOST_MARKS:
        return (
            f"the column {column!r} says splits ({', '.join(known)}) beside {', '.join(others[:3])}, and is not used: {takes}"
        )
    is_numbered = _SPLIT_WORD.search(column) is not None and all(map(str.isdecimal, words))
    if (_MARKS.fullmatch(column) or is_numbered) and 1 < len(words) <= _MOST_MARKS:
        return f"the column {column!r} may say splits and is not used: {takes}"
    return None
