"""Images as lines of text: half blocks in colours where the terminal has them, else characters from dark to bright."""

from __future__ import annotations

import os
from collections.abc import Mapping

import cv2
import numpy as np

__all__ = ["draw", "has_colors", "true_colors"]

# The upper half of a character's cell has the colour of the text, the lower that of the background.
_HALF_BLOCK = "\N{UPPER HALF BLOCK}"
_RESET = "\x1b[0m"
_RAMP = " .:-=+*#%@"
# Of the 6 x 6 x 6 colours that terminals of 256 colours have, the first, and the levels of each channel.
_FIRST_COLOR, _LEVELS = 16, np.array([0, 95, 135, 175, 215, 255])


def has_colors(environment: Mapping[str, str], *, is_terminal: bool, encoding: str | None) -> bool:
    """Whether output may hold colours and half blocks: on a terminal that has them, unless NO_COLOR asks for none."""
    try:
        _HALF_BLOCK.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return is_terminal and not environment.get("NO_COLOR") and environment.get("TERM", "") not in ("", "dumb")


def true_colors(environment: Mapping[str, str]) -> bool:
    """Whether a terminal says that it shows every colour, and not 256 of them."""
    return environment.get("COLORTERM", "") in ("truecolor", "24bit") or os.name == "nt"


def draw(pixels: np.ndarray, width: int, *, colors: bool, every_color: bool = True) -> list[str]:
    """The lines of an image, at most `width` characters wide and half as many high; the aspect ratio is kept.

    Args:
        pixels: `(height, width, 3)` uint8, RGB.
        width: In characters, 1 at least.
        colors: Whether with colours; else brightness alone.
        every_color: Whether the terminal has all colours; else the nearest of 216.
    """
    height, length = pixels.shape[:2]
    # A cell is twice as high as wide. Two rows of pixels share one, without colours one row has it.
    scale = min(width / length, width / height)
    columns, rows = max(round(length * scale), 1), max(round(height * scale / 2), 1)
    size = (columns, 2 * rows if colors else rows)
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    if not colors:
        gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(int)
        return ["".join(_RAMP[level] for level in row) for row in gray * len(_RAMP) // 256]
    return [
        "".join(f"\x1b[38;{_color(top, every_color)};48;{_color(bottom, every_color)}m{_HALF_BLOCK}" for top, bottom in cells)
        + _RESET
        for cells in (zip(small[row], small[row + 1], strict=True) for row in range(0, 2 * rows, 2))
    ]


def _color(pixel: np.ndarray, every_color: bool) -> str:
    """The colour of a pixel, `(3,)` uint8, as terminals take it."""
    if every_color:
        red, green, blue = pixel.tolist()
        return f"2;{red};{green};{blue}"
    red, green, blue = np.abs(_LEVELS[None] - pixel[:, None].astype(int)).argmin(axis=1).tolist()
    return f"5;{_FIRST_COLOR + 36 * red + 6 * green + blue}"
