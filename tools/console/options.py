"""Options that several commands share, and the objects of kseq's API that they stand for."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import kseq

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

# What may stand behind the column of a target, besides the names of kinds.
_KIND_WORDS = {"number": "number", "vector": "vector", "labels": "multi_label"}

# Arguments of a packing that options of the same names give.
_RUN = (
    "source_format", "root", "label_pattern", "suffix", "shape", "text_encoding", "follow_links", "without_class", "val",
    "test", "stratify", "seed", "on_error", "shard_bytes", "workers", "niceness",
)  # fmt: skip


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what SOURCE is."""
    group = parser.add_argument_group("the source")
    group.add_argument(
        "--from",
        "--source-format",
        dest="source_format",
        choices=kseq.SOURCE_FORMATS,
        metavar="FORMAT",
        help=f"what SOURCE is, else recognised: {', '.join(kseq.SOURCE_FORMATS)}",
    )
    group.add_argument(
        "--image",
        metavar="[NAME=]COLUMN",
        action="append",
        help="column, feature or array of images (default: the usual names), repeatable",
    )
    group.add_argument("--label", metavar="COLUMN", help="column of the classes (default: the usual names); '' for no label")
    group.add_argument(
        "--label-pattern",
        metavar="REGEX",
        help=r"the label is what the first group finds in the path of an image: '(cat|dog)\.', '([^/]+)/[^/]+$' for its folder",
    )
    group.add_argument(
        "--target",
        dest="targets",
        metavar="[NAME=]COLUMN[:KIND]",
        action="append",
        help="column of numbers, vectors as [1, 0.5], or labels as a|b: the field NAME; KIND is number, vector, labels, text, "
        "map and so on",
    )
    group.add_argument(
        "--kind",
        dest="kinds",
        metavar="NAME=KIND",
        action="append",
        type=_pair,
        help=f"kind of the target NAME, if its cells do not tell: {', '.join(kseq.TARGET_KINDS)}",
    )
    group.add_argument(
        "--mirror-pairs",
        metavar="NAME=I:J,...",
        action="append",
        type=_mirror_pairs,
        help="points of the keypoints NAME that change places in a mirrored image, such as 0:1,2:3; none if none do",
    )
    group.add_argument(
        "--mask",
        metavar="[NAME=]COLUMN",
        help="column of paths of masks: one channel, a value for each pixel; of outlines of objects: semantic or instances",
    )
    group.add_argument("--boxes", metavar="COLUMN", help="column of boxes: [[x1, y1, x2, y2], ...] in pixels")
    group.add_argument("--box-labels", metavar="COLUMN", help="column of their classes, one for each box")
    group.add_argument("--text", metavar="COLUMN", help="column of text")
    group.add_argument("--sample-weight", metavar="COLUMN", help="column of loss weights, numbers of 0 or more")
    group.add_argument(
        "--split-column", metavar="COLUMN", help="column of splits: train, val or test; empty: drawn by --val, --test"
    )
    group.add_argument("--group", metavar="COLUMN", help="column of groups: images of one group go into one split")
    group.add_argument("--root", metavar="DIR", help="folder that the paths of a table are relative to (default: its own)")
    group.add_argument(
        "--suffix", metavar="SUFFIX", help="what the paths of a table lack, such as .jpg (default: found by looking)"
    )
    group.add_argument(
        "--shape", nargs="+", type=int, metavar="SIDE", help="height and width of images in a table of pixels, and channels"
    )
    group.add_argument(
        "--text-encoding", metavar="NAME", help="encoding of text files that are not UTF-8, such as cp1252 or shift_jis"
    )
    group.add_argument(
        "--follow-links", action="store_true", help="follow links out of the folder of images, and links to folders"
    )
    group.add_argument(
        "--without-class",
        action="extend",
        nargs="+",
        metavar="NAME",
        help="classes that are left out: images of them, and their boxes; the others are numbered from 0 on",
    )


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how images are stored."""
    group = parser.add_argument_group("images")
    group.add_argument(
        "--encoding",
        choices=kseq.ImageSettings.ENCODINGS,
        default="keep",
        help="keep: JPEG and PNG bytes as they are, others as PNG; raw: pixels of one size; jpeg: encode anew "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--image-size", nargs=2, type=int, metavar=("H", "W"), help="height and width to resize to, for raw and jpeg"
    )
    group.add_argument(
        "--resize",
        choices=kseq.ImageSettings.RESIZES,
        default="stretch",
        help="how images of another aspect ratio are fitted (default: %(default)s)",
    )
    group.add_argument(
        "--color-mode",
        choices=kseq.ImageSettings.COLOR_MODES,
        default="rgb",
        help="channels of the images (default: %(default)s)",
    )
    group.add_argument(
        "--interpolation",
        choices=kseq.ImageSettings.INTERPOLATIONS,
        default="bilinear",
        help="how images are resized (default: %(default)s)",
    )
    group.add_argument(
        "--antialias", action="store_true", help="average over all pixels where images are shrunk, as area does anyway"
    )
    group.add_argument(
        "--quality", type=int, default=90, metavar="Q", help="JPEG quality, 1 to 100, for jpeg (default: %(default)s)"
    )
    group.add_argument(
        "--background", metavar="COLOUR", help="what shows through transparent pixels, such as white (default: hidden colours)"
    )
    group.add_argument(
        "--bits",
        type=int,
        metavar="N",
        help="bits of images with more than 8 a channel, 8 to 16 (default: told from the values of each: 8, 12 or 16)",
    )
    group.add_argument(
        "--dtype",
        choices=kseq.ImageSettings.DTYPES,
        default="uint8",
        help="of the pixels: for raw also uint16 or float32, which keep the numbers of the files (default: %(default)s)",
    )
    group.add_argument(
        "--channels",
        type=int,
        metavar="N",
        help="for raw: channels of the images, 1 to 64, as they are in the files, or as so many pages of a TIFF "
        "(default: those of --color-mode)",
    )
    group.add_argument(
        "--map-scale", type=float, default=1.0, metavar="X", help="factor for the numbers of maps, such as 0.001 (default: 1)"
    )
    group.add_argument(
        "--map-dtype", choices=("float32", "float16"), default="float32", help="of the numbers of maps (default: %(default)s)"
    )
    group.add_argument("--map-channels", type=int, default=1, metavar="N", help="channels of maps, 1 to 64 (default: 1)")
    group.add_argument("--max-side", type=int, metavar="PIXELS", help="shrink images with a longer side than this, for jpeg")
    group.add_argument("--no-check", dest="check", action="store_false", help="do not decode every image to check it, for keep")
    group.add_argument(
        "--max-pixels",
        type=int,
        default=kseq.ImageSettings.max_pixels,
        metavar="N",
        help="leave out images whose headers announce more pixels (default: %(default)s)",
    )


def add_storage_options(parser: Any) -> None:
    """Add the option that says how URLs are opened."""
    parser.add_argument(
        "--storage-option",
        dest="storage_options",
        metavar="NAME=VALUE",
        action="append",
        type=storage_option,
        help="what fsspec's file system takes for URLs, such as anon=true; repeat for several. Leave credentials to the "
        "environment, where other users do not see them",
    )


def add_cache_options(parser: Any) -> None:
    """Add the options that say where copies of the shards of a URL lie."""
    parser.add_argument(
        "--cache-dir", metavar="DIR", help="of a URL: folder for copies of its shards (default: that of the user)"
    )
    parser.add_argument(
        "--cache-bytes",
        type=size_in_bytes,
        metavar="SIZE",
        help="of a URL: what all copies there may take, such as 64G; 0 for none",
    )


def storage_options(arguments: argparse.Namespace, name: str = "storage_options") -> dict[str, Any] | None:
    """What options of the type `storage_option` have read, by the name of the argument that they are for."""
    pairs = getattr(arguments, name)
    return None if pairs is None else dict(pairs)


def storage_option(text: str) -> tuple[str, Any]:
    """A name and its value: JSON, or a text as it stands."""
    name, value = _pair(text)
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def add_share_options(group: Any) -> None:
    """Add the options that share samples out among splits."""
    group.add_argument("--val", type=float, default=0.0, metavar="SHARE", help="share of the images for the split val")
    group.add_argument("--test", type=float, default=0.0, metavar="SHARE", help="share of the images for the split test")
    group.add_argument("--no-stratify", dest="stratify", action="store_false", help="do not take the same share of each class")
    group.add_argument("--seed", type=int, default=0, help="decides which images go to which split (default: %(default)s)")


def add_worker_options(group: Any) -> None:
    """Add the options that say how shards are built."""
    group.add_argument(
        "--on-error",
        choices=("skip", "fail"),
        default="skip",
        help="leave broken images out, or stop at the first (default: %(default)s)",
    )
    group.add_argument(
        "--shard-bytes",
        type=size_in_bytes,
        metavar="SIZE",
        help="about how large each shard is, such as 64M (default: 256M, less for a small collection)",
    )
    group.add_argument("--workers", type=int, metavar="N", help="number of processes (default: one for each core; 0: none)")
    group.add_argument(
        "--niceness",
        type=int,
        default=0,
        metavar="STEPS",
        help="by how many steps, 0 to 19, these processes stand back from all others, on Linux (default: %(default)s)",
    )
    group.add_argument(
        "--dask",
        metavar="HOST:PORT",
        help="build the shards on the workers of this Dask scheduler, which see the same files",
    )


def make_columns(arguments: argparse.Namespace) -> kseq.Columns:
    """Which columns of the source are what."""
    names = {field.name: getattr(arguments, field.name) for field in fields(kseq.Columns) if field.name != "split"}
    image = None if arguments.image is None else [_named_column(text) for text in arguments.image]
    mask = None if arguments.mask is None else _named_column(arguments.mask)
    targets, kinds = _targets(arguments.targets or [])
    names |= {"targets": targets or None, "kinds": [*kinds, *(arguments.kinds or [])] or None}
    return kseq.Columns(**{**names, "image": image, "mask": mask, "split": arguments.split_column})


def _targets(texts: Sequence[str]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Pairs of field name and column, and of field name and kind, from columns that may have a kind behind a colon."""
    targets, kinds = [], []
    for text in texts:
        head, _, word = text.rpartition(":")
        kind = _KIND_WORDS.get(word, word if word in kseq.TARGET_KINDS else None) if head else None
        # A column alone gives its field a name.
        ((name, column),) = kseq.Columns(targets=[_named_column(text if kind is None else head)]).targets
        targets.append((name, column))
        kinds += [] if kind is None else [(name, kind)]
    return targets, kinds


