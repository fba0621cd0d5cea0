"""Labels that the names of files say: a regular expression finds them in the paths of images, as `cat` in `train/cat.0.jpg`.

The rules:

- The expression is looked for in the path below the source, with `/` between folders, as Python's `re.search` does. What its
  first group finds is the label, in the composed form of Unicode.
- An image whose path it does not fit, or whose label is empty or not among the class names, is rejected.
- Classes have the order of all sources: numbers if all are whole numbers, else as text.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from kseq.arguments import spelled
from kseq.errors import ArgumentError, SourceError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.base import ImageTable, Source, SourceImage
from kseq.sources.class_names import folder_class_name, sort_class_names
from kseq.storage.fields import LABEL

__all__ = ["INNERMOST_FOLDER", "check_label_pattern", "label_by_paths", "propose_label_pattern"]

INNERMOST_FOLDER = "([^/]+)/[^/]+$"
"""The expression for the folder that an image lies in."""

# A word before a number, as in `cat.0.jpg`, `great_pyrenees_2.jpg` and `dog (3).png`; a first word, as in `cat-on-a-mat.jpg`.
_PROPOSED = (r"([^/]*[^\W\d_])[ ._-]*\(?\d+\)?\.\w+$", r"([^\W\d_]+)[_-][^/]*$")
# How many names are looked at, and how many images of each class there are at least, on average, if they say one.
_MOST_NAMES, _LEAST_IMAGES = 1000, 3
# How many classes a message shows.
_SHOWN = 3


def check_label_pattern(value: Any) -> re.Pattern[str] | None:
    """The argument `label_pattern`, compiled; None for None.

    Raises:
        ArgumentError: If it is no regular expression, or has no group.
    """
    if value is None:
        return None
    try:
        pattern = re.compile(value)
    except (TypeError, re.error) as error:
        raise ArgumentError(f"{spelled('label_pattern', value)}: is no regular expression: {error}") from error
    if not isinstance(pattern.pattern, str) or pattern.groups < 1:
        raise ArgumentError(
            f"{spelled('label_pattern', value)}: allowed is a regular expression with a group for the label, such as "
            f"{INNERMOST_FOLDER!r} for the folder that an image lies in"
        )
    return pattern


def label_by_paths(source: Source, pattern: re.Pattern[str], class_names: Sequence[str] | None) -> Source:
    """A source without labels as one with those that its paths say.

    Args:
        source: The source.
        pattern: Its first group is the label.
        class_names: The classes in the order of their numbers; None for those that are found, sorted.

    Raises:
        SourceError: If no path says a label that is wanted.
    """
    names = sort_class_names(set(filter(None, _labels(source, pattern)))) if class_names is None else list(class_names)
    images = ImageTable.of(_labelled(source, pattern, {name: number for number, name in enumerate(names)}))
    if not (images.labels >= 0).any():
        example = next((os.fsdecode(path) for path in source.images.paths), "")
        wanted = "" if class_names is None else f" with a label that is one of {', '.join(names[:_SHOWN])}"
        raise SourceError(
            f"{source.root}: {spelled('label_pattern', pattern.pattern)} fits the path of no image{wanted}, such as {example!r}"
        )
    fields = (source.fields[0], LABEL, *source.fields[1:])
    return replace(source, class_names=tuple(names), images=images, fields=fields)


def _labels(source: Source, pattern: re.Pattern[str]) -> Iterator[str | None]:
    """For each sample the label that its path says; None if it says none, empty for an empty one."""
    for path in source.images.paths:
        found = pattern.search(os.fsdecode(path))
        yield None if found is None or found[1] is None else folder_class_name(found[1])


def _labelled(source: Source, pattern: re.Pattern[str], numbers: dict[str, int]) -> Iterator[SourceImage]:
    for image, label in zip(source.images, _labels(source, pattern), strict=True):
        number = -1 if label is None else numbers.get(label, -1)
        if image.rejection is not None or number >= 0:
            yield image._replace(label=number)
        elif not label:
            fault = f"has a path in which {spelled('label_pattern', pattern.pattern)} finds no label"
            yield image._replace(rejection=fault, num_bytes=0)
        else:
            fault = f"is of the class {label!r}, which is not among the class names"
            yield image._replace(rejection=fault, num_bytes=0)


def propose_label_pattern(names: Iterable[str]) -> str:
    """What to say of images whose names seem to say their classes; empty if they do not.

    Args:
        names: The names of some images.
    """
    some = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)][:_MOST_NAMES]
    for pattern in _PROPOSED:
        counts = Counter(found[1] if (found := re.search(pattern, name)) is not None else "" for name in some)
        if 1 < len(counts) <= len(some) / _LEAST_IMAGES and not counts[""]:
            shown = ", ".join([*sorted(counts)[:_SHOWN], *(["..."] if len(counts) > _SHOWN else [])])
            return f"{spelled('label_pattern', pattern)} takes the classes that their names seem to say ({shown})"
    return ""
