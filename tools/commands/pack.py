"""`kseq pack`: a collection of images to a dataset."""

from __future__ import annotations

import argparse
import inspect
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

import kseq
from kseq.images.codecs import CHANNELS
from kseq.images.formats import MAX_PIXELS
from kseq.images.resize import INTERPOLATIONS, RESIZES
from kseq.packing.pack import ON_ERROR
from kseq.packing.settings import ENCODINGS
from kseq.sources.registry import SOURCE_FORMATS
from kseq.storage.layout import RESUME_RECORD_NAME

from ..console.dask_cluster import dask_executor
from ..console.text import format_bytes, format_count, format_counts, listed, printable

# What `--help` shows; `--help-all` has the rest.
_COMMON = (
    "source", "dataset", "help", "help_all", "source_format", "image", "label", "targets", "mask", "encoding", "image_size",
    "val", "test", "overwrite", "resume", "dry_run",
)  # fmt: skip

_SHOWN_REJECTED = 10
_PLAIN_EVERY = 10.0
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def add_parser(commands: Any) -> None:
    """Add `pack` to the command."""
    parser = commands.add_parser(
        "pack",
        help="pack a collection of images into a dataset",
        usage="kseq pack SOURCE DATASET [options]",
        add_help=False,
        description="Pack SOURCE into DATASET, a new folder of HDF5 shards. SOURCE is a folder of CLASS/IMAGE or "
        "train/CLASS/IMAGE, a zip of it, a table of paths (CSV, JSON Lines, Parquet), COCO, YOLO, tars, TFRecords, "
        "ArrayRecords, Hugging Face's Parquet, .npz, .npy or .h5.",
    )
    parser.add_argument("source", metavar="SOURCE", help="folder, file, or pattern of files in quotes")
    parser.add_argument("dataset", metavar="DATASET", help="folder to make")
    parser.add_argument("-h", "--help", action=_ShortHelp, help="show the options that are used most")
    parser.add_argument("--help-all", action="help", help="show all options")
    add_source_options(parser)
    _add_image_options(parser)
    _add_split_options(parser)
    _add_run_options(parser)
    parser.set_defaults(run=run)


class _ShortHelp(argparse.Action):
    """Prints the help of the common options alone, so that it fits on a screen."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        formatter = argparse.HelpFormatter(parser.prog)
        formatter.add_usage(parser.usage, (), ())
        formatter.add_text(parser.description)
        formatter.start_section("common options")
        formatter.add_arguments([each for each in parser._actions if each.dest in _COMMON])
        formatter.end_section()
        parser._print_message(formatter.format_help(), sys.stdout)
        parser.exit()


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what SOURCE is."""
    group = parser.add_argument_group("the source")
    group.add_argument(
        "--from",
        "--source-format",
        dest="source_format",
        choices=SOURCE_FORMATS,
        metavar="FORMAT",
        help=f"what SOURCE is: {', '.join(SOURCE_FORMATS)} (default: told by what lies there)",
    )
    group.add_argument(
        "--image",
        metavar="COLUMN",
        action="append",
        help="column, feature or array of the images (default: the usual names); several times for several",
    )
    group.add_argument("--label", metavar="COLUMN", help="that of the classes; '' for none")
    group.add_argument(
        "--target",
        dest="targets",
        metavar="NAME=COLUMN",
        action="append",
        type=_pair,
        help="numbers, vectors as [1, 0.5], or labels as a|b, to be the field NAME",
    )
    group.add_argument("--mask", metavar="COLUMN", help="paths of masks: images of one channel, a value for each pixel")
    group.add_argument("--boxes", metavar="COLUMN", help="boxes as [[x1, y1, x2, y2], ...] in pixels of the upright image")
    group.add_argument("--box-labels", metavar="COLUMN", help="their classes, as many")
    group.add_argument("--text", metavar="COLUMN", help="text that goes with the image")
    group.add_argument("--weight", metavar="COLUMN", help="weights of the samples")
    group.add_argument("--split-column", metavar="COLUMN", help="its splits: train, val or test; empty: for --val and --test")
    group.add_argument("--group", metavar="COLUMN", help="images that share a value fall into one split")
    group.add_argument("--root", metavar="DIR", help="what the paths of a table are relative to (default: its folder)")
    group.add_argument(
        "--follow-links", action="store_true", help="follow links out of the folder of images, and links to folders"
    )