def _named_column(text: str) -> str | tuple[str, str]:
    """`NAME=COLUMN`, the name of a field and its column, or `COLUMN`."""
    named = re.fullmatch("([a-z][a-z0-9_]*)=(.+)", text, re.DOTALL)
    return text if named is None else (named[1], named[2])


def make_image_settings(arguments: argparse.Namespace) -> kseq.ImageSettings:
    """How images are stored."""
    return kseq.ImageSettings(**{field.name: getattr(arguments, field.name) for field in fields(kseq.ImageSettings)})


def run_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments that `kseq.pack` and `kseq.append` share, besides the columns."""
    return {name: getattr(arguments, name) for name in _RUN}


def _pair(text: str) -> tuple[str, str]:
    name, equals, column = text.partition("=")
    if not (name and equals and column):
        raise argparse.ArgumentTypeError(f"{text!r} is no pair, expected are two names with = between them")
    return name, column


def _mirror_pairs(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The name of a field and pairs of point numbers, or none."""
    name, value = _pair(text)
    if value == "none":
        return name, []
    pairs = [re.fullmatch(r"(\d{1,6}):(\d{1,6})", part.strip()) for part in value.split(",")]
    if None in pairs:
        raise argparse.ArgumentTypeError(f"{value!r}: expected are pairs of point numbers such as 0:1,2:3, or none")
    return name, [(int(pair[1]), int(pair[2])) for pair in pairs if pair is not None]


def size_in_bytes(text: str) -> int:
    """A number of bytes, such as `64M`."""
    match = re.fullmatch(r"(\d+)([KMG]?)(i?B)?", text.strip(), re.IGNORECASE)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size, expected is a number of bytes, or one with K, M or G")
    return int(match[1]) * _UNITS[match[2].upper()]
