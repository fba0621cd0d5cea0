"""Tiles side by side, as HTML."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from kseq.display.eye_pixels import encode_as_jpeg
from kseq.display.html import Markup, element
from kseq.display.tiles import Tile, color_of

__all__ = ["make_strip"]

# A notebook keeps what it shows: all images of a strip take at most so many bytes.
_MOST_BYTES = 90_000
# A caption has room for a word beside a narrow image, in pixels.
_LEAST_WIDTH = 72
_QUALITIES = (85, 70, 50, 30, 10)


def make_strip(tiles: Sequence[Tile]) -> Markup:
    """Tiles side by side, with what is drawn over them and said of them."""
    images: list[bytes] = []
    for quality in _QUALITIES:
        images = [encode_as_jpeg(tile.pixels, quality) for tile in tiles]
        if sum(map(len, images)) <= _MOST_BYTES:
            break
    return element("div", [_figure(*pair) for pair in zip(tiles, images, strict=True)], class_="kseq_strip")


def _figure(tile: Tile, image: bytes) -> Markup:
    height, width = tile.pixels.shape[:2]
    # A small image is shown larger, each pixel as it is.
    times = max(1, round(96 / max(height, width)))
    address = Markup(f"data:image/jpeg;base64,{base64.b64encode(image).decode()}")
    drawn = [element("image", href=address, width=width, height=height)]
    line, size = 1.5 / times, max(height, width) / 9
    for box in tile.boxes:
        color = f"rgb{color_of(box.number)}"
        left, top = round(box.left * width, 1), round(box.top * height, 1)
        sides = {"width": round((box.right - box.left) * width, 1), "height": round((box.bottom - box.top) * height, 1)}
        if min(sides.values()) < 0:
            continue
        drawn.append(element("rect", x=left, y=top, **sides, fill="none", stroke=color, stroke_width=round(line, 2)))
        if box.name:
            place = {"x": left, "y": round(max(size, top - size / 4), 1), "font_size": round(size, 1)}
            outline = {"paint_order": "stroke", "stroke": "#000", "stroke_width": round(size / 5, 2)}
            drawn.append(element("text", box.name, **place, fill=color, **outline))
    for point in tile.points:
        place = {"cx": round(point.x * width, 1), "cy": round(point.y * height, 1), "r": round(size / 4, 1)}
        drawn.append(
            element("circle", **place, fill=f"rgb{color_of(point.number)}", stroke="#000", stroke_width=round(line / 2, 2))
        )
    said = ", ".join(tile.caption) or "image"
    style = "image-rendering:pixelated" if times > 1 else None
    picture = element(
        "svg",
        drawn,
        viewBox=f"0 0 {width} {height}",
        width=width * times,
        height=height * times,
        role="img",
        aria_label=said,
        style=style,
    )
    caption = element("figcaption", [element("div", text) for text in tile.caption])
    return element("figure", picture, caption, style=f"width:{max(_LEAST_WIDTH, width * times)}px")
