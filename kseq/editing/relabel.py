"""Other labels for some samples of a packed dataset, from a file that names them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, NamedTuple

import numpy as np

from kseq.arguments import path_text
from kseq.editing.class_lookup import ClassLookup
from kseq.editing.classes import class_field, with_class_names
from kseq.editing.columns import read_column, replace_values, select_values, without_field
from kseq.editing.sample_lists import SampleList, read_cells
from kseq.editing.transaction import begin_transaction
from kseq.errors import SourceError
from kseq.sources.column_roles import USUAL
from kseq.sources.list_cells import parse_list
from kseq.storage.fields import Field
from kseq.storage.report import Report

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

    def __str__(self) -> str:
        return f"{self.before} to {self.after}: {self.num_samples:,}"


@dataclass(frozen=True)
class RelabelReport(Report):
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
    """Give some samples other labels; all other samples keep theirs.

    The labels become a column of the index, the shards stay as they are. If nothing would change, nothing is published.

    Args:
        dataset: The dataset's folder.
        file: A table (CSV, JSON Lines or Parquet) with a column `id` of sample ids, or `source` (or `path` and the like) of
            sources, and a column of labels: the name of a class or, if no class has a number as its name, its number. For a
            field of several labels, a list, or names with `|` between them; an empty cell means no labels. Each sample may be
            named once.
        field: The label, or a field of several labels. Labels of boxes must stay as many as the boxes.
        column: The column of the labels; None for the column with the name of the field, or with a usual name of labels
            (`label`, `class` and the like), or the only other column.
        add_classes: Unknown names become classes, numbered after the others in the order in which they appear. Otherwise they
            are an error, since most are typing errors.

    Raises:
        ArgumentError: If there is no such field.
        SourceError: If the file cannot be read, or a row names no sample or no class.
        DatasetNotFoundError: If there is no dataset.
        LockedError: If another process changes the dataset.
        WriteError: If the operating system refuses to write; the dataset is then as it was.
    """
    file = path_text("file", file)
    with begin_transaction(dataset) as change:
        index = change.index
        labels_field = class_field(index, field)
        samples, cells = read_cells(index, file, column, (field, *(USUAL["label"] if field == "label" else ())))
        names = labels_field.handler.class_names(index.class_names)
        classes = ClassLookup(names, add=add_classes)
        values = _parse_labels(labels_field, classes, samples, cells)
        old_column = read_column(index, labels_field)
        old_values = select_values(old_column, labels_field, samples.ids)
        _check_counts(labels_field, samples, old_values, values)
        pairs = zip(old_values, values, strict=True)
        changed = [number for number, (old, new) in enumerate(pairs) if not np.array_equal(old, new)]
        added = tuple(classes.names[len(names) :])
        if changed:
            new_column = replace_values(old_column, labels_field, samples.ids[changed], [values[number] for number in changed])
            change.publish(
                _describe(field, len(changed), added, samples.path),
                columns={**without_field(dict(index.columns), field), **new_column},
                **(with_class_names(index, labels_field, classes.names) if added else {}),
            )
        label_changes = _count_changes(classes, [(old_values[number], values[number]) for number in changed])
        return RelabelReport(change.folder, field, added, len(samples.ids), len(changed), label_changes)


def _parse_labels(field: Field, classes: ClassLookup, samples: SampleList, cells: Sequence[Any]) -> list[np.ndarray]:
    """The value of the field in each row.

    Raises:
        SourceError: If a row names no class.
    """
    values = []
    for row, cell in zip(samples.rows, cells, strict=True):
        try:
            numbers = [classes.find(name) for name in parse_list(cell)] if field.is_ragged else classes.find(cell)
        except SourceError as error:
            raise SourceError(f"{samples.path}: row {row}: {error}") from error
        values.append(np.array(numbers, field.dtype))
    return values


def _check_counts(field: Field, samples: SampleList, old_values: Sequence[np.ndarray], values: Sequence[np.ndarray]) -> None:
    """Raise SourceError if labels of boxes are not as many as before."""
    if field.handler.leader is None:
        return
    for row, old, new in zip(samples.rows, old_values, values, strict=True):
        if len(old) != len(new):
            raise SourceError(f"{samples.path}: row {row}: has {len(new)} labels, the sample has {len(old)} boxes")


def _count_changes(classes: ClassLookup, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[LabelChange]:
    """How many samples went from which class to which, most samples first."""
    counts = Counter((_join_names(classes, old), _join_names(classes, new)) for old, new in pairs)
    changes = [LabelChange(before, after, count) for (before, after), count in counts.items()]
    return sorted(changes, key=lambda change: (-change.num_samples, change.before, change.after))


def _join_names(classes: ClassLookup, value: np.ndarray) -> str:
    return "|".join(classes.names[number] for number in np.atleast_1d(value).tolist())


def _describe(field: str, changed: int, added: Sequence[str], path: str) -> str:
    """The change in one line, for the history."""
    new = f", new classes {', '.join(map(repr, added))}" if added else ""
    return f"relabel {'' if field == 'label' else f'{field}, '}{changed} samples by {os.path.basename(path)!r}{new}"
