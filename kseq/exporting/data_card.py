"""The card of a dataset: Markdown that says what the samples are, how many, and how they were packed.

What people wrote, such as names of classes, is text on the card, and never Markdown or HTML.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kseq.display.words import sort_splits
from kseq.exporting.yaml_text import yaml_lines
from kseq.reading.dataset import ShardDataset, sample_reader
from kseq.reading.label_counts import SplitCounts
from kseq.storage.box_counts import BoxCounts

__all__ = ["CARD_NAME", "Statements", "card_text", "dataset_name"]

CARD_NAME = "README.md"
# Of more classes, or reasons, those with the most samples have a row.
_MOST_ROWS = 200
_SAMPLES_AT_ONCE = 1 << 16
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~$-])")


@dataclass(frozen=True)
class Statements:
    """What a dataset does not know of itself.

    Attributes:
        name: What it is called.
        description: What it is about; empty if nobody has said.
        license: The name of the licence, as SPDX has it, or its URL; empty if nobody has said.
        url: Where it is to be found; empty if nobody has said.
        creator: Who made it; empty if nobody has said.
        citation: How to cite it; empty if nobody has said.
        version: Of the dataset.
        date: When it was published, `YYYY-MM-DD`; empty if nobody has said.
    """

    name: str
    description: str = ""
    license: str = ""
    url: str = ""
    creator: str = ""
    citation: str = ""
    version: str = ""
    date: str = ""


def dataset_name(path: str) -> str:
    """What a dataset is called if nobody says it: as its folder."""
    return os.path.basename(os.path.normpath(path).rstrip("/")) or "dataset"


def card_text(
    dataset: ShardDataset, statements: Statements, front_matter: Mapping[str, Any], loading: str, splits: Sequence[str] = ()
) -> str:
    """A card.

    Args:
        dataset: The dataset.
        statements: What it does not know of itself.
        front_matter: What stands at the top, as YAML.
        loading: How to read it, as Markdown.
        splits: The splits that the card is about; none for all.

    Raises:
        DamagedError: If a shard is damaged, or a split or label is not what it must be.
    """
    counts, boxes = dataset.counts(), dataset.box_counts()
    names = sort_splits(name for name in counts.splits if not splits or name in splits)
    sections = [
        f"# {_text(statements.name)}",
        _text(statements.description) or "Nobody has described this dataset yet.",
        _table(["", ""], _facts(dataset, statements)),
        "## How to read it",
        loading,
        "## Samples",
        _table(["split", "samples"], [[_text(name), f"{counts.splits[name]:,}"] for name in names]),
        *_class_sections("class", names, counts),
        *([] if boxes is None else _box_sections(names, boxes)),
        "## Fields",
        _table(["field", "kind", "stored as", "classes"], _field_rows(dataset)),
        "## How it was packed",
        _table(["setting", "value"], [[_text(name), _text(_setting(value))] for name, value in dataset.settings.items()]),
        *_history(dataset),
    ]
    head = ["---", *yaml_lines(dict(front_matter)), "---", ""] if front_matter else []
    return "\n".join(head) + "\n\n".join(sections) + "\n"


def _facts(dataset: ShardDataset, statements: Statements) -> Iterator[list[str]]:
    yield ["samples", f"{len(dataset):,}"]
    for name, field in dataset.fields.items():
        if field.is_image:
            yield [f"{_text(name)}, height x width", _sizes(dataset, name)]
    if dataset.class_names:
        yield ["classes", f"{len(dataset.class_names):,}"]
    yield ["packed as", f"{dataset.num_bytes:,} bytes in {_count(dataset.num_shards, 'shard')}"]
    yield ["digest", f"`{dataset.digest}`"]
    yield ["licence", _text(statements.license) or "not stated: ask who made it before you use it"]
    for what, value in {
        "version": statements.version,
        "published": statements.date,
        "creator": statements.creator,
        "found at": statements.url,
        "cite as": statements.citation,
    }.items():
        if value:
            yield [what, _text(value)]


def _sizes(dataset: ShardDataset, name: str) -> str:
    """The smallest, the middle and the largest height and width of images."""
    parts = []
    for start in range(0, len(dataset), _SAMPLES_AT_ONCE):
        ids = dataset.sample_ids(np.arange(start, min(start + _SAMPLES_AT_ONCE, len(dataset))))
        parts.append(sample_reader(dataset).locate(ids).sizes(name))
    sizes = np.concatenate(parts) if parts else np.zeros((0, 2), np.int64)
    if not len(sizes):
        return "no images"
    if (sizes == sizes[0]).all():
        return f"{sizes[0, 0]} x {sizes[0, 1]} pixels"
    ranges = [f"{low} to {high} (half are below {middle:.0f})" for low, middle, high in _ranges(sizes)]
    return " x ".join(ranges) + " pixels"


def _ranges(sizes: np.ndarray) -> Iterator[tuple[int, float, int]]:
    for side in sizes.T:
        yield int(side.min()), float(np.median(side)), int(side.max())


def _class_sections(what: str, names: Sequence[str], counts: SplitCounts) -> Iterator[str]:
    if counts.class_counts:
        yield _counts_table(what, names, counts.class_names, counts.class_counts)


def _box_sections(names: Sequence[str], boxes: BoxCounts) -> Iterator[str]:
    yield "## Boxes"
    rows = [[_text(name), f"{boxes.num_boxes[name]:,}", f"{boxes.num_empty[name]:,}"] for name in names]
    yield _table(["split", "boxes", "images without"], rows)
    if boxes.class_counts:
        yield _counts_table("class of a box", names, boxes.class_names, boxes.class_counts)
    if boxes.lines:
        yield _list(boxes.lines)


def _counts_table(what: str, names: Sequence[str], class_names: Sequence[str], counts: Mapping[str, Sequence[int]]) -> str:
    """A row for each class, with its number; of very many classes for those with the most samples."""
    totals = np.sum([counts[name] for name in names], axis=0) if names else np.zeros(len(class_names), int)
    shown = np.sort(np.argsort(-totals, kind="stable")[:_MOST_ROWS]).tolist()
    rows = [[str(number), _text(class_names[number]), *(f"{counts[name][number]:,}" for name in names)] for number in shown]
    table = _table(["number", what, *map(_text, names)], rows)
    left_out = len(class_names) - len(shown)
    return f"{table}\n\n{left_out:,} more classes have fewer." if left_out else table


def _field_rows(dataset: ShardDataset) -> Iterator[list[str]]:
    for name, field in dataset.fields.items():
        classes = field.handler.class_names(dataset.class_names)
        yield [
            _text(name),
            _text(field.kind),
            _text(field.describe_storage(dataset.settings)),
            f"{len(classes):,}" if classes else "",
        ]


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"


def _setting(value: Any) -> str:
    if value is None:
        return "none"
    return " x ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _history(dataset: ShardDataset) -> Iterator[str]:
    if dataset.changes:
        yield "Changed since it was packed:"
        yield _list(dataset.changes)
    if dataset.packing_notes:
        yield "Noted when it was packed:"
        yield _list(dataset.packing_notes)
    if len(dataset.dropped):
        yield f"Dropped since, and in no split: {_count(len(dataset.dropped), 'sample')}."
    reasons = Counter(rejected.reason for rejected in dataset.rejected())
    if reasons:
        yield f"Left out when it was packed: {_count(sum(reasons.values()), 'file')}."
        rows = [[_text(reason), f"{count:,}"] for reason, count in reasons.most_common(_MOST_ROWS)]
        yield _table(["reason", "files"], rows)


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_text(line)}" for line in lines)


def _text(text: str) -> str:
    """Text that stays text in Markdown, on one line."""
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in " ".join(str(text).split("\n"))
    )
    return _MARKDOWN.sub(r"\\\1", shown).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
