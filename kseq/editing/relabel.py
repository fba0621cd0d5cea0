"""Other labels for some samples of a packed dataset, from a file that names them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, NamedTuple

import numpy as np

from kseq.editing.classes import ClassNumbers, class_field, class_names, with_class_names
from kseq.editing.columns import column_of, rows_of, with_values, without
from kseq.editing.sample_lists import read_cells
from kseq.editing.transaction import begin_transaction
from kseq.errors import SourceError
from kseq.sources.cell_types import parse_list
from kseq.sources.column_roles import USUAL
from kseq.storage.fields import Field

__all__ = ["LabelChange", "RelabelReport", "relabel"]


class LabelChange(NamedTuple):
    """How many samples went from one class to another.

    Attributes:
        before: The class name before; in a field of several labels, the names of all of them with `|` between them.
        after: The class name now, in the same form.
        num_samples: How many samples changed so.
    """

    before: str
    after: str
    num_samples: int


@dataclass(frozen=True)
class RelabelReport:
    """What `kseq.relabel` did.

    Attributes:
        path: The dataset's folder.
        field: The name of the field that has other labels now.
        new_class_names: The classes that were added.
        num_named: How many samples the file names.
        num_changed: How many of them had another label before.
        label_changes: From which class to which samples went, the change of the most samples first.
    """

    path: str
    field: str
    new_class_names: tuple[str, ...]
    num_named: int
    num_changed: int
    label_changes: list[LabelChange] = dataclass_field(repr=False)


def relabel(
    dataset: str | os.PathLike[str],
    file: str | os.PathLike[str],
    *,
    field: str = "label",
    column: str | None = None,
    add_classes: bool = False,
) -> RelabelReport:
    """Give some samples other labels; all others keep theirs.

    The labels become a column of the index, the shards stay as they are. Where nothing would change, nothing is published.

    Args:
        dataset: The dataset's folder.
        file: A table (CSV, JSON Lines or Parquet) with a column `id` of sample ids, or `source` (or `path` and the like) of
            sources, and one of labels: the name of a class or, where no class is called like a number, its number. For a field
            of several labels, a list or names with `|` between them; an empty cell is none. A sample is named once at most.
        field: The label, or a field of several labels; those of boxes must stay as many.
        column: The column of the labels; None for one that is called like the field, or as tables call labels (`label`,
            `class` and the like), or the only one that is left.
        add_classes: Names that are no class yet become classes, numbered after the others in the order in which they come;
            else they are refused, since most are typing errors.

    Raises:
        ArgumentError: Where there is no such field.
        SourceError: Where the file cannot be read, or a row names no sample or no class.
        DatasetNotFoundError: Where there is no dataset.
        LockedError: Where another process changes it.
        WriteError: Where the operating system refuses; the dataset is then as it was.
    """
    with begin_transaction(dataset) as change:
        index = change.index
        found = class_field(index, field)
        named, cells = read_cells(index, file, column, (field, *(USUAL["label"] if field == "label" else ())))
        classes = ClassNumbers(class_names(index, found), add=add_classes)
        values = [_value(found, classes, cell, f"{named.path}: row {row}") for row, cell in zip(named.rows, cells, strict=True)]
        now = column_of(index, found)
        before = rows_of(now, found, named.ids)
        _check_boxes(found, named.path, named.rows, before, values)
        differ = [place for place, (old, new) in enumerate(zip(before, values, strict=True)) if not np.array_equal(old, new)]
        counts = Counter((_told(classes, before[place]), _told(classes, values[place])) for place in differ)
        added = tuple(classes.names[len(class_names(index, found)) :])
        if differ:
            made = with_values(now, found, named.ids[differ], [values[place] for place in differ])
            columns = {**without(dict(index.columns), field), **made}
            news = with_class_names(index, found, classes.names) if added else {}
            change.publish(_said(field, len(differ), added, named.path), columns=columns, **news)
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        changes = [LabelChange(old, new, count) for (old, new), count in ordered]
        return RelabelReport(change.folder, field, added, len(named.ids), len(differ), changes)


def _value(field: Field, classes: ClassNumbers, cell: Any, place: str) -> np.ndarray:
    try:
        if field.is_ragged:
            return np.array([classes.find(each) for each in parse_list(cell)], field.dtype)
        return np.array(classes.find(cell), field.dtype)
    except SourceError as error:
        raise SourceError(f"{place}: {error}") from error


def _check_boxes(field: Field, path: str, rows: Sequence[int], before: Sequence[np.ndarray], now: Sequence[np.ndarray]) -> None:
    """Raise SourceError where the labels of boxes are not as many as before."""
    if field.handler.leader is None:
        return
    for row, old, new in zip(rows, before, now, strict=True):
        if len(old) != len(new):
            raise SourceError(f"{path}: row {row}: has {len(new)} labels, the sample has {len(old)} boxes")


def _told(classes: ClassNumbers, value: np.ndarray) -> str:
    return "|".join(classes.names[number] for number in np.atleast_1d(value).tolist())


def _said(field: str, changed: int, added: Sequence[str], path: str) -> str:
    new = f", new classes {', '.join(map(repr, added))}" if added else ""
    return f"relabel {'' if field == 'label' else f'{field}, '}{changed} samples by {os.path.basename(path)!r}{new}"
