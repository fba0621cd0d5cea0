"""Batches as people look at them: what a model gets, in a notebook, as a figure or as a picture."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from kseq.arguments import spelled_call, whole
from kseq.display.figure import draw_figure
from kseq.display.html import Child, details, element, frame, items, table
from kseq.display.montage import make_montage
from kseq.display.tile_strip import make_strip
from kseq.display.tiles import Tile, make_tile
from kseq.display.words import format_count, visible
from kseq.errors import ArgumentError, silence
from kseq.reading.dataset import sample_reader
from kseq.training.batch_description import describe_batch, shown_pixels
from kseq.training.batches import Batches, check_number, describe_order
from kseq.training.batches_inside import BatchParts, dataset_of, num_image_bytes, open_again, read_parts
from kseq.training.described_images import describe_images

__all__ = ["batches_in_html", "draw_batch", "show_batch"]

# So many rows are shown, of so many pixels a side.
_IN_NOTEBOOK, _NOTEBOOK_SIDE = 8, 128
_FIGURE_SIDE = 400
_PICTURE_SIDE = 160

# A batch of more bytes than that is not made for a look that nobody asked for.
_MOST_BYTES = 256 << 20

# Somebody looks at one batch.
_FEW_WORKERS: dict[str, Any] = {"workers": 2, "max_queue_size": 1, "idle_seconds": 5.0, "use_multiprocessing": False}


class _Look(NamedTuple):
    """A batch that is looked at.

    Attributes:
        described: What `describe_batch` says of it.
        tiles: Its first rows.
        images: What its images are like, and what becomes of those that are stored, a line each.
    """

    described: dict[str, Any]
    tiles: list[Tile]
    images: list[str]


def batches_in_html(title: str, batches: Batches, epoch: int, number: int) -> str:
    """What a notebook shows of batches: what they are, and one of them. It never raises, and changes nothing.

    Args:
        title: Their class.
        batches: The batches.
        epoch: Of the batch.
        number: Of the batch.
    """
    return frame(f"{title} {visible(dataset_of(batches).path, 200)}, {batches.split}", lambda: _content(batches, epoch, number))


def _content(batches: Batches, epoch: int, number: int) -> Iterator[Child]:
    order = describe_order(batches)
    if batches.world_size > 1:
        order += f", rank {batches.rank} of {batches.world_size}"
    count, num_batches = format_count(batches.num_samples, "sample"), format_count(len(batches), "batch")
    yield element(
        "p", f"{count} an epoch, {num_batches} of {batches.batch_size}, {order}; digest {batches.digest}", class_="kseq_faint"
    )
    if any(index.remote is not None for index in sample_reader(dataset_of(batches)).collection.indexes):
        yield element("p", "Under a URL: ", element("code", "show()"), " fetches a batch and shows it.", class_="kseq_faint")
        return
    if not len(batches):
        return
    needed = num_image_bytes(batches)
    if needed > _MOST_BYTES:
        size = f"A batch takes {needed >> 20} MiB: "
        yield element("p", size, element("code", "show()"), " makes one and shows it.", class_="kseq_faint")
        return
    # After the last batch of an epoch, that one.
    number = min(number, len(batches) - 1)
    look = _look(batches, epoch, number, _IN_NOTEBOOK, _NOTEBOOK_SIDE)
    num_rows = len(look.described["rows"])
    more = f", the first {len(look.tiles)} of {num_rows} rows" if len(look.tiles) < num_rows else ""
    yield element("p", f"Batch {number} of epoch {epoch}{more}:")
    yield make_strip(look.tiles)
    yield items(look.images)
    yield details("arrays of the batch", _arrays(look.described))


def _arrays(described: dict[str, Any]) -> Child:
    def number(value: Any) -> str:
        return "" if value is None else f"{value:.4g}"

    rows = [
        [
            array["name"],
            array["dtype"],
            " x ".join(map(str, array["shape"])),
            *(number(array.get(name)) for name in ("least", "most", "mean")),
        ]
        for array in described["arrays"]
    ]
    return table(rows, ["array", "dtype", "shape", "least", "most", "mean"], (3, 4, 5))


def show_batch(batches: Batches, epoch: int, number: int, rows: int, path: str | os.PathLike[str] | None) -> None:
    """Show rows of a batch as a figure of matplotlib."""
    rows, number = whole("rows", rows, 1, 64), check_number(batches, number)
    look = _look(batches, epoch, number, rows, _FIGURE_SIDE)
    dataset = dataset_of(batches)
    instead = f"look at batches in a browser: {spelled_call('Viewer', dataset.path)}"
    draw_figure(look.tiles, f"{dataset.path}, {batches.split}: batch {number} of epoch {epoch}", path, instead)


def draw_batch(batches: Batches, epoch: int, number: int, rows: int) -> np.ndarray:
    """`(height, width, 3)` uint8, RGB: the first rows of a batch, with what is drawn over them and said of them."""
    return make_montage(_look(batches, epoch, number, rows, _PICTURE_SIDE).tiles)


def _look(batches: Batches, epoch: int, number: int, rows: int, side: int) -> _Look:
    """Make a batch by itself: a pass that goes on, and what was read ahead for it, stay as they are.

    Raises:
        ArgumentError: If the dataset has changed, so that it would be another batch.
    """
    # What they warn of was said when they were made; what is damaged is told to who trains with it.
    with silence(), open_again(batches, **_FEW_WORKERS) as own:
        if own.digest != batches.digest:
            raise ArgumentError(f"{dataset_of(batches).path}: was changed meanwhile: open it again")
        parts, ids = read_parts(own, epoch, number), own.sample_ids(epoch, number)
        described = describe_batch(parts, ids, own.class_names)
        tiles = [_make_tile(parts, described, row, side) for row in range(min(rows, len(described["rows"])))]
        sizes = sample_reader(dataset_of(own)).locate(ids).sizes(described["images"][0])
    return _Look(described, tiles, describe_images(parts.spec, parts.augment, sizes))


def _make_tile(parts: BatchParts, described: dict[str, Any], row: int, side: int) -> Tile:
    _, pixels = shown_pixels(parts, row, described["images"][0])
    masks = [shown_pixels(parts, row, name)[1] for name in described["masks"] if parts.fields[name].kind == "mask"]
    facts = described["rows"][row]
    height, width = described["size"]
    tile = make_tile(pixels, side, (height, width), facts["targets"], masks)
    weight = facts.get("weight")
    return tile if weight in (None, 1) else tile.with_line(f"weight {weight:.3g}")
