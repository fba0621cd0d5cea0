"""ArrayRecord files of `tf.train.Example`, as Grain and TensorFlow Datasets write them, by the package array-record.

The rules, besides those of `kseq/sources/tf_example.py`:

- The package checks the hashes of what it reads. If something in the middle of a file is damaged, the records that can be
  read are packed, and the others rejected. A file that is cut off has lost its table of records, and cannot be read at all.
- The package does not work in a fork of a process that has used it. Such a fork reads by a process that it starts.
- Records that were written in groups (`group_size`) are compressed together: a group is read as a whole, and kept.

Source: github.com/google/array_record.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from kseq.errors import ArgumentError, ImageError, SourceError, WorkerDiedError, one_line
from kseq.processes import ProcessPool
from kseq.sources.kept_open import kept_open
from kseq.sources.label_files import LABEL_FILES
from kseq.sources.source_format import SourceFormat
from kseq.sources.tf_example import ExampleSource, StoredRecord

__all__ = ["ARRAYRECORD", "ArrayRecordSource"]

# By default the package reads ahead with threads of its own, which does not help jumps from one record to another.
_OPTIONS = "readahead_buffer_size:0"
_GROUP_SIZE = re.compile(r"group_size:(\d+)")


@dataclass(frozen=True)
class ArrayRecordSource(ExampleSource):
    """The records of ArrayRecord files; the location of a record is its number in the file."""

    file_names: ClassVar[str] = r"\.array_?record(-\d+-of-\d+)?"
    description: ClassVar[str] = "ArrayRecord files"

    @staticmethod
    def records(path: str) -> Iterator[StoredRecord]:
        try:
            count = _in_usable_process(_count_records, path)
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
        for number in range(count):
            try:
                yield StoredRecord(number, ArrayRecordSource.record(path, number))
            except ImageError as error:
                yield StoredRecord(number, b"", str(error))

    @staticmethod
    def record(path: str, location: int) -> bytes:
        try:
            record: bytes = _in_usable_process(_read_record, path, location)
            return record
        except WorkerDiedError:
            raise
        except (OSError, RuntimeError, SourceError, IndexError) as error:
            raise ImageError(f"cannot be read: {one_line(error)}") from error


ARRAYRECORD = SourceFormat(
    "arrayrecord",
    lambda request: ArrayRecordSource.load(request.path, request.columns, request.class_names),
    (".array_record",),
    ArrayRecordSource.file_names,
    in_folders=True,
    has_columns=True,
    downloads=rf"({ArrayRecordSource.file_names}|{LABEL_FILES})",
    siblings=LABEL_FILES,
)


# The process that used the package first; forks inherit the number.
_first_process: int | None = None

# What a fork reads by, for each fork.
_helpers: dict[int, ProcessPool] = {}


def _in_usable_process(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function that uses the package, in this process or in one that is not a fork.

    In a fork, the package ends the process or waits for threads that are not there, even for files that are opened anew.
    """
    global _first_process
    if _first_process is None:
        _first_process = os.getpid()
    if _first_process == os.getpid():
        return function(*args)
    helper = _helpers.get(os.getpid()) or _helpers.setdefault(os.getpid(), ProcessPool(1))
    return helper.submit(function, *args).result()


def _count_records(path: str) -> int:
    count: int = _open(path).num_records()
    return count


def _read_record(path: str, number: int) -> bytes:
    group = _group_size(_open(path))
    return _read(path, number // group * group, group)[number % group]


@kept_open(16)
def _open(path: str) -> Any:
    """A reader.

    Raises:
        SourceError: If the file is no ArrayRecord file.
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
    match = _GROUP_SIZE.search(reader.writer_options_string())
    return max(int(match[1]), 1) if match else 1


@kept_open(2)
def _read(path: str, start: int, count: int) -> list[bytes]:
    """`count` records from `start` on."""
    reader = _open(path)
    records: list[bytes] = reader.read(start, min(start + count, reader.num_records()))
    return records
