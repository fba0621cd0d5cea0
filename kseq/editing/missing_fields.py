"""How a source gets the fields of the dataset that it is appended to: the arguments that the packing had."""

from __future__ import annotations

from typing import Any

from kseq.arguments import spelled
from kseq.sources.assemble import MASK
from kseq.sources.masked_source import MaskedSource
from kseq.sources.object_masks import INSTANCES, SEMANTIC
from kseq.storage.field_kinds import Instances, Mask, MultiLabel, Numbers
from kseq.storage.fields import Field

__all__ = ["describe_missing", "describe_surplus"]

_COLUMN = "COLUMN"
# Kinds that the cells of a target tell.
_TOLD = (Numbers.name, MultiLabel.name)


def describe_missing(field: Field, source: Any) -> str:
    """Which argument gives a source a field that the dataset has.

    Args:
        field: The field of the dataset.
        source: The source.
    """
    handler = field.handler
    if isinstance(handler, Mask) and isinstance(source, MaskedSource):
        kind, usual = (INSTANCES, Instances.name) if isinstance(handler, Instances) else (SEMANTIC, MASK.name)
        return (
            f"{spelled('columns.mask', kind if field.name == usual else {field.name: kind})} draws it from outlines of objects"
        )
    # A mask of instances has the column of masks only where it is drawn.
    is_single = handler.column is not None and field.name == handler.name and not isinstance(handler, Instances)
    if field.is_image or (isinstance(handler, Mask) and not handler.can_be_target):
        argument = spelled(f"columns.{handler.column}", {field.name: _COLUMN})
    elif is_single or not handler.can_be_target:
        argument = spelled(f"columns.{handler.column}", _COLUMN)
    else:
        argument = spelled("columns.targets", {field.name: _COLUMN})
        if handler.name not in _TOLD:
            argument += f" {spelled('columns.kinds', {field.name: handler.name})}"
    return f"{argument} names its column, if it has one"


def describe_surplus(field: Field) -> str:
    """What keeps a field out that a source has and the dataset has not."""
    if field.is_label:
        return f"{spelled('columns.label', '')} leaves it out"
    column = field.handler.column
    argument = spelled(f"columns.{column}" if column is not None else "columns.targets")
    return f"leave out {argument}, if it makes the field"
