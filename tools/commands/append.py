"""`kseq append`: more images to a packed dataset."""

from __future__ import annotations

import argparse
from typing import Any

import kseq

from ..console.class_counts import all_classes_hint, count
from ..console.count_table import format_boxes, format_change
from ..console.dask_cluster import dask_executor
from ..console.json_output import add_json_option, print_json
from ..console.options import (
    add_share_options,
    add_source_options,
    add_storage_options,
    add_worker_options,
    make_columns,
    run_arguments,
    storage_options,
)
from ..console.progress import Progress
from ..console.rejected import rejected_lines
from ..console.text import format_bytes, format_count, format_names, printable, shell_path


def add_parser(commands: Any) -> None:
    """Add `append` to the command."""
    parser = commands.add_parser(
        "append",
        examples=("kseq append flowers more-photos", "kseq append flowers more.csv --val 0.2"),
        help="pack more images into a dataset",
        usage="kseq append DATASET SOURCE [options]",
        description="Pack SOURCE into DATASET, with the image settings of DATASET. New samples come after the "
        "others, in the splits that SOURCE names, else in train. For SOURCE see kseq pack --help.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="folder of a dataset")
    parser.add_argument("source", metavar="SOURCE", help="folder, file, or pattern of files in quotes; or a URL")
    add_source_options(parser)
    add_share_options(parser.add_argument_group("splits of the new samples"))
    group = parser.add_argument_group("the run")
    add_worker_options(group)
    group.add_argument("--again", action="store_true", help="append samples even if DATASET has all of them already")
    group.add_argument("--resume", action="store_true", help="go on with the same run, which was killed")
    add_storage_options(group)
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Append, with progress on stderr and a summary on stdout."""
    before = count(arguments.dataset)
    with dask_executor(arguments.dask) as executor, Progress() as progress:
        report = kseq.append(
            arguments.dataset,
            arguments.source,
            columns=make_columns(arguments),
            executor=executor,
            again=arguments.again,
            resume=arguments.resume,
            storage_options=storage_options(arguments),
            progress=progress.show,
            **run_arguments(arguments),
        )
    if arguments.json:
        print_json(arguments, report, lines=report.lines)
        return 0
    print(format_change(before, count(arguments.dataset), hint=all_classes_hint(arguments.dataset)))
    print(
        f"\n{format_count(report.num_samples, 'image')} appended to {printable(report.path)}: "
        f"{format_count(report.num_shards, 'new shard')}, {format_bytes(report.num_bytes)}, {report.seconds:.1f} s"
    )
    if report.new_class_names:
        print(f"new classes: {format_names(report.new_class_names)}")
    if report.num_known:
        print(f"{report.num_known:,} of the images were in the dataset already")
    if report.num_resumed:
        print(f"{report.num_resumed} of the new shards were there from an earlier run")
    if report.boxes is not None:
        table = format_boxes(report.boxes, hint=all_classes_hint(report.path))
        print("\n".join(["", table, *map(printable, report.boxes.lines)]))
    for note in report.lines:
        print(f"note: {printable(note)}")
    if report.rejected:
        print(f"{len(report.rejected):,} of {report.num_found:,} files were left out:")
        print("\n".join(rejected_lines(report, f" (kseq info --rejected {shell_path(report.path)})")))
    return 0
