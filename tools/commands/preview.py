"""`kseq preview`: thumbnails of samples in the terminal."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

import kseq
from kseq.arguments import is_url, whole
from kseq.errors import ArgumentError

from ..console.half_blocks import draw, has_colors, true_colors
from ..console.json_output import add_json_option, print_json
from ..console.options import add_storage_options, storage_options
from ..console.text import display_width, format_count, line_length, printable

_WIDTH, _GAP = 24, 2
_NARROWEST, _WIDEST = 4, 200


def add_parser(commands: Any) -> None:
    """Add `preview` to the command."""
    parser = commands.add_parser(
        "preview",
        examples=("kseq preview flowers", "kseq preview flowers --split val --where label=rose --count 24"),
        help="show thumbnails of samples in the terminal",
        description="Show samples of DATASET as thumbnails, with sample id, class and size: in colours where the terminal has "
        "them, else in characters from dark to bright. NO_COLOR asks for these. kseq view shows them in a browser.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="folder of a dataset, or its URL")
    parser.add_argument("--split", metavar="NAME", help="samples of this split (default: all samples)")
    parser.add_argument(
        "--where", nargs="+", metavar="CONDITION", default=(), help="samples with all of these, such as label=rose 'height>100'"
    )
    parser.add_argument("--count", type=int, default=12, metavar="N", help="how many samples (default: %(default)s)")
    parser.add_argument(
        "--start", type=int, metavar="N", help="the first, in packed order (default: samples from all over the dataset)"
    )
    parser.add_argument(
        "--width", type=int, default=_WIDTH, metavar="N", help="of a thumbnail, in characters (default: %(default)s)"
    )
    add_json_option(parser, "print one JSON object, of an error too: what is known of the samples, without thumbnails")
    add_storage_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the thumbnails, as many side by side as there is room for; or what is known of the samples."""
    count, width = whole("count", arguments.count, 1), whole("width", arguments.width, _NARROWEST)
    if width > _WIDEST:
        raise ArgumentError(f"--width {width}: allowed are {_NARROWEST} to {_WIDEST} characters")
    options = storage_options(arguments)
    is_remote = is_url(arguments.dataset)
    with kseq.ShardDataset(
        arguments.dataset, split=arguments.split, cache_bytes=0 if is_remote else None, storage_options=options
    ) as dataset:
        chosen = dataset.where(*arguments.where) if arguments.where else dataset
        image = next((name for name, field in chosen.fields.items() if field.is_image), None)
        if image is None or not len(chosen):
            raise ArgumentError(f"{arguments.dataset}: the selection has no sample with an image: kseq info lists the splits")
        positions = _positions(len(chosen), count, arguments.start)
        if arguments.json:
            print_json(arguments, _facts(chosen, positions, image))
            return 0
        across = max((line_length() + _GAP) // (width + _GAP), 1)
        for start in range(0, len(positions), across):
            cells = [_cell(chosen, position, image, width) for position in positions[start : start + across]]
            print("\n".join(_side_by_side(cells, width)), end="\n\n", flush=True)
        print(f"{len(positions):,} of {format_count(len(chosen), 'sample')}")
    return 0


def _facts(dataset: kseq.ShardDataset, positions: Sequence[int], image: str) -> dict[str, Any]:
    """What `--json` says of the samples that the thumbnails would be of."""
    samples = []
    for position in positions:
        height, width, channels = dataset[position][image].shape
        samples.append(
            {
                "id": int(dataset.sample_ids([position])[0]),
                "source": dataset.source(position),
                "label": _class_name(dataset, position),
                "height": height,
                "width": width,
                "channels": channels,
            }
        )
    selected = {"path": dataset.path, "split": dataset.split, "num_selected": len(dataset)}
    return {**selected, "num_samples": len(samples), "samples": samples}


def _class_name(dataset: kseq.ShardDataset, position: int) -> str | None:
    if "label" not in dataset.fields:
        return None
    return dataset.class_names[int(dataset.take([position]).values("label")[0])]


def _positions(num_samples: int, count: int, start: int | None) -> Sequence[int]:
    """Which samples are shown: those from `start` on, or as many at even distances."""
    if start is None:
        return sorted(set(np.linspace(0, num_samples - 1, min(count, num_samples)).round().astype(int).tolist()))
    if not 0 <= start < num_samples:
        raise ArgumentError(f"--start {start}: allowed are 0 to {num_samples - 1}")
    return range(start, min(start + count, num_samples))


def _cell(dataset: kseq.ShardDataset, position: int, image: str, width: int) -> list[str]:
    """The lines of a thumbnail, and of what stands below."""
    pixels = dataset[position][image]
    colors = has_colors(os.environ, is_terminal=sys.stdout.isatty(), encoding=sys.stdout.encoding)
    height, length = pixels.shape[:2]
    words = [f"#{int(dataset.sample_ids([position])[0])}"]
    name = _class_name(dataset, position)
    if name is not None:
        words.append(printable(name))
    every_color = true_colors(os.environ)
    lines = draw(_as_rgb(pixels), width, colors=colors, every_color=every_color)
    missing = width - (lines[0].count("\N{UPPER HALF BLOCK}") or len(lines[0]))
    return [*(line + " " * missing for line in lines), _cut(" ".join(words), width), _cut(f"{height} x {length}", width)]


def _as_rgb(pixels: np.ndarray) -> np.ndarray:
    """`(height, width, 3)` uint8: an image of any dtype and number of channels, for the eye."""
    values = pixels
    if values.dtype != np.uint8:
        finite = np.where(np.isfinite(values), values, 0).astype(np.float64)
        low, high = finite.min(), finite.max()
        values = ((finite - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    return np.ascontiguousarray(values[..., :3] if values.shape[2] >= 3 else np.repeat(values[..., :1], 3, axis=2))


def _cut(text: str, width: int) -> str:
    """A text that fills a width; one that is longer ends with two dots, so that no number looks like a shorter one."""
    if display_width(text) > width:
        while display_width(text) > width - 2:
            text = text[:-1]
        text += ".."
    return text + " " * (width - display_width(text))


def _side_by_side(cells: Sequence[Sequence[str]], width: int) -> list[str]:
    """Cells in one row, aligned at their lower ends."""
    height = max(map(len, cells))
    padded = [[" " * width] * (height - len(cell)) + list(cell) for cell in cells]
    return [(" " * _GAP).join(parts).rstrip() for parts in zip(*padded, strict=True)]
