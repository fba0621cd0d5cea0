"""All samples of a source, column by column: a few bytes each, where tuples would take half a kilobyte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice, repeat
from typing import Any, NamedTuple, overload

import numpy as np

from kseq.sources.spooled_column import BLOCK_ROWS, SpooledColumn

__all__ = ["ImageTable", "SourceImage", "Splits", "TableBuilder"]


class SourceImage(NamedTuple):
    """One sample that was found, or that a table names.

    Attributes:
        path: The name of the sample, as bytes: for an image file its path below the root of the source, with `/` between
            folders, or its absolute path.
        label: The class number; -1 for no label.
        split: `"train"`, `"val"` or `"test"`; None if the source does not say.
        num_bytes: The size of the image files, in bytes; for a range of a larger file, the size of that.
        rejection: Why the sample cannot be packed, if that is known before its image is read; else None.
        group: Samples with the same group go into the same split; None for no group.
        values: One entry for each field of the source after the first image and the label: the value, or for another image or a
            mask its location.
        location: Where `Source.fetch` finds the first image; None if that is `path`. Plain: numbers, text, bytes, or a tuple of
            these, named or not.
    """

    path: bytes
    label: int
    split: str | None
    num_bytes: int
    rejection: str | None = None
    group: str | None = None
    values: tuple[Any, ...] = ()
    location: Any = None


@dataclass(frozen=True, eq=False)
class Splits(Sequence[Any]):
    """The split of each sample, as a sequence of names; None for no split.

    Attributes:
        codes: `(n,)` int8: positions in `names`.
        names: The different splits.
    """

    codes: np.ndarray
    names: tuple[str | None, ...]

    def code(self, name: str | None) -> int:
        """The position of a split in `names`; -1 if no sample has it."""
        return self.names.index(name) if name in self.names else -1

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[str | None]:
        return map(self.names.__getitem__, _numbers(self.codes))

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self.names[code] for code in self.codes[row].tolist()]
        return self.names[self.codes[row]]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)


@dataclass(frozen=True, eq=False)
class ImageTable(Sequence[SourceImage]):
    """Samples in their order: a sequence of `SourceImage`, of which a slice is a table again.

    Attributes:
        labels: `(n,)` int32: class numbers; -1 for no label.
        splits: The split that the source tells of each sample.
        num_bytes: `(n,)` int64: see `SourceImage`.
        is_rejected: `(n,)` bool: which samples have a rejection.
        columns: The other attributes of a `SourceImage` by their names, each a column of the whole table.
        values: A column of the whole table for each entry of `SourceImage.values`.
        first: The row of the columns that is the first of this table; not 0 in a slice.
    """

    labels: np.ndarray
    splits: Splits
    num_bytes: np.ndarray
    is_rejected: np.ndarray
    columns: dict[str, SpooledColumn] = field(repr=False)
    values: tuple[SpooledColumn, ...] = field(repr=False)
    first: int = 0

    @classmethod
    def of(cls, images: Iterable[SourceImage]) -> ImageTable:
        """A table of some samples, which need not be in memory together."""
        builder, iterator = TableBuilder(), iter(images)
        values: list[SpooledColumn] = []
        while block := list(islice(iterator, BLOCK_ROWS)):
            paths, labels, splits, num_bytes, rejections, groups, value_rows, locations = map(list, zip(*block, strict=True))
            # Samples that are rejected early may have no values.
            missing = max(map(len, value_rows)) - len(values)
            values += [SpooledColumn(repeat(None, len(builder))) for _ in range(missing)]
            for position, column in enumerate(values):
                column.extend(row[position] if position < len(row) else None for row in value_rows)
            builder.add(paths, labels, splits, num_bytes, rejections, groups, locations)
        return builder.finish(values)

    @property
    def paths(self) -> Iterator[bytes]:
        """The name of each sample."""
        return self._rows(self.columns["path"])

    @property
    def rejections(self) -> Iterator[str | None]:
        """Why each sample cannot be packed; None if it may be."""
        return self._rows(self.columns["rejection"])

    @property
    def groups(self) -> Iterator[str | None]:
        """The group of each sample."""
        return self._rows(self.columns["group"])

    @property
    def locations(self) -> Iterator[Any]:
        """Where `Source.fetch` finds the first image of each sample; None where that is the name."""
        return self._rows(self.columns["location"])

    @property
    def value_rows(self) -> Iterator[tuple[Any, ...]]:
        """The values of each sample."""
        return zip(*map(self._rows, self.values), strict=True) if self.values else repeat((), len(self))

    def _rows(self, column: SpooledColumn) -> Iterator[Any]:
        return column.rows(self.first, self.first + len(self))

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[SourceImage]:
        return map(
            SourceImage,
            self.paths,
            _numbers(self.labels),
            self.splits,
            _numbers(self.num_bytes),
            self.rejections,
            self.groups,
            self.value_rows,
            self.locations,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(SourceImage.__eq__, self, other))

    @overload
    def __getitem__(self, row: int) -> SourceImage: ...
    @overload
    def __getitem__(self, row: slice) -> ImageTable: ...

    def __getitem__(self, row: int | slice) -> SourceImage | ImageTable:
        if not isinstance(row, slice):
            number = range(len(self))[row]
            return next(iter(self[number : number + 1]))
        start, stop, step = row.indices(len(self))
        if step != 1:
            raise ValueError(f"step {step}: samples are sliced one after the other")
        part = slice(start, max(start, stop))
        return replace(
            self,
            labels=self.labels[part],
            splits=Splits(self.splits.codes[part], self.splits.names),
            num_bytes=self.num_bytes[part],
            is_rejected=self.is_rejected[part],
            first=self.first + start,
        )

    def where(self, is_chosen: np.ndarray) -> Iterator[tuple[int, SourceImage]]:
        """Some of the samples, each with its number.

        Args:
            is_chosen: `(n,)` bool.
        """
        for start in range(0, len(self), BLOCK_ROWS):
            rows = np.flatnonzero(is_chosen[start : start + BLOCK_ROWS]).tolist()
            if rows:
                images = list(self[start : start + BLOCK_ROWS])
                yield from ((start + row, images[row]) for row in rows)

    def cut(self, lengths: Iterable[int]) -> Iterator[ImageTable]:
        """The table in pieces one after the other, each with columns of its rows alone, so that it can be pickled.

        Args:
            lengths: How many samples each piece has; together at most as many as the table.
        """
        columns = {name: self._rows(column) for name, column in self.columns.items()}
        values = [self._rows(column) for column in self.values]
        start = 0
        for length in lengths:
            yield replace(
                self[start : start + length],
                columns={name: SpooledColumn(islice(rows, length)) for name, rows in columns.items()},
                values=tuple(SpooledColumn(islice(rows, length)) for rows in values),
                first=0,
            )
            start += length


class TableBuilder:
    """Makes a table of blocks of samples."""

    def __init__(self) -> None:
        self._columns = {name: SpooledColumn() for name in ("path", "rejection", "group", "location")}
        self._labels: list[np.ndarray] = []
        self._num_bytes: list[np.ndarray] = []
        self._is_rejected: list[np.ndarray] = []
        self._split_codes: list[np.ndarray] = []
        self._split_numbers: dict[str | None, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(
        self,
        paths: Sequence[bytes],
        labels: Sequence[int],
        splits: Sequence[str | None],
        num_bytes: Sequence[int],
        rejections: Sequence[str | None],
        groups: Sequence[str | None],
        locations: Sequence[Any],
    ) -> None:
        """Add some samples: the attributes of their `SourceImage`, but for the values."""
        columns = {"path": paths, "rejection": rejections, "group": groups, "location": locations}
        for name, values in columns.items():
            self._columns[name].extend(values)
        numbers = self._split_numbers
        for split in dict.fromkeys(splits):
            numbers.setdefault(split, len(numbers))
        self._split_codes.append(np.fromiter(map(numbers.__getitem__, splits), np.int8, len(splits)))
        self._labels.append(np.array(labels, np.int32))
        self._num_bytes.append(np.array(num_bytes, np.int64))
        self._is_rejected.append(np.array([rejection is not None for rejection in rejections], bool))
        self._count += len(paths)

    def finish(self, values: Sequence[SpooledColumn] = ()) -> ImageTable:
        """The table; `values` are a column for each entry of `SourceImage.values`."""
        return ImageTable(
            _join(self._labels, np.int32),
            Splits(_join(self._split_codes, np.int8), tuple(self._split_numbers)),
            _join(self._num_bytes, np.int64),
            _join(self._is_rejected, bool),
            self._columns,
            tuple(values),
        )


def _join(arrays: list[np.ndarray], dtype: Any) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)


def _numbers(array: np.ndarray) -> Iterator[Any]:
    """The numbers of an array as those of Python, without a list of all."""
    return chain.from_iterable(array[start : start + BLOCK_ROWS].tolist() for start in range(0, len(array), BLOCK_ROWS))
