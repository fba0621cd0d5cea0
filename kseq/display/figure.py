"""Tiles as a figure of matplotlib, where that is there."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

from kseq.arguments import path_text
from kseq.display.tiles import Tile, color_of
from kseq.errors import ArgumentError, WriteError

__all__ = ["draw_figure"]

# Backends that write files and show nothing.
_SILENT = {"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"}
_INCHES = 2.2


def draw_figure(tiles: Sequence[Tile], title: str, path: str | os.PathLike[str] | None, instead: str) -> None:
    """Show tiles where matplotlib shows figures: in a notebook below the cell, else in a window; or write them to a file.

    Args:
        tiles: At least one.
        title: Above all of them.
        path: The file to write, in a form that its suffix says; None to show them.
        instead: What else shows them, for messages.

    Raises:
        ArgumentError: If matplotlib is missing, cannot show anything here, or knows no files of this suffix.
        WriteError: If the file cannot be written.
    """
    pyplot = _import_pyplot(instead)
    if path is None and pyplot.get_backend().lower() in _SILENT:
        backend = f"matplotlib has no window here (backend {pyplot.get_backend()})"
        raise ArgumentError(f"show: {backend}: give path='samples.png' for a file, or {instead}")
    columns = min(len(tiles), 4)
    rows = math.ceil(len(tiles) / columns)
    lines = max(len(tile.caption) for tile in tiles)
    highest = min(2.0, max(tile.pixels.shape[0] / tile.pixels.shape[1] for tile in tiles))
    size = columns * _INCHES, rows * (_INCHES * highest + 0.17 * lines) + 0.4
    figure, all_axes = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    try:
        figure.suptitle(_plain(title), fontsize=10)
        for axes in all_axes.flat:
            axes.set_axis_off()
        for tile, axes in zip(tiles, all_axes.flat, strict=False):
            _draw(tile, axes)
        if path is None:
            pyplot.show()
        else:
            _save(figure, path_text("path", path))
    finally:
        pyplot.close(figure)


def _import_pyplot(instead: str) -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise ArgumentError(
            f'show needs matplotlib, which is not installed: pip install "kseq[notebook]", or {instead}'
        ) from error
    return pyplot


def _draw(tile: Tile, axes: Any) -> None:
    from matplotlib.patches import Rectangle

    height, width = tile.pixels.shape[:2]
    # The edges of the image, from 0 to its size, whatever its pixels are.
    axes.imshow(tile.pixels, extent=(0, width, height, 0), interpolation="nearest")
    for box in tile.boxes:
        color = tuple(part / 255 for part in color_of(box.number))
        corner, sides = (box.left * width, box.top * height), ((box.right - box.left) * width, (box.bottom - box.top) * height)
        axes.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=color, linewidth=1.5))
        if box.name:
            ground = {"facecolor": "black", "alpha": 0.6, "pad": 1, "edgecolor": "none"}
            axes.text(*corner, _plain(box.name), color=color, fontsize=7, clip_on=True, verticalalignment="bottom", bbox=ground)
    for point in tile.points:
        color = tuple(part / 255 for part in color_of(point.number))
        axes.plot(point.x * width, point.y * height, "o", color=color, markeredgecolor="black", markersize=4)
    axes.set_title("\n".join(_plain(line[:36]) for line in tile.caption), fontsize=7, loc="left")


def _plain(text: str) -> str:
    """A text that matplotlib does not take for a formula."""
    return text.replace("$", r"\$")


def _save(figure: Any, path: str) -> None:
    try:
        figure.savefig(path)
    except ValueError as error:
        raise ArgumentError(f"path={path!r}: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise WriteError(f"{path}: {error.strerror or error}") from error
