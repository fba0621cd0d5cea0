"""Datasets of the packages `datasets` and torchvision as iterables: their images unread, their classes by name.

The rules:

- Of a `DatasetDict` (also `IterableDatasetDict`) each key is a split, of a `Dataset` its `split` is, as far as they are called
  like one; what is called otherwise goes to train, and a line says so.
- Columns of the feature `Image` are not decoded: their bytes are packed as they are. A column of the feature `ClassLabel` has
  the names of its classes, in their order; -1 is no label.
- Of any other object with a list `classes` of names, labels that are numbers are positions in it, as torchvision has it.

No package is imported: an object is told by the module of its type.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kseq.errors import tell
from kseq.sources.split_names import SPLITS, folder_split

__all__ = ["HubDataset", "find_hub_dataset", "listed_classes"]


class HubDataset(NamedTuple):
    """A dataset of the package `datasets`.

    Attributes:
        parts: Its splits by their names; one without a name if it has none.
        class_names: The names of classes by the column that has them.
    """

    parts: Mapping[str, Any]
    class_names: Mapping[str, Sequence[str]]

    def elements(self) -> Iterator[tuple[str | None, dict[str, Any]]]:
        """All samples, each with the split that it is in."""
        for name, part in self.parts.items():
            split = _split(name)
            for element in _undecoded(part):
                yield split, {column: self._value(part, column, value) for column, value in element.items()}

    def _value(self, part: Any, column: str, value: Any) -> Any:
        feature = part.features.get(column) if part.features else None
        if _is(feature, "Image") and isinstance(value, Mapping):
            return value.get("path") if value.get("bytes") is None else value["bytes"]
        return _named(feature, value)


def find_hub_dataset(value: Any) -> HubDataset | None:
    """The dataset that an object is; None if it is of no such package."""
    if not _is_of_package(value):
        return None
    parts = dict(value.items()) if isinstance(value, Mapping) else {str(getattr(value, "split", None) or ""): value}
    names: dict[str, dict[str, None]] = {}
    for part in parts.values():
        for column, feature in (getattr(part, "features", None) or {}).items():
            known = _class_feature(feature)
            if known is not None:
                names.setdefault(column, {}).update(dict.fromkeys(known.names))
    return HubDataset(parts, {column: list(found) for column, found in names.items()})


def listed_classes(value: Any) -> list[str] | None:
    """The names that an object lists as its classes; None if it lists none."""
    classes = getattr(value, "classes", None)
    is_list = isinstance(classes, (list, tuple)) and bool(classes) and all(isinstance(name, str) for name in classes)
    return list(classes) if is_list and isinstance(classes, (list, tuple)) else None


def _is_of_package(value: Any) -> bool:
    module = type(value).__module__.partition(".")[0]
    return module == "datasets" and (isinstance(value, Mapping) or hasattr(value, "features"))


def _is(feature: Any, name: str) -> bool:
    return type(feature).__name__ == name and type(feature).__module__.partition(".")[0] == "datasets"


def _class_feature(feature: Any) -> Any:
    """The feature of classes that a feature is, or a list of which it is; None if it is neither."""
    inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", feature)
    return inner if _is(inner, "ClassLabel") else None


def _named(feature: Any, value: Any) -> Any:
    """Numbers of classes as names; any other value as it is."""
    known = _class_feature(feature)
    if known is None:
        return value
    if isinstance(value, list):
        return [_named(known, number) for number in value]
    is_number = isinstance(value, int) and 0 <= value < len(known.names)
    return known.names[value] if is_number else None if value == -1 else value


def _undecoded(part: Any) -> Iterable[Mapping[str, Any]]:
    """The rows of a split, with images as bytes or paths."""
    features = part.features or {}
    for column, feature in features.items():
        if _is(feature, "Image"):
            part = part.cast_column(column, type(feature)(decode=False))
    rows: Iterable[Mapping[str, Any]] = part.with_format(None) if hasattr(part, "with_format") else part
    return rows


def _split(name: str) -> str | None:
    """The split that a name tells: `train`, `validation`, `train[:80%]`."""
    word = re.split(r"[\[+]", name)[0].strip().lower()
    found = SPLITS.get(word) or folder_split(word)
    if found is None and word:
        tell(f"the dataset has a split {name!r}, which is called like neither train, val nor test: it goes to train")
    return found
