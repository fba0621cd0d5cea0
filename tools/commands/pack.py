"""`kseq pack`: a collection of images to a dataset."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from typing import Any

import kseq
from kseq.errors import ArgumentError

from ..console.class_counts import all_classes_hint
from ..console.count_table import format_boxes, format_counts
from ..console.dask_cluster import dask_executor
from ..console.json_output import add_json_option, print_json
from ..console.options import (
    add_image_options,
    add_share_options,
    add_source_options,
    add_storage_options,
    add_worker_options,
    make_columns,
    make_image_settings,
    run_arguments,
    storage_options,
)
from ..console.progress import Progress
from ..console.proposals import look_around
from ..console.rejected import rejected_lines
from ..console.text import format_bytes, format_count, format_names, printable, shell_path

# The options that `--help` shows; `--help-all` shows all.
_COMMON = (
    "source", "dataset", "help", "help_all", "source_format", "image", "label", "targets", "encoding", "image_size",
    "val", "test", "overwrite", "resume", "dry_run",
)  # fmt: skip


def add_parser(commands: Any) -> None:
    """Add `pack` to the command."""
    parser = commands.add_parser(
        "pack",
        examples=("kseq pack photos flowers --val 0.2", "kseq pack table.csv flowers --encoding raw --image-size 224 224"),
        help="pack a collection of images into a dataset",
        usage="kseq pack SOURCE DATASET [options]",
        add_help=False,
        description="Pack SOURCE into DATASET, a new folder of HDF5 shards, or a URL. SOURCE is a folder of CLASS/IMAGE or "
        "train/CLASS/IMAGE, a table of paths, or another format: see --from. Without both, it looks at the folder that you are "
        "in, and proposes a command.",
    )
    parser.add_argument("source", metavar="SOURCE", nargs="?", help="folder, file, or pattern of files in quotes; or a URL")
    parser.add_argument("dataset", metavar="DATASET", nargs="?", help="folder to make, or a URL")
    parser.add_argument("-h", "--help", action=_ShortHelp, help="show the options that are used most")
    parser.add_argument("--help-all", action="help", help="show all options")
    add_source_options(parser)
    add_image_options(parser)
    _add_split_options(parser)
    _add_run_options(parser)
    parser.set_defaults(run=partial(_run, parser))


class _ShortHelp(argparse.Action):
    """Prints the help of the common options alone, so that it fits on a screen."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: Any, *_: Any) -> None:
        formatter = argparse.HelpFormatter(parser.prog)
        formatter.add_usage(parser.usage, (), ())
        formatter.add_text(parser.description)
        formatter.start_section("common options")
        formatter.add_arguments([action for action in parser._actions if action.dest in _COMMON])
        formatter.end_section()
        parser._print_message(parser.examples_text() + formatter.format_help(), sys.stdout)
        parser.exit()


