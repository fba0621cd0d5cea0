"""`kseq info`: what a dataset holds."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

import kseq
from kseq.arguments import is_url, path_text
from kseq.errors import ArgumentError

from ..console.class_counts import all_classes_hint
from ..console.count_table import format_boxes, format_counts
from ..console.json_output import add_json_option, print_json
from ..console.options import add_storage_options, storage_options
from ..console.sample_listing import print_samples, write_samples
from ..console.text import format_bytes, format_count, format_names, printable


def add_parser(commands: Any) -> None:
    """Add `info` to the command."""
    parser = commands.add_parser(
        "info",
        examples=("kseq info flowers", "kseq info flowers --samples --to samples.csv"),
        help="show what a dataset holds",
        description="Show the fields, classes, splits and shards of DATASET.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="folder of a dataset, or its URL")
    add_json_option(parser)
    parser.add_argument("--classes", action="store_true", help="print every class, of many classes too")
    parser.add_argument("--rejected", action="store_true", help="list the files that packing left out")
    parser.add_argument(
        "--samples",
        action="store_true",
        help="list the samples instead: id, split, label and source, as CSV, or with --json as JSON Lines",
    )
    parser.add_argument(
        "--to", metavar="FILE", help="write the samples into FILE, .csv or .parquet; that has every field but pixels"
    )
    add_storage_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what the dataset holds."""
    if arguments.to is not None and not arguments.samples:
        raise ArgumentError("--to: goes with --samples")
    # Of a URL, only what is shown is fetched, and no whole shards.
    is_remote = is_url(arguments.dataset)
    options = storage_options(arguments)
    with kseq.ShardDataset(arguments.dataset, cache_bytes=0 if is_remote else None, storage_options=options) as dataset:
        if arguments.to is not None:
            count = write_samples(dataset, path_text("to", arguments.to))
            if arguments.json:
                print_json(arguments, {"path": arguments.to, "num_samples": count})
            else:
                print(f"{printable(arguments.to)}: {format_count(count, 'sample')}")
            return 0
        if arguments.samples:
            print_samples(dataset, arguments.json)
            return 0
        boxes = dataset.box_counts()
        facts = _facts(dataset, boxes)
        if not arguments.rejected:
            del facts["rejected"]
        if arguments.json:
            print_json(arguments, facts)
        else:
            print(_as_text(facts, dataset.fields, boxes, with_all_classes=arguments.classes))
    return 0


def _facts(dataset: kseq.ShardDataset, boxes: kseq.BoxCounts | None) -> dict[str, Any]:
    rejected = dataset.rejected()
    return {
        "path": dataset.path,
        "num_samples": len(dataset),
        "num_shards": dataset.num_shards,
        "num_bytes": dataset.num_bytes,
        "digest": dataset.digest,
        "fields": {
            name: {
                "kind": field.kind,
                "encoded": field.encoded,
                "dtype": np.dtype(field.dtype).name,
                "shape": field.shape,
                "class_names": list(dataset.class_names if field.is_label else field.class_names),
            }
            for name, field in dataset.fields.items()
        },
        "packed_with": dataset.settings,
        "changes": list(dataset.changes),
        "num_dropped": len(dataset.dropped),
        "class_names": list(dataset.class_names),
        "splits": dataset.splits,
        "class_counts": dataset.counts().class_counts,
        "boxes": None if boxes is None else asdict(boxes),
        "packing_notes": list(dataset.packing_notes),
        "num_rejected": len(rejected),
        "rejected": [{"path": os.fsdecode(file.path), "reason": file.reason} for file in rejected],
    }


def _as_text(
    facts: dict[str, Any], fields: Mapping[str, kseq.Field], boxes: kseq.BoxCounts | None, *, with_all_classes: bool
) -> str:
    hint = all_classes_hint(facts["path"])
    lines = [
        f"{printable(facts['path'])}: {format_count(facts['num_samples'], 'sample')} "
        f"in {format_count(facts['num_shards'], 'shard')}, {format_bytes(facts['num_bytes'])}",
        f"digest {facts['digest']}",
        "",
    ]
    lines += [f"{name}: {_field_text(field, facts['packed_with'])}" for name, field in fields.items()]
    lines += [
        "",
        format_counts(
            facts["splits"], facts["class_names"], facts["class_counts"], hint=hint, with_all=with_all_classes, with_bars=True
        ),
    ]
    if boxes is not None:
        lines += ["", format_boxes(boxes, hint=hint, with_all=with_all_classes, with_bars=True), *map(printable, boxes.lines)]
    if facts["num_dropped"]:
        lines += ["", f"dropped, but still there: {format_count(facts['num_dropped'], 'sample')} (kseq compact removes them)"]
    if facts["changes"]:
        lines += ["", "changed since it was packed:", *(f"  {printable(change)}" for change in facts["changes"])]
    if facts["packing_notes"]:
        lines += ["", "notes of when it was packed:", *(f"  {printable(note)}" for note in facts["packing_notes"])]
    if "rejected" in facts and not facts["num_rejected"]:
        lines += ["", "left out when it was packed: nothing"]
    elif facts["num_rejected"]:
        lines += ["", f"left out when it was packed: {format_count(facts['num_rejected'], 'file')}"]
        rejected = [kseq.Rejected(os.fsencode(file["path"]), file["reason"]) for file in facts.get("rejected", [])]
        lines += [f"  {printable(os.fsdecode(file.path))}: {printable(file.explanation)}" for file in rejected]
    return "\n".join(lines)


def _field_text(field: kseq.Field, settings: Mapping[str, Any]) -> str:
    # The class names of the label are the rows of the table of splits.
    names = f": {format_names(field.class_names)}" if field.class_names else ""
    return f"{field.describe_storage(settings)}{names}"
