"""Tasks of Label Studio from its CSV export, and tasks that say no more than the class of an image."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kseq.errors import SourceError
from kseq.sources.column_roles import Columns
from kseq.sources.list_cells import is_missing
from kseq.sources.named_files import NamedFiles
from kseq.sources.source_format import SourceRequest
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.table import TableSource
from kseq.sources.table_files import Table
from kseq.sources.text import open_text
from kseq.sources.url_files import FileSizes

__all__ = ["choices_source", "is_csv", "is_csv_export", "read_csv_tasks", "task_choices"]

# What the export adds to the columns of the user.
_ADDED = ("annotation_id", "annotator", "lead_time", "created_at", "updated_at")


def is_csv(path: str) -> bool:
    """Whether a file has a name of a CSV."""
    return re.search(r"\.[ct]sv$", path, re.IGNORECASE) is not None


def is_csv_export(path: str) -> bool:
    """Whether a CSV has the columns that Label Studio adds; raises OSError or UnicodeError."""
    with open_text(path) as file:
        names = {name.strip().strip('"') for name in re.split("[,\t]", file.readline())}
    return len(names.intersection(_ADDED)) >= 3


def read_csv_tasks(path: str) -> list[dict[str, Any]]:
    """The rows of a CSV as tasks of the short form.

    Raises:
        SourceError: If it cannot be read.
    """
    table = Table.open(path, "csv")
    faults = SpooledColumn()
    cells = table.read(table.names, faults)
    rows = zip(*(cells[name] for name in table.names), strict=True)
    tasks = [{name: _value(cell) for name, cell in zip(table.names, row, strict=True) if not is_missing(cell)} for row in rows]
    if not tasks:
        raise SourceError(f"{path}: has no task")
    return tasks


def _value(cell: Any) -> Any:
    if not isinstance(cell, str) or cell.lstrip()[:1] not in ("[", "{"):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


def task_choices(task: Mapping[str, Any]) -> list[str]:
    """The choices of a task; empty if it has none."""
    annotations = task.get("annotations") or task.get("completions")
    if isinstance(annotations, list):
        valid = [known for known in annotations if isinstance(known, dict) and not known.get("was_cancelled")]
        results = valid[0].get("result") if valid else []
        values = [result.get("value") for result in results if isinstance(result, dict)] if isinstance(results, list) else []
        return [str(name) for value in values if isinstance(value, dict) for name in _listed(value.get("choices"))]
    value = task.get("choice", task.get("choices"))
    return [str(name) for name in _listed(value.get("choices") if isinstance(value, dict) else value)]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if is_missing(value) else [value]


def choices_source(
    request: SourceRequest, root: str, images: Sequence[str | None], tasks: Sequence[Mapping[str, Any]]
) -> TableSource:
    """A source of images whose classes are the choices of their tasks.

    Args:
        request: What the source is opened with.
        root: The folder or URL that paths are relative to.
        images: The path of the image of each task; None if it names none.
        tasks: The tasks.

    Raises:
        SourceError: If no image can be packed.
    """
    choices = [task_choices(task) for task in tasks]
    are_several = any(len(names) > 1 for names in choices)
    cells = {
        "image": SpooledColumn(images),
        "choices": SpooledColumn(names if are_several else next(iter(names), None) for names in choices),
    }
    targets, kinds = {"choices": "choices"}, {"choices": "multi_label"}
    columns = Columns(image="image", targets=targets, kinds=kinds) if are_several else Columns(image="image", label="choices")
    files = NamedFiles(root, FileSizes(root, request.follow_links, request.storage_options), request.suffix)
    what = "several labels of an image, the field choices" if are_several else "the classes of the images"
    return TableSource.of_cells(
        request.path,
        root,
        files,
        columns,
        cells,
        SpooledColumn([None] * len(tasks)),
        request.class_names,
        target_classes={"choices": request.class_names} if request.class_names else None,
        storage_options=request.storage_options,
        notes=[f"{request.path}: no task has a box, its choices are {what}"],
    )
