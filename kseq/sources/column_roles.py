"""Which columns of a table, or features of a record, hold the images, the classes and the other values of samples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kseq.arguments import spelled
from kseq.errors import ArgumentError, SourceError
from kseq.sources.cell_types import NUMBER_FORMS
from kseq.sources.text import describe_text, is_well_encoded
from kseq.storage.field_kinds import KINDS, FieldKind, Keypoints
from kseq.storage.field_names import check_field_names, name_after_column

__all__ = [
    "OBJECT_MASKS",
    "TARGET_KINDS",
    "USUAL",
    "Columns",
    "describe_unused_columns",
    "find_columns",
    "find_usual",
    "has_targets",
    "image_columns",
    "image_field_names",
    "listed",
    "map_targets",
    "mask_field_name",
    "mask_of_objects",
    "mirror_order",
    "pixel_columns",
    "unused_annotations",
    "used_columns",
    "value_columns",
]

OBJECT_MASKS = ("semantic", "instances")
"""What a mask may hold of the outlines of objects."""

TARGET_KINDS = tuple(name for name, kind in KINDS.items() if kind.can_be_target)
"""The allowed values of the argument `kinds` of `Columns`."""

# The usual names of columns; the first that a source has is taken.
USUAL: Mapping[str, Sequence[str]] = {
    "image": ("image", "path", "file", "filename", "file_name", "filepath", "image_path", "image_file"),
    "label": ("label", "class", "class_name", "category"),
}
# The name of a column or, for a field of another name, the name of the field and the column.
_NamedColumn = str | tuple[str, str]

# Columns of what people draw on images.
_ANNOTATIONS = re.compile(
    r"(?<![a-z])(b?box(es)?\w*|bounding_?box\w*|masks?|segmentations?|polygons?|key_?points?|landmarks?|rles?|encodedpixels|"
    r"objects?)(?![a-z])",
    re.IGNORECASE,
)

_SINGLE = ("label", "split", "group", "boxes", "box_labels", "text", "sample_weight")
# So many names of columns stand in a message.
_LISTED = 50


@dataclass(frozen=True, init=False)
class Columns:
    """Which column of a source holds what; a feature, an array, a key or a kind of file counts as a column.

    Columns that are left out are found by their usual names (the images and the labels) or not used (all others). Two objects
    made from the same names are equal, in whichever form the names were given.

    Args:
        image: The column of the images, or of their paths, which makes the field `image`. Several columns make one field each,
            called like the columns (in lower case, with `_` for what is no letter and no digit, without `.png` and the like).
            Or a dict of field name to column. None for the first column of a usual name: in a table `image`, `path`, `file`,
            `filename`, `file_name`, `filepath`, `image_path` or `image_file`.
        label: The column of the classes. None for the first column of a usual name, in a table `label`, `class`, `class_name`
            or `category`; `""` for no label.
        targets: Fields of numbers, of vectors, or of several labels (a list, or text separated by `|`): a dict of field name to
            column, or the names of columns, whose fields are called like them (in lower case, with `_` for what is no letter
            and no digit).
        kinds: Field name to kind, for targets that are neither numbers nor several labels, or whose cells do not tell which of
            the two they are: `"text"`, `"numbers"`, `"multi_label"`, `"sample_weight"` or `"keypoints"`; or `"number"`, one for
            each sample, or `"vector"`, a list of them; or `"map"`, numbers for each pixel, such as depth, whose column is one
            of files as that of images is (`.npy`, TIFF, PFM, PNG), resized bilinearly, and `"nearest_map"`, by the nearest.
        mirror_pairs: Field name to pairs of point numbers, left and right, for targets of the kind `"keypoints"`: the points
            that change places in a mirrored image; an empty list if none do. Batches then need none.
        mask: The column of the paths of masks: images of one channel, with a value for each pixel. The field is called like the
            column; or a dict of one field name to its column. Masks are stored without loss and resized by the nearest pixel.
            Of annotations with outlines of objects (COCO, LabelMe, YOLO): `"semantic"`, the class of each pixel, or
            `"instances"`, the number of the object of each pixel.
        boxes: The column of boxes, each a list of `[x1, y1, x2, y2]` in pixels of the upright image.
        box_labels: The column of the classes of the boxes: a list with one class for each box.
        text: The column of text.
        sample_weight: The column of loss weights, finite numbers of 0 or more.
        split: The column of the splits: `train`, `val` (`validation`, `valid`) or `test`, in upper or lower case. A sample with
            an empty cell takes part in the shares of `val` and `test`.
        group: A column whose value is shared by samples that belong together, such as a patient: they all go into one split,
            and a share is a share of such groups. An empty cell means no group.

    Attributes:
        image: A tuple of columns or, of those that were given with a name, pairs of field name and column; empty where the
            usual names decide.
        mask: A column, a pair of field name and column, or None.
        targets: A tuple of pairs, field name and column.
        kinds: A tuple of pairs, field name and kind.
        mirror_pairs: A tuple of pairs, field name and pairs of point numbers.

    Raises:
        ArgumentError: Where a value is not a name of a column, two fields would have the same name, `box_labels` is given
            without `boxes`, `kinds` names a field that is not a target, or a kind that a target cannot have, or `mirror_pairs`
            names a field that has no keypoints, or a point twice.
    """

    image: tuple[str | tuple[str, str], ...]
    label: str | None
    targets: tuple[tuple[str, str], ...]
    kinds: tuple[tuple[str, str], ...]
    mirror_pairs: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]
    mask: str | tuple[str, str] | None
    boxes: str | None
    box_labels: str | None
    text: str | None
    sample_weight: str | None
    split: str | None
    group: str | None

    def __init__(
        self,
        *,
        image: str | Sequence[str | tuple[str, str]] | Mapping[str, str] | None = None,
        label: str | None = None,
        targets: str | Mapping[str, str] | Sequence[str | tuple[str, str]] | None = None,
        kinds: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
        mirror_pairs: Mapping[str, Sequence[tuple[int, int]]] | Sequence[tuple[str, Any]] | None = None,
        mask: str | tuple[str, str] | Mapping[str, str] | None = None,
        boxes: str | None = None,
        box_labels: str | None = None,
        text: str | None = None,
        sample_weight: str | None = None,
        split: str | None = None,
        group: str | None = None,
    ) -> None:
        columns = {
            "image": _image_columns(image),
            "label": label,
            "targets": _target_columns(targets),
            "kinds": _target_kinds(kinds),
            "mirror_pairs": _mirror_pairs(mirror_pairs),
            "mask": _mask_column(mask),
            "boxes": boxes,
            "box_labels": box_labels,
            "text": text,
            "sample_weight": sample_weight,
            "split": split,
            "group": group,
        }
        for name, value in columns.items():
            is_name = isinstance(value, str) and (value != "" or name == "label")
            if name in _SINGLE and not (value is None or is_name):
                raise ArgumentError(f"{spelled(name, value)}: allowed is the name of a column")
            # The class is frozen for everybody else.
            object.__setattr__(self, name, value)
        if self.box_labels is not None and self.boxes is None:
            raise ArgumentError(f"{spelled('box_labels', self.box_labels)}: goes with {spelled('boxes')}, found none")
        unknown = [name for name, _ in self.kinds if name not in dict(self.targets)]
        if unknown:
            raise ArgumentError(
                f"{spelled('kinds', dict(self.kinds))}: {unknown[0]!r} is not among {spelled('targets', dict(self.targets))}"
            )
        mirrored = [name for name, _ in self.mirror_pairs if dict(self.kinds).get(name) != Keypoints.name]
        if mirrored:
            raise ArgumentError(
                f"{spelled('mirror_pairs')}: {mirrored[0]!r} is no target of the kind 'keypoints' ({spelled('kinds')})"
            )
        mask_names = [] if self.mask is None else [mask_field_name(self)]
        check_field_names([*image_field_names(self), *mask_names, *_value_field_names(self)])


def image_columns(columns: Columns) -> tuple[str, ...]:
    """The columns of the images that are named; none where the usual names decide."""
    return tuple(_column(named) for named in columns.image)


def image_field_names(columns: Columns) -> list[str]:
    """The names of the image fields: those that are given, or `image`; of several without, those of the columns."""
    if len(columns.image) < 2 and not any(isinstance(named, tuple) for named in columns.image):
        return ["image"]
    return [_field_name(named) for named in columns.image]


def mask_field_name(columns: Columns) -> str:
    """The name of the field of the masks: the one that is given, or that of the column."""
    assert columns.mask is not None
    return _field_name(columns.mask)


def mask_of_objects(columns: Columns) -> str | None:
    """`"semantic"` or `"instances"`, if the mask is to be drawn from the outlines of objects; None if not."""
    column = None if columns.mask is None else _column(columns.mask)
    return column if column in OBJECT_MASKS else None


def _column(named: _NamedColumn) -> str:
    return named if isinstance(named, str) else named[1]


def _field_name(named: _NamedColumn) -> str:
    return name_after_column(named) if isinstance(named, str) else named[0]


def _value_field_names(columns: Columns) -> list[str]:
    """The names of the fields besides images and masks."""
    singles = [kind.name for kind in KINDS.values() if not kind.is_pixels and _column_of(columns, kind)]
    return [*singles, *(name for name, _ in columns.targets)]


def _column_of(columns: Columns, kind: type[FieldKind]) -> str | None:
    """The column of a kind; None if there is none, or if `image` or `targets` name the columns of the kind."""
    return None if kind.column is None or kind.is_image else getattr(columns, kind.column)


def has_targets(columns: Columns) -> bool:
    """Whether a sample holds something to learn besides a label; one of several images may be that."""
    kinds = [kind for kind in KINDS.values() if kind.is_default_target and not kind.is_label]
    return bool(columns.targets) or len(columns.image) > 1 or any(_column_of(columns, kind) is not None for kind in kinds)


def unused_annotations(names: Sequence[str], columns: Columns) -> list[str]:
    """The columns that are called like annotations and that nothing is read from."""
    used = {name for _, name in used_columns(columns)}
    return [name for name in dict.fromkeys(names) if name not in used and _ANNOTATIONS.search(name)]


def describe_unused_columns(path: str, names: Sequence[str], columns: Columns) -> list[str]:
    """What to say of columns that look like annotations and that nothing is read from."""
    unused = unused_annotations(names, columns)
    options = ", ".join(spelled(f"columns.{role}") for role in ("boxes", "mask", "targets"))
    return [f"{path}: not packed: column {', '.join(unused[:5])} ({options} pack more)"] if unused else []


def used_columns(columns: Columns) -> list[tuple[str, str]]:
    """The columns that are used, each with the attribute that names it."""
    used = [("image", name) for name in image_columns(columns)] + [("targets", name) for _, name in columns.targets]
    used += [] if columns.mask is None else [("mask", _column(columns.mask))]
    return used + [(role, getattr(columns, role)) for role in _SINGLE if getattr(columns, role)]


def pixel_columns(columns: Columns) -> tuple[str, ...]:
    """The columns of images, after them the column of masks, and those of maps."""
    maps = (column for _, column, _ in map_targets(columns))
    return (*image_columns(columns), *(() if columns.mask is None else (_column(columns.mask),)), *maps)


def map_targets(columns: Columns) -> list[tuple[str, str, str]]:
    """The targets that are maps, whose cells are those of images: field name, column and kind."""
    kinds = {name: kind for name, kind in columns.kinds if kind in KINDS and KINDS[kind].is_pixels}
    return [(name, column, kinds[name]) for name, column in columns.targets if name in kinds]


def value_columns(columns: Columns) -> list[str]:
    """The columns that are used besides those of images, masks and maps, each once."""
    return list(dict.fromkeys(name for _, name in used_columns(columns) if name not in pixel_columns(columns)))


def find_columns(
    columns: Columns, path: str, names: Sequence[str], usual: Mapping[str, Sequence[str]] = USUAL, hint: str = ""
) -> Columns:
    """Find the columns in a source: images and labels by their usual names if they are not named.

    Args:
        columns: The columns as the caller named them.
        path: The source, for messages.
        names: The columns of the source.
        usual: The usual names of images and labels in such a source.
        hint: What packs the source, for a refusal where it has no label.

    Returns:
        The columns with names for the images; the label is None if there is none.

    Raises:
        SourceError: If the source lacks a column.
    """
    image: tuple[_NamedColumn, ...] = columns.image or _find_usual(columns, path, "image", names, usual, "")
    label = (
        columns.label if columns.label is not None else next(iter(_find_usual(columns, path, "label", names, usual, hint)), "")
    )
    found = replace(columns, image=image, label=label or None)
    for role, name in used_columns(found):
        if name not in names:
            argument = spelled(f"columns.{role}")
            raise SourceError(f"{path}: has no column {name!r} ({argument}), its columns are {listed(names)}")
        if names.count(name) > 1:
            raise SourceError(f"{path}: has {names.count(name)} columns called {name!r}, allowed is one")
    return found


def _find_usual(
    columns: Columns, path: str, role: str, names: Sequence[str], usual: Mapping[str, Sequence[str]], hint: str
) -> tuple[str, ...]:
    """The first column with a usual name; nothing if there is none, and samples hold something to learn besides a label."""
    # Classes of boxes are often called as labels are.
    found = find_usual(role, [name for name in names if name != columns.box_labels], usual)
    if not found and (role == "image" or not has_targets(columns)):
        none = "" if role == "image" else f" ({spelled('columns.label', '')}: there is none)"
        raise SourceError(
            f"{path}: which column is the {role}? No column is called {', '.join(usual[role])}, its columns are "
            f"{listed(names)}: name it by {spelled(f'columns.{role}')}{none}{hint}"
        )
    return found


def find_usual(role: str, names: Sequence[str], usual: Mapping[str, Sequence[str]] = USUAL) -> tuple[str, ...]:
    """The first column that is called as those of images or of labels usually are; nothing if there is none."""
    return tuple(name for name in usual[role] if name in names)[:1] or _find_in_capitals(usual[role], names)


def listed(names: Sequence[str]) -> str:
    """The names of columns, for messages: of a table of pixels or of genes the first."""
    more = f" and {len(names) - _LISTED:,} others" if len(names) > _LISTED else ""
    names = [name or "''" for name in names[:_LISTED]]
    if all(map(is_well_encoded, names)):
        return ", ".join(names) + more
    shown = ", ".join(name if is_well_encoded(name) else describe_text(name) for name in names) + more
    return f"{shown}, not all of them in UTF-8 ({spelled('text_encoding')} says how the text is encoded)"


def _find_in_capitals(usual: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """The first column that is called as usual but for capitals and spaces, if there is one such: `File Name`."""
    for name in usual:
        matches = [other for other in names if other.casefold().replace(" ", "_") == name.casefold()]
        if len(matches) == 1:
            return (matches[0],)
    return ()


def _image_columns(image: Any) -> tuple[_NamedColumn, ...]:
    """One column of images, or several, some with a name for the field."""
    listed = list(image.items()) if isinstance(image, Mapping) else (image,) if isinstance(image, str) else image
    columns: Sequence[Any] = () if listed is None else listed if _is_sequence(listed) else (None,)
    if not all((isinstance(column, str) and column) or _is_pair(column) for column in columns):
        raise ArgumentError(
            f"{spelled('image', image)}: allowed is the name of a column, a list of such names, or a dict of field name to "
            "column"
        )
    return tuple(columns)


def _mask_column(mask: Any) -> _NamedColumn | None:
    """The column of masks, perhaps with a name for the field."""
    listed = list(mask.items()) if isinstance(mask, Mapping) else [mask]
    named: Any = listed[0] if len(listed) == 1 else ()
    if named is None or (isinstance(named, str) and named != "") or _is_pair(named):
        chosen: _NamedColumn | None = named
        return chosen
    raise ArgumentError(f"{spelled('mask', mask)}: allowed is the name of a column, or a dict of one field name to its column")


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and [*map(type, value)] == [str, str]


def _target_columns(targets: Any) -> tuple[tuple[str, str], ...]:
    """Pairs of field name and column; a column alone gives the field its name."""
    if targets is None:
        return ()
    given = [targets] if isinstance(targets, str) else list(targets.items()) if isinstance(targets, Mapping) else targets
    listed: Sequence[Any] = given if _is_sequence(given) else [()]
    pairs: list[Any] = [(name_after_column(name), name) if isinstance(name, str) else name for name in listed]
    if not all(map(_is_pair, pairs)):
        raise ArgumentError(f"{spelled('targets', targets)}: allowed is a dict of field name to column, or a list of columns")
    return tuple(pairs)


def _target_kinds(kinds: Any) -> tuple[tuple[str, str], ...]:
    """Pairs of field name and kind."""
    if kinds is None:
        return ()
    pairs = list(kinds.items()) if isinstance(kinds, Mapping) else kinds
    are_pairs = _is_sequence(pairs) and all(map(_is_pair, pairs))
    # Asked now, not read from TARGET_KINDS: a program may have registered further kinds.
    allowed = [*NUMBER_FORMS, *(name for name, kind in KINDS.items() if kind.can_be_target)]
    if not are_pairs or not all(kind in allowed for _, kind in pairs):
        raise ArgumentError(f"{spelled('kinds', kinds)}: allowed for each field is one of {', '.join(allowed)}")
    if len(dict(pairs)) < len(pairs):
        raise ArgumentError(f"{spelled('kinds', kinds)}: names a field twice, allowed is one kind for each")
    return tuple(pairs)


def _mirror_pairs(pairs: Any) -> tuple[tuple[str, tuple[tuple[int, int], ...]], ...]:
    """Pairs of field name and pairs of point numbers."""
    listed = [] if pairs is None else list(pairs.items()) if isinstance(pairs, Mapping) else pairs
    try:
        chosen = tuple(
            (str(name), tuple((_point(left), _point(right)) for left, right in of_field)) for name, of_field in listed
        )
        numbers = [[number for pair in of_field for number in pair] for _, of_field in chosen]
        if not all(len(set(of_field)) == len(of_field) for of_field in numbers) or len(dict(chosen)) < len(chosen):
            raise ValueError
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"{spelled('mirror_pairs')}: found {str(pairs)[:60]}, allowed is a dict of field names to pairs of "
            "point numbers, each at most once, "
            "such as {'keypoints': [(0, 1)]}"
        ) from error
    return chosen


def _point(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError
    return int(value)


def mirror_order(name: str, num_points: int, columns: Columns) -> tuple[int, ...]:
    """For each keypoint of a field the number of that which takes its place in a mirrored image; empty if nobody has said.

    Raises:
        SourceError: If a pair has a number of no point.
    """
    pairs = dict(columns.mirror_pairs).get(name)
    if pairs is None:
        return ()
    order = list(range(num_points))
    for left, right in pairs:
        if max(left, right) >= num_points:
            raise SourceError(
                f"{spelled('columns.mirror_pairs')}: ({left}, {right}) of {name}, allowed are numbers in [0, {num_points})"
            )
        order[left], order[right] = right, left
    return tuple(order)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
