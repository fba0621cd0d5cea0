"""ArrayRecord files of `tf.train.Example`, as Grain and TensorFlow Datasets write them, by the package array-record.

The rules, besides those of `kseq/sources/tf_example.py`:

- The package checks the hashes of what it reads. Of a file in whose middle something is damaged, the records that can be read
  are packed, and the others listed. A file that is cut off has lost its table of records, and cannot be read at all.
- Records that were written in groups (`group_size`) are compressed together: a group is read at once, and kept.

Source: github.com/google/array_record.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from kseq.errors import ArgumentError, ImageError, SourceError
from kseq.sources.file_sets import stamp
from kseq.sources.tf_example import ExampleSource, Found

__all__ = ["ARRAY_RECORDS", "ArrayRecordSource"]

# What their names end with.
ARRAY_RECORDS = r"\.array_?record(-\d+-of-\d+)?"

# Otherwise it reads ahead with threads of its own, which jumps from one record to another do not profit from.
_OPTIONS = "readahead_buffer_size:0"
_GROUP_SIZE = re.compile(r"group_size:(\d+)")


@dataclass(frozen=True)
class ArrayRecordSource(ExampleSource):
    """The records of such files; the place of one is its number."""

    ends: ClassVar[str] = ARRAY_RECORDS
    kind: ClassVar[str] = "ArrayRecord files"

    @staticmethod
    def records(path: str) -> Iterator[Found]:
        """The records of a file.

        Raises:
            SourceError: Where it is no such file, or cannot be read.
        """
        try:
            count = _open(path, stamp(path)).num_records()
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
        for number in range(count):
            try:
                yield Found(number, ArrayRecordSource.record(path, number))
            except ImageError as error:
                yield Found(number, b"", str(error))

    @staticmethod
    def record(path: str, at: int) -> bytes:
        """The bytes of one record."""
        try:
            known = stamp(path)
            group = _group_size(_open(path, known))
            return _read(path, known, at // group * group, group)[at % group]
        except (OSError, RuntimeError, SourceError, IndexError) as error:
            raise ImageError(f"cannot be read: {' '.join(str(error).split())}") from error


@functools.lru_cache(maxsize=16)
def _open(path: str, known: tuple[int, ...]) -> Any:
    """A reader, kept open in this process for as long as the file is the same.

    Raises:
        SourceError: Where it is no such file.
    """
    try:
        from array_record.python.array_record_module import ArrayRecordReader
    except ImportError as error:
        raise ArgumentError("ArrayRecord files need array-record and protobuf: pip install 'kseq[arrayrecord]'") from error
    reader = ArrayRecordReader(path, _OPTIONS)
    if not reader.ok():
        raise SourceError(f"{path}: is not an ArrayRecord file that can be read: it is damaged, cut off, or something else")
    return reader


def _group_size(reader: Any) -> int:
    found = _GROUP_SIZE.search(reader.writer_options_string())
    return max(int(found[1]), 1) if found else 1


@functools.lru_cache(maxsize=2)
def _read(path: str, known: tuple[int, ...], start: int, count: int) -> list[bytes]:
    """Some records, until others are asked for."""
    reader = _open(path, known)
    found: list[bytes] = reader.read(start, min(start + count, reader.num_records()))
    return found
