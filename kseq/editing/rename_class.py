"""Giving a class of a packed dataset another name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from dataclasses import field as dataclass_field

from kseq.arguments import spelled, spelled_call
from kseq.editing.classes import class_field, with_class_names
from kseq.editing.transaction import begin_transaction
from kseq.errors import ArgumentError
from kseq.sources.cell_types import parse_class_name
from kseq.storage.class_names import no_such_class
from kseq.storage.report import Report

__all__ = ["RenameClassReport", "rename_class"]


@dataclass(frozen=True)
class RenameClassReport(Report):
    """What `kseq.rename_class` did.

    Attributes:
        path: The dataset's folder.
        field: The name of the field that the class belongs to.
        class_names: The class name of each number of the field now.
        class_number: The number of the class, which stays the same.
    """

    path: str
    field: str
    class_names: tuple[str, ...] = dataclass_field(repr=False)
    class_number: int


def rename_class(dataset: str | os.PathLike[str], old: str, new: str, *, field: str = "label") -> RenameClassReport:
    """Give a class another name; its number and its samples stay the same.

    Args:
        dataset: The dataset's folder.
        old: The name of a class.
        new: The new name, which no other class of the field has.
        field: The label, or a field of several labels.

    Raises:
        ArgumentError: If there is no such field or class, or another class is called `new`.
        DatasetNotFoundError: If there is no dataset.
        LockedError: If another process changes the dataset.
        WriteError: If the operating system refuses to write; the dataset is then as it was.
    """
    with begin_transaction(dataset) as change:
        labels_field = class_field(change.index, field)
        names = labels_field.handler.class_names(change.index.class_names)
        if old not in names:
            raise ArgumentError(f"{change.folder}: {field}: {no_such_class(old, names)}")
        if new in names:
            raise ArgumentError(
                f"{change.folder}: {field}: there is a class {new!r} already: {spelled_call('relabel')} makes one of two"
            )
        if parse_class_name(new) != new:
            raise ArgumentError(
                f"{spelled('new', new)}: allowed is a name that is not empty, not 'nan', without surrogates, and with no space "
                "at its ends"
            )
        number = names.index(old)
        renamed = (*names[:number], new, *names[number + 1 :])
        description = f"rename-class {old!r} to {new!r}{'' if field == 'label' else f' of {field}'}"
        change.publish(description, **with_class_names(change.index, labels_field, renamed))
        return RenameClassReport(change.folder, field, renamed, number)
