"""What is known of the boxes of a dataset: how many there are of each class, and which were left out when it was packed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kseq.arguments import spelled
from kseq.display.charts import class_table
from kseq.display.html import frame, items

if TYPE_CHECKING:
    from kseq.storage.fields import Field

__all__ = [
    "BOX_FACTS",
    "LEFT_OUT",
    "REMARKS",
    "SHARD_FACTS",
    "BoxCounts",
    "add_facts",
    "box_class_names",
    "box_field",
    "count_labels",
    "fact_attribute",
    "format_facts",
    "parse_facts",
]

# The attribute of an index that has the sums of all shards, and what only the source knew.
BOX_FACTS = "box_facts"

# Why boxes are left out: the name under which they are counted, and the reason in words, after "boxes".
LEFT_OUT = {
    "flat": "without width or height",
    "outside": "outside of their image",
    "cropped": "whose centre was cropped away",
    "crowd": "of crowds (iscrowd)",
    "shapeless": "without a box, an outline or anything else that says where the object is",
    "unknown_class": "of classes that are not among the class names",
    "class_left_out": "of classes that were left out",
    "other_shape": "of shapes that are no boxes, such as points and lines",
}
# What is counted of boxes that stay.
REMARKS = {
    "cut": "reach more than a pixel beyond their image, and end at its edge",
    "small": "are narrower or lower than a pixel",
    "shares": "lie inside the first pixel of their image: boxes are in pixels, these look like shares of the image",
    "outline": "are boxes around an outline or a mask: the outline is not stored",
    "turned": "are boxes around a turned box: the angle is not stored",
    "several_labels": "have several labels, of which the first is taken",
    "grouped": "are parts of one object (group_id), which has one box",
}
# What is known only when an image is read; a source knows the rest.
SHARD_FACTS = ("flat", "outside", "cropped", "cut", "small", "shares")


@dataclass(frozen=True)
class BoxCounts:
    """The boxes of a dataset.

    Attributes:
        class_names: The class name of each label number of boxes; empty if boxes have no classes.
        num_boxes: Split name to the number of boxes.
        num_empty: Split name to the number of samples without a box.
        class_counts: Split name to the number of boxes of each class; empty if boxes have no classes.
        left_out: Reason to the number of boxes that packing left out for it, of samples that were packed.
        remarks: What is remarkable of boxes, to the number of boxes: of those that were packed, or of all that the source has.
    """

    class_names: tuple[str, ...] = field(repr=False)
    num_boxes: dict[str, int]
    num_empty: dict[str, int]
    class_counts: dict[str, list[int]] = field(repr=False)
    left_out: dict[str, int]
    remarks: dict[str, int]

    def _repr_html_(self) -> str:
        """What a notebook shows: a row for each class, and what is remarkable."""
        return frame("BoxCounts", lambda: [class_table(self.num_boxes, self.class_names, self.class_counts), items(self.lines)])

    @classmethod
    def of(
        cls,
        class_names: Sequence[str],
        lengths: Mapping[str, np.ndarray],
        class_counts: Mapping[str, np.ndarray],
        facts: Mapping[str, int],
    ) -> BoxCounts:
        """The counts of some splits.

        Args:
            class_names: The class name of each label number.
            lengths: Split name to `(n,)` numbers of boxes, one for each sample.
            class_counts: Split name to `(classes,)` numbers of boxes.
            facts: Name to number of what packing counted.
        """
        return cls(
            tuple(class_names),
            {name: int(counts.sum(dtype=np.int64)) for name, counts in lengths.items()},
            {name: int((counts == 0).sum()) for name, counts in lengths.items()},
            {name: counts.tolist() for name, counts in class_counts.items()} if class_names else {},
            {text: facts[name] for name, text in LEFT_OUT.items() if facts.get(name)},
            {text: facts[name] for name, text in REMARKS.items() if facts.get(name)},
        )

    @property
    def lines(self) -> list[str]:
        """What a person should know: what was left out, what is remarkable, and what is missing."""
        total = sum(self.num_boxes.values())
        lines = [f"boxes left out: {count:,} {reason}" for reason, count in self.left_out.items()]
        # What a source counts may be of samples and classes that are not packed.
        packed = {REMARKS[name] for name in SHARD_FACTS if name in REMARKS}
        lines += [
            f"of {f'{total:,} boxes' if remark in packed else 'the boxes of the source'} {count:,} {remark}"
            for remark, count in self.remarks.items()
        ]
        if self.num_boxes and not total:
            lines.append("no image has a box")
        unused = [
            name
            for name, *counts in zip(self.class_names, *self.class_counts.values(), strict=False)
            if self.class_counts and not sum(counts)
        ]
        if unused and total:
            names = ", ".join(unused[:5]) + (f" and {len(unused) - 5:,} more" if len(unused) > 5 else "")
            lines.append(f"classes without a box: {names} ({spelled('class_names')} says which classes there are)")
        return lines


def box_field(fields: Iterable[Field]) -> Field | None:
    """The field of boxes among those of a sample; None if there is none."""
    return next((field for field in fields if field.kind == "boxes"), None)


def box_class_names(fields: Iterable[Field]) -> tuple[str, ...]:
    """The class name of each label number of boxes; empty if boxes have no classes."""
    return next((field.class_names for field in fields if field.kind == "labels"), ())


def count_labels(labels: np.ndarray, codes: np.ndarray, num_codes: int, num_classes: int) -> np.ndarray:
    """`(num_codes, num_classes)` int64: how many boxes of each class lie in each split.

    Args:
        labels: `(boxes,)` class numbers; those that no class has are not counted.
        codes: `(boxes,)` the number of the split of each box.
        num_codes: How many splits there are.
        num_classes: How many classes there are.
    """
    is_class = (labels >= 0) & (labels < num_classes)
    cells = codes[is_class].astype(np.int64) * num_classes + labels[is_class]
    return np.bincount(cells, minlength=num_codes * num_classes).reshape(num_codes, num_classes)


def add_facts(facts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sums of what was counted in several places."""
    total: Counter[str] = Counter()
    for counts in facts:
        total.update(counts)
    return {name: count for name, count in sorted(total.items()) if count}


def fact_attribute(name: str) -> str:
    """The attribute of a shard that has the number of a name."""
    return f"boxes_{name}"


def format_facts(facts: Mapping[str, int]) -> str:
    """What was counted, as the text of an attribute."""
    return json.dumps(dict(sorted(facts.items())))


def parse_facts(text: object) -> dict[str, int]:
    """What `format_facts` wrote, without anything that it would not write; nothing for an index that has no such attribute."""
    try:
        facts = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return {}
    known = {**LEFT_OUT, **REMARKS}
    if not isinstance(facts, dict):
        return {}
    return {name: count for name, count in facts.items() if name in known and type(count) is int and count > 0}