def _add_image_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("images")
    group.add_argument(
        "--encoding",
        choices=ENCODINGS,
        default="keep",
        help="keep: JPEG and PNG bytes as they are, others as PNG; raw: uint8 pixels of one size; jpeg: encode anew "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--image-size", nargs=2, type=int, metavar=("H", "W"), help="height and width to resize to, for raw and jpeg"
    )
    group.add_argument(
        "--resize", choices=RESIZES, default="stretch", help="how another aspect ratio is met (default: %(default)s)"
    )
    group.add_argument(
        "--color-mode", choices=tuple(CHANNELS), default="rgb", help="channels of the images (default: %(default)s)"
    )
    group.add_argument(
        "--interpolation", choices=INTERPOLATIONS, default="bilinear", help="how pixels are resized (default: %(default)s)"
    )
    group.add_argument(
        "--quality", type=int, default=90, metavar="Q", help="JPEG quality, 1 to 100, for jpeg (default: %(default)s)"
    )
    group.add_argument("--max-side", type=int, metavar="PIXELS", help="shrink images with a longer side than this, for jpeg")
    group.add_argument("--no-check", dest="check", action="store_false", help="do not decode every image once, for keep")
    group.add_argument(
        "--max-pixels",
        type=int,
        default=MAX_PIXELS,
        metavar="N",
        help="leave out images with more pixels, by their headers (default: %(default)s)",
    )


def _add_split_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("classes and splits")
    group.add_argument("--class-names", nargs="+", metavar="NAME", help="all classes, numbered in this order instead of sorted")
    add_share_options(group)


def add_share_options(group: Any) -> None:
    """Add the options that share samples out among splits."""
    group.add_argument("--val", type=float, default=0.0, metavar="SHARE", help="share of the images for the split val")
    group.add_argument("--test", type=float, default=0.0, metavar="SHARE", help="share of the images for the split test")
    group.add_argument(
        "--no-stratify", dest="stratify", action="store_false", help="do not take these shares of each class alike"
    )
    group.add_argument("--seed", type=int, default=0, help="draws the splits (default: %(default)s)")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the run")
    add_worker_options(group)
    group.add_argument("--overwrite", action="store_true", help="replace a dataset that lies there")
    group.add_argument("--resume", action="store_true", help="go on with a packing that was killed")
    group.add_argument("--dry-run", action="store_true", help="show what would be packed, and write nothing")


def add_worker_options(group: Any) -> None:
    """Add the options that say how shards are built."""
    group.add_argument(
        "--on-error",
        choices=ON_ERROR,
        default="skip",
        help="leave broken images out, or stop at the first (default: %(default)s)",
    )
    group.add_argument(
        "--shard-bytes",
        type=size_in_bytes,
        metavar="SIZE",
        help="about how large each shard is, such as 64M (default: 256M, less for a small collection)",
    )
    group.add_argument("--workers", type=int, metavar="N", help="processes (default: as many as cores; 0: none)")
    group.add_argument(
        "--dask",
        metavar="HOST:PORT",
        help="build the shards on the workers of this Dask scheduler, which see the same files",
    )


def _pair(text: str) -> tuple[str, str]:
    name, equals, column = text.partition("=")
    if not (name and equals and column):
        raise argparse.ArgumentTypeError(f"{text!r} is no pair, expected is NAME=COLUMN")
    return name, column


def size_in_bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMG]?)(i?B)?", text.strip(), re.IGNORECASE)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size, expected is a number of bytes, or one with K, M or G")
    return int(match[1]) * _UNITS[match[2].upper()]