def _add_split_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("classes and splits")
    group.add_argument(
        "--class-names",
        action="extend",
        nargs="+",
        metavar="NAME",
        help="all classes, in the order of their numbers (default: sorted)",
    )
    add_share_options(group)
    group.add_argument(
        "--duplicates",
        choices=("keep", "drop", "group"),
        default="keep",
        help="byte-identical images: keep and count them, drop all but the first, or group: copies go into one split where "
        "splits are drawn (default: %(default)s)",
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the run")
    add_worker_options(group)
    group.add_argument("--overwrite", action="store_true", help="replace a dataset that lies there")
    group.add_argument("--resume", action="store_true", help="go on with a packing that was killed")
    group.add_argument("--dry-run", action="store_true", help="show what would be packed, and write nothing")
    group.add_argument("--classes", action="store_true", help="print every class, of many classes too")
    add_json_option(group)
    add_storage_options(group)


def _run(parser: Any, arguments: argparse.Namespace) -> int:
    """Pack, with progress on stderr and a summary on stdout; without arguments, propose what to pack."""
    if arguments.source is None and _is_bare(parser, arguments):
        return _propose(arguments)
    if arguments.source is None or arguments.dataset is None:
        source = "SOURCE" if arguments.source is None else shell_path(arguments.source)
        parser.error(f"DATASET, the folder to make, is missing, as in: kseq pack {source} flowers")
    with dask_executor(arguments.dask) as executor, Progress() as progress:
        report = kseq.pack(
            arguments.source,
            arguments.dataset,
            columns=make_columns(arguments),
            images=make_image_settings(arguments),
            class_names=arguments.class_names,
            duplicates=arguments.duplicates,
            executor=executor,
            overwrite=arguments.overwrite,
            resume=arguments.resume,
            dry_run=arguments.dry_run,
            storage_options=storage_options(arguments),
            progress=progress.show,
            **run_arguments(arguments),
        )
    if arguments.json:
        print_json(arguments, report, lines=report.lines)
    else:
        print(_plan(report, arguments.classes) if arguments.dry_run else _summary(report, arguments.classes))
    return 0


def _is_bare(parser: Any, arguments: argparse.Namespace) -> bool:
    """Whether the command was given no option but `--json`."""
    return all(value == parser.get_default(name) for name, value in vars(arguments).items() if name not in ("command", "json"))


def _propose(arguments: argparse.Namespace) -> int:
    try:
        folder = os.getcwd()
    except FileNotFoundError as error:
        raise ArgumentError("the folder that you are in is gone: cd to another") from error
    found = look_around(folder)
    if found.reason:
        raise ArgumentError(f"nothing here can be packed as it is: {found.reason}")
    if not found.proposals and not found.datasets:
        raise ArgumentError(
            f"{found.folder}: holds nothing that can be packed: name a SOURCE and a DATASET, as in kseq pack photos flowers "
            "(kseq pack --help lists what SOURCE may be), or try kseq demo"
        )
    if arguments.json:
        print_json(arguments, found)
    else:
        print("\n".join(found.lines))
    return 0


def _summary(report: kseq.PackReport, with_all_classes: bool) -> str:
    rate = report.num_found / max(report.seconds, 1e-9)
    shards, size = format_count(report.num_shards, "shard"), format_bytes(report.num_bytes)
    outcome = f"packed into {printable(report.path)}: {shards}, {size}, {report.seconds:.1f} s ({rate:,.0f} images/s)"
    left_out = f"{len(report.rejected):,} of {report.num_found:,} files were left out:"
    remedy = f" (kseq info --rejected {shell_path(report.path)})"
    hint = all_classes_hint(report.path)
    return "\n".join(_lines(report, with_all_classes, hint, outcome, "were", [left_out, *rejected_lines(report, remedy)]))


def _plan(report: kseq.PackReport, with_all_classes: bool) -> str:
    shards, size = format_count(report.num_shards, "shard"), format_bytes(report.num_bytes)
    free = f", of {format_bytes(report.num_bytes_free)} that are free there" if report.num_bytes_free else ""
    outcome = f"would be packed into {printable(report.path)}: {shards}, about {size}{free}"
    left_out = f"{len(report.rejected):,} of {report.num_found:,} would be left out, besides files that turn out to be broken:"
    rejected = [left_out, *rejected_lines(report, "")]
    return "\n".join(_lines(report, with_all_classes, "--classes shows all", outcome, "are", rejected))


def _lines(
    report: kseq.PackReport, with_all_classes: bool, hint: str, outcome: str, tense: str, rejected: list[str]
) -> list[str]:
    """What a packing and a dry run say alike: counts, the outcome, and what is special."""
    lines = [
        format_counts(report.splits, report.class_names, report.class_counts, hint=hint, with_all=with_all_classes),
        "",
        f"{format_count(report.num_samples, 'image')} {outcome}",
    ]
    if report.num_resumed:
        lines.append(f"{report.num_resumed} of the shards {tense} there from an earlier run")
    if report.empty_class_names:
        lines.append(f"classes without a sample: {format_names(report.empty_class_names)}")
    if report.boxes is not None:
        lines += ["", format_boxes(report.boxes, hint=hint, with_all=with_all_classes), *map(printable, report.boxes.lines)]
    lines += [f"note: {printable(note)}" for note in report.lines]
    return [*lines, *(rejected if report.rejected else [])]
