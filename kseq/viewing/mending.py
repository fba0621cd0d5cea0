"""Labels changed, samples dropped, changes taken back: what `kseq relabel`, `kseq drop` and `kseq undo` do."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from typing import Any

from kseq.editing.drop import drop
from kseq.editing.relabel import relabel
from kseq.editing.undo import undo
from kseq.errors import ArgumentError
from kseq.viewing.opened import Opened
from kseq.viewing.requests import id_list

__all__ = ["mend"]

# So many samples at most are changed in one go.
_MOST_CHANGED = 100_000

# What the history of a dataset calls the list of a relabelling.
_LIST_NAME = "kseq-view.jsonl"


def mend(opened: Opened, path: str, change: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Make one change of a dataset.

    Args:
        opened: The dataset as the page showed it.
        path: Its folder.
        change: `"relabel"` (`ids`, `class`, `field`, `add`), `"drop"` (`ids`) or `"undo"`.
        asked: What the page sent.

    Returns:
        `done`: what was done, in a line.

    Raises:
        ArgumentError: If what was sent makes no sense.
        KseqError: As the commands raise it.
    """
    if change == "undo":
        report = undo(path)
        return {"done": f"{'Taken back' if report.taken_back else 'Made again'}: {report.change}"}
    ids = id_list(asked.get("ids"), opened.num_ids, _MOST_CHANGED).tolist()
    if change == "drop":
        dropped = drop(path, ids=ids)
        return {"done": f"{_samples(dropped.num_dropped)} dropped"}
    return _relabel(opened, path, ids, asked)


def _relabel(opened: Opened, path: str, ids: list[int], asked: Mapping[str, Any]) -> dict[str, Any]:
    name, class_name, add = asked.get("field", "label"), asked.get("class"), asked.get("add", False)
    field = opened.field(name) if isinstance(name, str) else None
    is_fitting = field is not None and field.handler.has_class_names and field.handler.leader is None
    if field is None or not is_fitting or not isinstance(add, bool):
        raise ArgumentError(f"field={str(name)[:40]}: allowed is a label, or a field of several labels")
    names: list[Any] = class_name if isinstance(class_name, list) else [class_name]
    if not all(isinstance(entry, str) and entry for entry in names) or isinstance(class_name, list) != field.is_ragged:
        raise ArgumentError(f"class={str(class_name)[:40]}: allowed is {'a list of names' if field.is_ragged else 'a name'}")
    with tempfile.TemporaryDirectory(prefix="kseq-view-") as folder:
        listed = os.path.join(folder, _LIST_NAME)
        with open(listed, "w", encoding="utf-8") as file:
            file.writelines(json.dumps({"id": sample_id, name: class_name}) + "\n" for sample_id in dict.fromkeys(ids))
        report = relabel(path, listed, field=name, column=name, add_classes=add)
    return {"done": f"{_samples(report.num_changed)} relabelled {', '.join(names)}"}


def _samples(count: int) -> str:
    return f"{count:,} sample{'s' * (count != 1)}"
