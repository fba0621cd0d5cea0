"""Files beside class folders that seem to say which splits or classes there are: they are not used, and a note says so.

They are told by their names alone, at the top of a folder or zip: `train.txt`, `splits.csv`, `classes.txt`. A list of just the
classes that there are, in their order, says nothing new.
"""

from __future__ import annotations

import re

from kseq.arguments import spelled, spelled_call
from kseq.images.formats import IMAGE_END
from kseq.sources.class_names import sort_class_names
from kseq.sources.listing import Listing
from kseq.sources.split_names import folder_split

__all__ = ["CLASS_ORDER", "find_side_file", "is_split_list"]

CLASS_ORDER = "names of classes"
"""What a file with names of classes is called."""
_TEXTS = re.compile(r"(?P<stem>.+)\.(txt|csv|tsv|json|jsonl|lst|list|ya?ml|names)", re.IGNORECASE)
_SPLITS = re.compile(
    r"(train|test|val)?_?(splits?|folds?|partition|indices|split_?indices)|train_?test_?split|trainval", re.IGNORECASE
)
_CLASSES = re.compile(
    r"(obj\.?|class_?|label_?)?(classes|labels?|names?|categories|map|mapping|list|ind(ex|ices|ict)|idx)(_?(list|map|mapping|names?))?|"
    r"class_?(dict|to_?idx)|idx_?to_?class|cat_?to_?name|words|wnids|\w*synsets?\w*",
    re.IGNORECASE,
)
_IMAGE = re.compile(rf"{IMAGE_END}\b")
# A list of more classes is no command.
_MOST_NAMED = 20


def find_side_file(listing: Listing) -> tuple[str, str, str] | None:
    """What a file at the top of a folder or a zip is, its name, and the way to what it says; None if there is none."""
    stems = {name: match["stem"] for name in listing.others if "/" not in name and (match := _TEXTS.fullmatch(name))}
    for name in stems:
        if is_split_list(name):
            call, columns = spelled_call("pack", "table.csv", "DATASET", root=listing.path), spelled("columns", split="split")
            return "a list of a split", name, f"list the images in a table with image, label and split: {call} with {columns}"
    there = {folder.rpartition("/")[2] for folder in listing.folders}
    for name, stem in stems.items():
        found = _CLASSES.fullmatch(stem) and _describe_classes(listing.head(name), there)
        if found:
            return found[0], name, found[1]
    return None


def is_split_list(name: str) -> bool:
    """Whether a file at the top is called like a list of a split, or of several."""
    match = _TEXTS.fullmatch(name)
    return match is not None and "/" not in name and bool(folder_split(match["stem"]) or _SPLITS.fullmatch(match["stem"]))


def _describe_classes(text: str, folders: set[str]) -> tuple[str, str] | None:
    """What a file with names of classes is, and the way to what it says; None if it says nothing new."""
    if _IMAGE.search(text):
        return "a table of images", f"{spelled_call('pack', 'TABLE', 'DATASET')} packs a table"
    listed = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if not listed or listed == sort_class_names(folders & set(listed)):
        return None
    if set(listed) <= folders and len(listed) <= _MOST_NAMED:
        return f"{CLASS_ORDER} in another order", f"{spelled('class_names', listed)} takes their order"
    return (
        CLASS_ORDER,
        f"{spelled('class_names')} says the order of classes, {spelled_call('rename_class')} gives other names",
    )
