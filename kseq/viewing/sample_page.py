"""Samples as the page shows them: in a row, or one with all its fields."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from kseq.errors import KseqError
from kseq.reading.described_values import describe_stored, name_of
from kseq.reading.sample_reader import LocatedSamples
from kseq.storage.checksums import checksum, format_checksum
from kseq.storage.fields import Field
from kseq.viewing.opened import Opened

__all__ = ["describe_rows", "describe_sample"]


def describe_sample(opened: Opened, sample_id: int) -> dict[str, Any]:
    """All that is known of a sample. What cannot be read of it is named in `problem`; the rest is still there.

    Returns:
        `id`, `source`, `splits`, `is_dropped`, `shard`, `row`, `problem` and `fields`: for each field its name, kind, form, and
        what `describe_value` says of its value.
    """
    samples = opened.locate(np.array([sample_id]))
    facts: dict[str, Any] = {"id": sample_id, "splits": opened.splits_of(np.array([sample_id]))[0], "problem": None}
    facts["is_dropped"] = bool(np.isin(sample_id, opened.dataset.dropped))
    try:
        reader, row = samples[0]
        facts |= {"shard": os.path.basename(samples.shard_paths()[0]), "row": row}
        facts["source"] = os.fsdecode(reader.source(row))
        reader.check_row(row)
    except KseqError as error:
        facts["problem"] = str(error)
    facts["fields"] = []
    for field in opened.reader.fields.values():
        entry = {"name": field.name, "kind": field.kind, "form": field.describe()}
        try:
            entry |= _describe_field(opened, samples, field)
        except KseqError as error:
            entry["problem"] = str(error)
            facts["problem"] = facts["problem"] or str(error)
        facts["fields"].append(entry)
    return facts


def _describe_field(opened: Opened, samples: LocatedSamples, field: Field) -> dict[str, Any]:
    if field.is_pixels:
        height, width = samples.sizes(field.name)[0].tolist()
        reader, row = samples[0]
        stored = reader.stored(field.name, row) if field.encoded else samples.values(field.name)[0]
        data = np.ascontiguousarray(stored)
        return {
            "is_pixels": True,
            "is_image": field.is_image,
            "height": height,
            "width": width,
            "num_bytes": data.nbytes,
            "hash": format_checksum(checksum(data)),
        }
    return describe_stored(samples, 0, field, opened.dataset.class_names)


def describe_rows(opened: Opened, ids: np.ndarray) -> list[dict[str, Any]]:
    """What the grid shows of samples: `id`, `class`, `splits` and `source` of each."""
    splits = opened.splits_of(ids)
    names = opened.dataset.class_names
    labels = [None] * len(ids) if opened.labels is None else opened.labels[ids].tolist()
    try:
        sources = [os.fsdecode(source) for source in opened.locate(ids).sources()]
    except KseqError:
        # A damaged shard: the samples are shown as such, one by one.
        sources = [""] * len(ids)
    return [
        {
            "id": sample_id,
            "class": None if label is None else name_of(names, label),
            "splits": sample_splits,
            "source": source,
        }
        for sample_id, label, sample_splits, source in zip(ids.tolist(), labels, splits, sources, strict=True)
    ]
