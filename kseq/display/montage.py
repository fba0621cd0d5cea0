"""Tiles as one picture, for where no HTML is shown."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kseq.display.tiles import Tile, color_of

__all__ = ["make_montage", "paint_tile"]

_GAP, _LINE, _GROUND, _INK = 6, 15, (255, 255, 255), (20, 20, 20)
# So many lines of a caption are shown.
_MOST_LINES = 3


def make_montage(tiles: Sequence[Tile], columns: int = 4) -> np.ndarray:
    """`(height, width, 3)` uint8, RGB: tiles in rows on white, with boxes, points and captions.

    Args:
        tiles: At least one.
        columns: How many lie side by side.
    """
    height, width = (max(tile.pixels.shape[axis] for tile in tiles) for axis in (0, 1))
    width = max(width, 96)
    lines = min(_MOST_LINES, max(len(tile.caption) for tile in tiles))
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    step_down, step_right = height + lines * _LINE + _GAP, width + _GAP
    sheet = np.empty((rows * step_down + _GAP, columns * step_right + _GAP, 3), np.uint8)
    sheet[:] = _GROUND
    places = [(_GAP + row * step_down, _GAP + column * step_right) for row in range(rows) for column in range(columns)]
    for tile, (top, left) in zip(tiles, places, strict=False):
        painted = paint_tile(tile)
        sheet[top : top + painted.shape[0], left : left + painted.shape[1]] = painted
    image = Image.fromarray(sheet)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default()
    for tile, (top, left) in zip(tiles, places, strict=False):
        for number, line in enumerate(tile.caption[:_MOST_LINES]):
            _write(draw, font, (left, top + height + number * _LINE), line, width)
    return np.asarray(image)


def paint_tile(tile: Tile) -> np.ndarray:
    """`(height, width, 3)` uint8: the image of a tile with its boxes and points."""
    painted = np.array(tile.pixels)
    height, width = painted.shape[:2]
    for box in tile.boxes:
        top_left, bottom_right = [
            (round(x * width), round(y * height)) for x, y in ((box.left, box.top), (box.right, box.bottom))
        ]
        cv2.rectangle(painted, top_left, bottom_right, color_of(box.number), 2)
    for point in tile.points:
        cv2.circle(painted, (round(point.x * width), round(point.y * height)), 3, color_of(point.number), -1)
    return painted


def _write(
    draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, place: tuple[int, int], line: str, width: int
) -> None:
    """A line of text, cut where it is longer than its tile."""
    try:
        while line and draw.textlength(line, font) > width:
            line = line[:-1]
        draw.text(place, line, _INK, font)
    except UnicodeEncodeError:
        # Pillow's font without FreeType knows Latin-1 alone.
        draw.text(place, line.encode("latin-1", "replace").decode("latin-1"), _INK, font)
