"""`kseq export`: a dataset back to image files, tars, TFRecords or Parquet."""

from __future__ import annotations

import argparse
from typing import Any

import kseq

from ..console.count_table import format_counts
from ..console.json_output import add_json_option, print_json
from ..console.options import add_cache_options, add_storage_options, size_in_bytes, storage_options
from ..console.progress import Progress
from ..console.text import format_bytes, format_count, printable, shell_line


def add_parser(commands: Any) -> None:
    """Add `export` to the command."""
    parser = commands.add_parser(
        "export",
        examples=("kseq export flowers photos", "kseq export flowers tars --to webdataset --split train"),
        help="write a dataset as image files, tars, TFRecords or Parquet",
        description="Write the samples of DATASET into OUT, a new folder: image files and a table of the rest, WebDataset "
        "tars, TFRecords, or Parquet with a card for Hugging Face. The last line of the output is the command that packs them "
        "again.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="folder of a dataset, or its URL")
    parser.add_argument("out", metavar="OUT", help="folder to make")
    parser.add_argument(
        "--to",
        dest="format",
        choices=kseq.EXPORT_FORMATS,
        default="folder",
        help="what to write (default: %(default)s)",
    )
    parser.add_argument("--split", metavar="NAME", help="export this split alone (default: all samples)")
    parser.add_argument(
        "--file-bytes",
        type=size_in_bytes,
        metavar="SIZE",
        help="about how large each tar, TFRecord or Parquet file is, such as 64M (default: 256M)",
    )
    add_cache_options(parser)
    add_storage_options(parser)
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Export, with progress on stderr and a summary on stdout."""
    with Progress() as progress:
        report = kseq.export(
            arguments.dataset,
            arguments.out,
            format=arguments.format,
            split=arguments.split,
            file_bytes=arguments.file_bytes,
            cache_dir=arguments.cache_dir,
            cache_bytes=arguments.cache_bytes,
            storage_options=storage_options(arguments),
            progress=progress.show,
        )
    if arguments.json:
        print_json(arguments, report)
        return 0
    files = format_count(report.num_files, "file")
    print(format_counts(report.splits, (), {}))
    print(
        f"\n{format_count(report.num_samples, 'sample')} in {printable(report.path)}: {files}, {format_bytes(report.num_bytes)}"
    )
    print(f"\npacked again by\n  {shell_line(report.pack_command)}")
    return 0
