"""A source format that kseq does not have, written by the recipe at the top of `kseq/sources/base.py`: images in SQLite.

The rules:

- The table `images` has the columns `name`, `data` (the bytes of an image file) and `label`.
- A row without data is rejected.
"""

from __future__ import annotations

import functools
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from kseq.errors import ImageError, SourceError
from kseq.sources.assemble import FoundSample, assemble_samples
from kseq.sources.base import Source
from kseq.sources.column_roles import Columns
from kseq.sources.file_reading import file_version
from kseq.sources.source_format import SourceFormat, SourceRequest


@dataclass(frozen=True)
class SqliteSource(Source):
    """The images of a database; the location of an image is the number of its row."""

    @classmethod
    def open(cls, request: SourceRequest) -> SqliteSource:
        try:
            rows = sqlite3.connect(request.path).execute("SELECT rowid, name, label, length(data) FROM images").fetchall()
        except sqlite3.Error as error:
            raise SourceError(f"{request.path}: is not a database of images: {error}") from error
        samples = [
            FoundSample(name.encode(), (row,), size or 0, rejection=None if size else "has no data")
            for row, name, _, size in rows
        ]
        cells = {"label": [label for *_, label, _ in rows]}
        columns = Columns(image=("data",), label="label")
        assembled = assemble_samples(request.path, columns, cells, samples, request.class_names)
        return cls(request.path, assembled.class_names, assembled.images, assembled.fields)

    def fetch(self, location: int) -> bytes:
        database = _connect(self.root, file_version(self.root))
        try:
            (data,) = database.execute("SELECT data FROM images WHERE rowid = ?", (location,)).fetchone()
        except sqlite3.Error as error:
            raise ImageError(f"cannot be read: {error}") from error
        return bytes(data)


@functools.lru_cache(maxsize=2)
def _connect(path: str, version: tuple[int, ...]) -> sqlite3.Connection:
    return sqlite3.connect(path)


SQLITE = SourceFormat("sqlite", SqliteSource.open, (".sqlite",), r"\.sqlite")


def write_database(path: Path, rows: list[tuple[str, bytes | None, str]]) -> None:
    """A database with rows of name, data and label."""
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE images (name TEXT, data BLOB, label TEXT)")
        database.executemany("INSERT INTO images VALUES (?, ?, ?)", rows)
