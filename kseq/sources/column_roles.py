"""Which columns of a table, or features of a record, are the image, its class, and what else a sample holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kseq.errors import ArgumentError, SourceError
from kseq.storage.fields import check_field_name

__all__ = ["USUAL", "Columns"]

# What columns are called where nothing was said; the first that there is.
USUAL: Mapping[str, Sequence[str]] = {
    "image": ("image", "path", "file", "filename", "file_name", "filepath", "image_path", "image_file"),
    "label": ("label", "class", "class_name", "category"),
}
_SINGLE = ("label", "split", "group", "mask", "boxes", "box_labels", "text", "weight")
_OPTIONS = {"split": "split-column"}


@dataclass(frozen=True)
class Columns:
    """Which column says what; None for no column.

    Attributes:
        image: The images; several make a field each, called like their columns. None for the first column of a usual name.
        label: The class; None for the first of a usual name, `""` for no label.
        split: `train`, `val` (`validation`, `valid`) or `test`, in any case; an empty cell leaves it open.
        group: Samples with the same value, such as a patient, share a split; an empty cell is no group.
        targets: Field name and column of numbers, vectors, or several labels.
        mask: An image of values, one for each pixel.
        boxes: Lists of x1, y1, x2, y2.
        box_labels: The classes of the boxes.
        text: Text.
        weight: A number for each sample.
    """

    image: tuple[str, ...] = ()
    label: str | None = None
    split: str | None = None
    group: str | None = None
    targets: tuple[tuple[str, str], ...] = ()
    mask: str | None = None
    boxes: str | None = None
    box_labels: str | None = None
    text: str | None = None
    weight: str | None = None

    @classmethod
    def of(cls, *, image: str | Sequence[str] | None, targets: Mapping[str, str] | None, **others: str | None) -> Columns:
        """As a caller says it: one image or several, targets by the names of their fields."""
        images = (image,) if isinstance(image, str) else tuple(image or ())
        return cls(images, targets=tuple((targets or {}).items()), **others)

    def __post_init__(self) -> None:
        if self.box_labels is not None and self.boxes is None:
            raise ArgumentError(f"box_labels={self.box_labels!r}: goes with boxes, found none")
        names = [*self.image_fields(), *self.extra_fields()]
        doubled = [name for name in names if names.count(name) > 1]
        if doubled:
            raise ArgumentError(f"two fields would be called {doubled[0]!r}: give each a name of its own")
        for name in names:
            check_field_name(name)

    def image_fields(self) -> list[str]:
        """What the image fields are called: `image`, or if there are several, like their columns."""
        if len(self.image) < 2:
            return ["image"]
        return [re.sub("[^a-z0-9]+", "_", name.lower()).strip("_") for name in self.image]

    def extra_fields(self) -> list[str]:
        """What the fields besides images are called."""
        singles = [("label", self.label), ("mask", self.mask), ("boxes", self.boxes), ("labels", self.box_labels)]
        singles += [("text", self.text), ("weight", self.weight)]
        return [name for name, column in singles if column] + [name for name, _ in self.targets]

    @property
    def pixels(self) -> tuple[str, ...]:
        """The columns of images, and after them that of masks."""
        return self.image if self.mask is None else (*self.image, self.mask)

    @property
    def others(self) -> list[str]:
        """The columns that are used besides those, each once."""
        return list(dict.fromkeys(name for _, name in self.named() if name not in self.pixels))

    @property
    def has_targets(self) -> bool:
        """Whether a sample holds something to learn besides a label."""
        return bool(self.targets) or any(each is not None for each in (self.mask, self.boxes, self.text))

    def find(self, path: str, names: Sequence[str], usual: Mapping[str, Sequence[str]] = USUAL) -> Columns:
        """The same with the columns that a source has, images and label found where they were left open.

        Args:
            path: The source, for messages.
            names: Its columns.
            usual: What images and labels are usually called there.

        Raises:
            SourceError: Where it lacks one.
        """
        image = self.image or self._usual(path, "image", names, usual)
        label = self.label if self.label is not None else next(iter(self._usual(path, "label", names, usual)), "")
        found = replace(self, image=image, label=label or None)
        for option, name in found.named():
            if names.count(name) != 1:
                many = f"has {names.count(name)} columns called {name!r}, allowed is one"
                none = f"has no column {name!r} (--{option}), its columns are {', '.join(names)}"
                raise SourceError(f"{path}: {many if name in names else none}")
        return found

    def named(self) -> list[tuple[str, str]]:
        """Option and column, for each column that is used."""
        singles = [(_OPTIONS.get(each, each.replace("_", "-")), getattr(self, each)) for each in _SINGLE]
        used = [("image", name) for name in self.image] + [("target", name) for _, name in self.targets]
        return used + [(option, name) for option, name in singles if name]

    def _usual(self, path: str, what: str, names: Sequence[str], usual: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        found = tuple(name for name in usual[what] if name in names)[:1]
        if not found and (what == "image" or not self.has_targets):
            raise SourceError(
                f"{path}: which column is the {what}? (--{what}) No column is called {', '.join(usual[what])}; "
                f"its columns are {', '.join(names)}"
            )
        return found
