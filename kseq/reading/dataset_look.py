"""A dataset as people look at it: in a line, in a notebook, and as a figure."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kseq.display.charts import bar_table, class_table
from kseq.display.commands import shell_path
from kseq.display.figure import draw_figure
from kseq.display.html import Child, details, element, frame, items, table
from kseq.display.tile_strip import make_strip
from kseq.display.words import format_bytes, format_count, format_names, format_numbers, visible
from kseq.errors import ArgumentError, KseqError
from kseq.reading.dataset_tiles import make_tiles
from kseq.storage.rejected import count_reasons

if TYPE_CHECKING:
    from kseq.reading.dataset import ShardDataset
    from kseq.reading.sample_reader import SampleReader
    from kseq.storage.fields import Field

__all__ = ["describe_dataset", "describe_in_html", "show_samples"]

# So many thumbnails of so many pixels a notebook shows, and so many samples a figure.
_THUMBNAILS, _THUMBNAIL_SIDE = 10, 96
_MOST_IN_FIGURE, _FIGURE_SIDE = 64, 400

# Labels of more samples are not counted for a look, which takes at most some tenths of a second.
_MOST_COUNTED = 5_000_000

_MOST_NOTES = 8


def describe_dataset(dataset: ShardDataset, reader: SampleReader, num_selected: int | None) -> str:
    """What a dataset is, in a line: its split, how many samples, fields, image size and classes."""
    chosen = "" if num_selected is None else ", selected"
    fields = ", ".join(f"{name} ({_briefly(field)})" for name, field in reader.fields.items())
    names = dataset.class_names
    classes = f", {format_count(len(names), 'class')}: {format_names(names)}" if names else ""
    count = format_count(len(dataset), "sample")
    by_pread = ", read='pread'" if any(index.read == "pread" for index in reader.collection.indexes) else ""
    return f"{dataset.path!r} {dataset.split or 'all'}: {count}{chosen}; {fields}{classes}{by_pread}"


def _briefly(field: Field) -> str:
    described = field.describe()
    return described.removeprefix(f"{field.kind}, ") if field.kind == field.name else described


def describe_in_html(dataset: ShardDataset, reader: SampleReader | None) -> str:
    """What a notebook shows of a dataset. It never raises; of a closed or damaged one, it says what is wrong.

    Args:
        dataset: The dataset.
        reader: Reads its samples; None if it was closed.
    """
    title = f"ShardDataset {visible(dataset.path, 200)}, {dataset.split or 'all'}"
    if reader is None:
        return frame(title, lambda: [element("p", "closed", class_="kseq_faint")])
    return frame(title, lambda: _content(dataset, reader))


def _content(dataset: ShardDataset, reader: SampleReader) -> Iterator[Child]:
    count, shards = format_count(len(dataset), "sample"), format_count(dataset.num_shards, "shard")
    facts = f"{count}. The whole dataset: {shards}, {format_bytes(dataset.num_bytes)}, digest {reader.collection.digest}"
    yield element("p", facts, class_="kseq_faint")
    is_remote = any(index.remote is not None for index in reader.collection.indexes)
    yield from _thumbnails(dataset, reader, is_remote=is_remote)
    yield _fields(dataset, reader)
    yield from _classes(dataset, reader, is_remote=is_remote)
    yield from _history(dataset)
    if len(reader.collection.indexes) == 1 and not is_remote:
        yield element("p", "All samples in a browser: ", element("code", _viewing(dataset)), class_="kseq_faint")


def _viewing(dataset: ShardDataset) -> str:
    return f"kseq view {shell_path(os.fspath(dataset.path))}"


def _thumbnails(dataset: ShardDataset, reader: SampleReader, *, is_remote: bool) -> Iterator[Child]:
    if is_remote:
        # A look must not fetch a shard.
        yield element(
            "p", "Under a URL: ", element("code", "show()"), " fetches some samples and shows them.", class_="kseq_faint"
        )
    elif len(dataset):
        positions = np.unique(np.linspace(0, len(dataset) - 1, _THUMBNAILS).astype(np.int64))
        yield make_strip(make_tiles(reader, dataset.sample_ids(positions), dataset.path, _THUMBNAIL_SIDE))


def _fields(dataset: ShardDataset, reader: SampleReader) -> Child:
    try:
        settings = dataset.settings
    except ArgumentError:
        # Of several datasets, which were packed with different ones.
        settings = {}
    rows: list[Sequence[Child]] = [
        [name, field.kind, field.describe_storage(settings) if settings else field.describe()]
        for name, field in reader.fields.items()
    ]
    return table(rows, ["field", "kind", "each sample"])


def _classes(dataset: ShardDataset, reader: SampleReader, *, is_remote: bool) -> Iterator[Child]:
    if is_remote or reader.collection.num_samples > _MOST_COUNTED:
        yield element("p", f"splits: {format_numbers(dataset.splits)}")
        if dataset.class_names:
            names = f"{format_count(len(dataset.class_names), 'class')}: {format_names(dataset.class_names)} ("
            yield element("p", names, element("code", "counts()"), " reads how many samples each has)")
        return
    try:
        counts = dataset.counts()
        yield class_table(counts.splits, counts.class_names, counts.class_counts)
        boxes = dataset.box_counts()
    except KseqError as error:
        yield element("p", str(error), class_="kseq_bad")
        return
    if boxes is not None:
        yield element("p", f"boxes: {format_numbers(boxes.num_boxes)}")
        if boxes.class_counts:
            yield class_table(boxes.num_boxes, boxes.class_names, boxes.class_counts)


def _history(dataset: ShardDataset) -> Iterator[Child]:
    rejected = dataset.rejected()
    if rejected:
        files = format_count(len(rejected), "file")
        yield details(f"left out when it was packed: {files}", bar_table("reason", count_reasons(rejected), "files"))
    if len(dataset.dropped):
        yield element("p", f"dropped: {format_count(len(dataset.dropped), 'sample')}")
    for title, lines in (("notes of the packing", dataset.packing_notes), ("changes", dataset.changes)):
        if lines:
            more = [f"and {len(lines) - _MOST_NOTES:,} more"] if len(lines) > _MOST_NOTES else []
            yield details(f"{title}: {len(lines):,}", items([*lines[:_MOST_NOTES], *more]))


def show_samples(
    dataset: ShardDataset,
    reader: SampleReader,
    positions: Sequence[int] | np.ndarray | None,
    path: str | os.PathLike[str] | None,
) -> None:
    """Show some samples as a figure of matplotlib; those that are asked for or, without, sixteen from all over."""
    chosen = np.unique(np.linspace(0, max(len(dataset) - 1, 0), 16).astype(np.int64)) if positions is None else positions
    ids = dataset.sample_ids(chosen if len(dataset) else [])
    if not 0 < len(ids) <= _MOST_IN_FIGURE:
        found = format_count(len(ids), "position")
        raise ArgumentError(f"{dataset.path}: found {found}, a figure shows 1 to {_MOST_IN_FIGURE}")
    tiles = make_tiles(reader, ids, dataset.path, _FIGURE_SIDE, with_sources=True)
    instead = f"look at it in a browser: {_viewing(dataset)}"
    draw_figure(tiles, f"{dataset.path}, {dataset.split or 'all'}", path, instead)
