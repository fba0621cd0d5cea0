"""Parquet and Arrow files, read by pyarrow one part at a time: a part is a row group, or a record batch."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

from kseq.errors import ArgumentError, ImageError, SourceError, one_line
from kseq.sources.kept_open import kept_open

__all__ = ["ArrowFile", "arrow_errors", "load_pyarrow", "open_arrow_file", "read_column"]

# A row group can hold hundreds of megabytes of images: so many are kept for the rows that come next.
_KEPT_PARTS = 2
# So much of a type is shown.
_SHOWN_TYPE = 80


class ArrowFile:
    """A Parquet or Arrow file.

    Args:
        path: The file.

    Attributes:
        schema: The schema, of pyarrow.
        part_rows: The number of rows in each part.
        row_bytes: About how large a row is, in bytes.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._batches: list[Any] = []
        self._metadata: Any = None
        # What a thread reads with: pyarrow's reader is for one thread at a time.
        self._of_thread = threading.local()
        if path.endswith(".arrow"):
            self.schema, self._batches = _read_batches(path)
            self.part_rows = [batch.num_rows for batch in self._batches]
        else:
            reader = self._of_thread.reader = load_pyarrow().parquet.ParquetFile(path)
            self._metadata, self.schema = reader.metadata, reader.schema_arrow
            self.part_rows = [self._metadata.row_group(part).num_rows for part in range(reader.num_row_groups)]
        # Names are decoded when they are asked for: broken names are found here, where a file is opened.
        str(self.schema)
        self.row_bytes = os.path.getsize(path) // max(sum(self.part_rows), 1)

    def read(self, part: int, columns: Sequence[str]) -> Any:
        """A table of some columns of a part."""
        if self._metadata is not None:
            table = self._reader().read_row_group(part, columns=list(columns))
        else:
            table = load_pyarrow().Table.from_batches([self._batches[part]]).select(list(columns))
        # Arrow has no checksums, and trusts offsets: wrong ones would end the process.
        table.validate(full=True)
        return table

    def _reader(self) -> Any:
        if not hasattr(self._of_thread, "reader"):
            self._of_thread.reader = load_pyarrow().parquet.ParquetFile(self._path, metadata=self._metadata)
        return self._of_thread.reader

    def first_value(self, name: str) -> Any:
        """The first value of a column, without the part that it lies in; None if there are no rows."""
        if self._metadata is None:
            batch: Any = next((batch for batch in self._batches if batch.num_rows), None)
        else:
            batch = next(self._reader().iter_batches(1, columns=[name]), None)
        return None if batch is None else batch.column(batch.schema.names.index(name))[0].as_py()

    def has_encoded_images(self, name: str) -> bool:
        """Whether a column can hold encoded images: it holds bytes, or a struct with `bytes`; in a dictionary or not."""
        types = load_pyarrow().types
        if name not in self.schema.names:
            return False
        column_type = _plain_type(self.schema.field(name).type)
        if types.is_struct(column_type):
            return any(column_type.field(number).name == "bytes" for number in range(column_type.num_fields))
        return any(is_type(column_type) for is_type in (types.is_binary, types.is_large_binary, types.is_fixed_size_binary))

    def has_paths(self, name: str) -> bool:
        """Whether a column can hold paths of image files: it holds text, bytes or whole numbers, in a dictionary or not."""
        types = load_pyarrow().types
        column_type = _plain_type(self.schema.field(name).type)
        is_path = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
        is_number = (types.is_integer, types.is_floating, types.is_null)
        return any(is_type(column_type) for is_type in (*is_path, *is_number))

    def ordered_categories(self, name: str) -> list[str] | None:
        """The values of a column of categories that have an order, in it; None of any other column."""
        column_type = self.schema.field(name).type
        if not load_pyarrow().types.is_dictionary(column_type) or not column_type.ordered:
            return None
        found = [
            chunk.dictionary.to_pylist() for part in range(len(self.part_rows)) for chunk in self.read(part, [name])[0].chunks
        ]
        is_one = bool(found) and all(values == found[0] for values in found)
        return found[0] if is_one and all(isinstance(value, str) for value in found[0]) else None

    def short_type(self, name: str) -> str:
        """The type of the values of a column, for messages."""
        text = one_line(ValueError(self.schema.field(name).type))
        return text if len(text) <= _SHOWN_TYPE else f"{text[:_SHOWN_TYPE]}..."

    def is_struct(self, name: str) -> bool:
        """Whether the values of a column are structs."""
        is_struct: bool = load_pyarrow().types.is_struct(_plain_type(self.schema.field(name).type))
        return is_struct


def _plain_type(column_type: Any) -> Any:
    """The type of the values of a column, whether each is stored once, in a dictionary, or not."""
    return column_type.value_type if load_pyarrow().types.is_dictionary(column_type) else column_type


def arrow_errors() -> tuple[type[Exception], ...]:
    """What pyarrow raises if a file is damaged or cannot be read.

    Raises:
        ArgumentError: If pyarrow is not installed.
    """
    return (load_pyarrow().ArrowException, OSError, UnicodeDecodeError)


def open_arrow_file(path: str) -> ArrowFile:
    """A file, kept open in this process for as long as it is the same.

    Raises:
        ArgumentError: If pyarrow is not installed.
        SourceError: If the file cannot be read.
    """
    pyarrow = load_pyarrow()
    try:
        return _open(path)
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: is not a Parquet or Arrow file that can be read: {one_line(error)}") from error
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {one_line(error)}") from error


def read_column(path: str, part: int, column: str) -> Any:
    """A column of images in a part, kept for the next call: workers go through a part row by row.

    Raises:
        ImageError: If it cannot be read.
    """
    try:
        return _read_column(path, part, column)
    except (load_pyarrow().ArrowException, OSError, UnicodeDecodeError, SourceError) as error:
        raise ImageError(f"cannot be read: {one_line(error)}") from error


@kept_open(16)
def _open(path: str) -> ArrowFile:
    return ArrowFile(path)


@kept_open(_KEPT_PARTS)
def _read_column(path: str, part: int, column: str) -> Any:
    return open_arrow_file(path).read(part, [column]).column(column)


def _read_batches(path: str) -> tuple[Any, list[Any]]:
    """The schema and the record batches of a file as `datasets` writes it, memory-mapped."""
    with load_pyarrow().memory_map(path) as file:
        stream = load_pyarrow().ipc.open_stream(file)
        return stream.schema, list(stream)


def load_pyarrow() -> Any:
    """The package.

    Raises:
        ArgumentError: If it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ArgumentError("Parquet and Arrow files need pyarrow: pip install 'kseq[parquet]'") from error
    return pyarrow