def run(arguments: argparse.Namespace) -> int:
    """Pack, with progress on stderr and a summary on stdout."""
    try:
        with dask_executor(arguments.dask) as executor, Progress() as progress:
            report = kseq.pack(**chosen(kseq.pack, arguments), executor=executor, progress=progress.show)
    except KeyboardInterrupt as stop:
        if os.path.exists(os.path.join(arguments.dataset, RESUME_RECORD_NAME)):
            stop.args = ("what is packed stays, and the same command with --resume goes on",)
        raise
    print(_plan(report) if arguments.dry_run else _summary(report))
    return 0


def chosen(function: Callable[..., Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """What was chosen for each argument of a function that packs."""
    names = [name for name in inspect.signature(function).parameters if name not in ("executor", "progress")]
    return {**{name: getattr(arguments, name) for name in names}, "targets": dict(arguments.targets or ())}


class Progress:
    """A bar on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._started = self._last = time.monotonic()
        self._resumed: int | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: int, total: int) -> None:
        if self._resumed is None:
            self._resumed = done
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(total=total, unit=" images", initial=done, dynamic_ncols=True)
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._last > _PLAIN_EVERY:
            self._last = time.monotonic()
            rate = (done - self._resumed) / (self._last - self._started)
            print(f"{done:,} of {total:,} images, {rate:,.0f} images/s", file=sys.stderr, flush=True)


def _summary(report: kseq.PackReport) -> str:
    rate = report.found / max(report.seconds, 1e-9)
    shards = format_count(report.shards, "shard")
    lines = [
        format_counts(report.splits, report.class_names, report.class_counts),
        "",
        f"{format_count(report.packed, 'image')} packed into {printable(report.path)}: {shards}, {format_bytes(report.bytes)}, "
        f"{report.seconds:.1f} s ({rate:,.0f} images/s)",
    ]
    if report.resumed:
        lines.append(f"{report.resumed} of the shards were there from an earlier run")
    if report.empty_classes:
        lines.append(f"classes without a sample: {listed(report.empty_classes)}")
    if report.rejected:
        lines.append(f"{len(report.rejected):,} of {report.found:,} files were left out:")
        lines += rejected_lines(report, f" (kseq info --rejected {printable(report.path)})")
    return "\n".join(lines)


def _plan(report: kseq.PackReport) -> str:
    shards, size, free = format_count(report.shards, "shard"), format_bytes(report.bytes), format_bytes(report.free)
    lines = [
        format_counts(report.splits, report.class_names, report.class_counts),
        "",
        f"{format_count(report.packed, 'image')} would be packed into {printable(report.path)}: "
        f"{shards}, about {size}, of {free} that are free there",
    ]
    if report.resumed:
        lines.append(f"{report.resumed} of the shards are there from an earlier run")
    if report.empty_classes:
        lines.append(f"classes without a sample: {listed(report.empty_classes)}")
    if report.rejected:
        lines.append(
            f"{len(report.rejected):,} of {report.found:,} would be left out, besides files that turn out to be broken:"
        )
        lines += rejected_lines(report, "")
    return "\n".join(lines)


def rejected_lines(report: kseq.PackReport | kseq.AppendReport, hint: str) -> list[str]:
    """What is left out: all of it, or how much for each reason, and some."""
    lines = []
    more = len(report.rejected) - _SHOWN_REJECTED
    if more > 0:
        reasons = list(report.reasons.items())
        lines += [f"  {count:,}: {printable(reason)}" for reason, count in reasons[:_SHOWN_REJECTED]]
        if len(reasons) > _SHOWN_REJECTED:
            lines.append(f"  ... and {format_count(len(reasons) - _SHOWN_REJECTED, 'more reason')}")
        lines.append("such as")
    lines += [f"  {printable(os.fsdecode(each.path))}: {printable(each.reason)}" for each in report.rejected[:_SHOWN_REJECTED]]
    return [*lines, f"  ... and {more:,} more{hint}"] if more > 0 else lines
