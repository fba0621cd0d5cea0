"""LMDB databases of images: Caffe's, those of text recognition, and those with an encoded image under each key.

The rules:

- The source is a folder with `data.mdb` (or a folder of such folders), or a file `.lmdb` or `.mdb`. The name of the folder or
  file tells the split: `mnist_train_lmdb`.
- Caffe: each value is a Datum, an encoded image or pixels, with its label. Pixels of three channels are blue, green, red, as
  Caffe has them.
- Text recognition: `image-000000001` is an image, `label-000000001` its text: the field `text`.
- Else each value that is an encoded image is a sample, called by its key. If keys have folders, the last one is the class; if
  not, the images have no labels, and `Columns(label="")` is needed. Entries such as `__len__` are no samples.
- A value that is a pickle is never unpickled: it may run any program. A database of nothing else is refused.
- A sample is called by its key. Entries are read in place, in the order of the keys.

Source: the readme of deep-text-recognition-benchmark; the documentation of the package
lmdb.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from kseq.arguments import spelled
from kseq.errors import ArgumentError, ImageError, SourceError, one_line
from kseq.images.formats import HEAD_BYTES
from kseq.sources.assemble import FoundSample, assemble_samples
from kseq.sources.base import Source
from kseq.sources.caffe_datum import datum_image, is_encoded_image, parse_datum
from kseq.sources.column_roles import Columns
from kseq.sources.file_sets import SourceFile, find_files, split_from_name
from kseq.sources.kept_open import kept_open
from kseq.sources.listing import Listing
from kseq.sources.source_format import SourceFormat, SourceRequest
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.text import decode_name

__all__ = ["LMDB"]

_FILE_NAMES = r"(^|/)data\.mdb|\.(lmdb|mdb)"
_PAIR = re.compile(rb"image-(\d+)")
_PICKLE = b"\x80"


class _Entry(NamedTuple):
    """An image in a database.

    Attributes:
        key: Its key.
        num_bytes: The size of its value.
        target: Its label or its text.
        rejection: Why it cannot be packed.
    """

    key: bytes
    num_bytes: int
    target: Any = None
    rejection: str | None = None


@dataclass(frozen=True)
class LmdbSource(Source):
    """The images of such databases; the location of an image is the number of its database, and its key.

    Attributes:
        files: The paths of the databases.
        is_caffe: Whether values are those of Caffe.
    """

    files: tuple[str, ...] = ()
    is_caffe: bool = False

    def shared_files(self) -> Sequence[str]:
        return tuple(os.path.join(file, "data.mdb") if os.path.isdir(file) else file for file in self.files)

    def fetch(self, location: tuple[int, bytes]) -> bytes | np.ndarray:
        """The bytes or the pixels of an image."""
        number, key = location
        path = self.files[number]
        try:
            with _reading(path) as transaction:
                value = transaction.get(key)
        except _errors() as error:
            raise ImageError(f"cannot be read: {one_line(error)}") from error
        if value is None:
            raise ImageError("is no longer in the database")
        return datum_image(value) if self.is_caffe else value


def _open(request: SourceRequest) -> LmdbSource:
    """Open such databases as a source.

    Raises:
        SourceError: If they cannot be read, or hold no images.
    """
    path, columns = request.path, request.columns
    databases = _find(path)
    forms = [_form(database.path) for database in databases]
    other = next((database for database, form in zip(databases, forms, strict=True) if form != forms[0]), None)
    if other is not None:
        raise SourceError(
            f"{other.path}: holds other values ({forms[0]} or not) than {databases[0].path}, expected are the same"
        )
    targets, samples = SpooledColumn(), SpooledColumn()
    for number, database in enumerate(databases):
        split = split_from_name(re.sub(r"/?data\.mdb$", "", database.name) or os.path.basename(os.path.abspath(database.path)))
        for entry in _entries(database.path, forms[0]):
            targets.append(entry.target)
            place = (number, entry.key)
            samples.append(FoundSample(entry.key, (place,), entry.num_bytes, split, entry.rejection))
    if not len(samples):
        raise SourceError(f"{path}: holds no image")
    has_labels = columns.label != "" and forms[0] != "text"
    if has_labels and not any(target is not None for target in targets):
        raise SourceError(f"{path}: its images have no labels ({spelled('columns.label', '')} packs them without)")
    used = Columns(image="image", label="target" if has_labels else None, text="target" if forms[0] == "text" else None)
    assembled = assemble_samples(path, used, {"target": targets}, samples, request.class_names)
    files = tuple(database.path for database in databases)
    parts = (assembled.class_names, assembled.images, assembled.fields)
    return LmdbSource(path, *parts, files, forms[0] == "caffe", box_facts=assembled.box_facts)


def _is_folder(listing: Listing) -> bool:
    return bool(_folders(listing.path))


LMDB = SourceFormat("lmdb", _open, (".lmdb", ".mdb"), _FILE_NAMES, _is_folder, may_lack_label=True, downloads=r"\.(mdb|lmdb)")


def _folders(path: str) -> list[str]:
    """The folders with a database: a folder itself, or those in it."""
    if os.path.isfile(os.path.join(path, "data.mdb")):
        return [path]
    try:
        inner = sorted(entry.path for entry in os.scandir(path) if entry.is_dir())
    except OSError:
        return []
    return [folder for folder in inner if os.path.isfile(os.path.join(folder, "data.mdb"))]


def _find(path: str) -> list[SourceFile]:
    if os.path.isdir(path) and _folders(path):
        return [SourceFile(folder, os.path.basename(os.path.normpath(folder))) for folder in _folders(path)]
    if os.path.basename(path) == "data.mdb":
        folder = os.path.dirname(path) or "."
        return [SourceFile(folder, os.path.basename(os.path.abspath(folder)))]
    return find_files(path, _FILE_NAMES, "LMDB databases")


def _package() -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise ArgumentError("LMDB databases need the package lmdb: pip install 'kseq[lmdb]'") from error
    return lmdb


def _errors() -> tuple[type[BaseException], ...]:
    return (_package().Error, OSError)


@kept_open(8)
def _open_file(path: str, is_folder: bool) -> Any:
    return _package().open(path, readonly=True, lock=False, subdir=is_folder, readahead=False, max_spare_txns=0)


@contextmanager
def _reading(path: str, *, buffers: bool = False) -> Iterator[Any]:
    is_folder = os.path.isdir(path)
    with _open_file(path, is_folder).begin(buffers=buffers) as transaction:
        yield transaction


def _form(path: str) -> str:
    """What a database holds, by its first values: `caffe`, `text` or `images`.

    Raises:
        SourceError: If it cannot be read, or holds pickles alone.
    """
    num_pickles = num_values = 0
    try:
        with _reading(path) as transaction:
            if transaction.get(b"num-samples") is not None or transaction.get(b"image-000000001") is not None:
                return "text"
            for key, value in transaction.cursor():
                if is_encoded_image(value):
                    return "images"
                if not _is_note(key) and parse_datum(memoryview(value)) is not None:
                    return "caffe"
                num_values += 1
                num_pickles += value[:1] == _PICKLE
                if num_values == 100:
                    break
    except _errors() as error:
        raise SourceError(f"{path}: is no LMDB database that can be read: {one_line(error)}") from error
    if num_pickles:
        raise SourceError(
            f"{path}: its values are pickles, which may run any program when they are read, and are not: give kseq.pack "
            "an iterable of what the program that knows them makes of them"
        )
    raise SourceError(
        f"{path}: its values are neither encoded images nor those of Caffe: give kseq.pack an iterable of samples"
    )


def _is_note(key: bytes) -> bool:
    return key.startswith(b"__") or key in (b"length", b"num-samples", b"meta_info", b"keys")


def _entries(path: str, form: str) -> Iterator[_Entry]:
    """The images of a database.

    Raises:
        SourceError: If it cannot be read.
    """
    try:
        with _reading(path, buffers=True) as transaction:
            for raw_key, value in transaction.cursor():
                key = bytes(raw_key)
                if form == "text":
                    found = _PAIR.fullmatch(key)
                    if found is not None:
                        text = transaction.get(b"label-" + found[1])
                        rejection = None if text is not None else f"has no label-{found[1].decode()}"
                        yield _Entry(key, len(value), None if text is None else decode_name(bytes(text)), rejection)
                elif form == "caffe":
                    datum = parse_datum(value)
                    rejection = None if datum is not None else "is no Datum of Caffe"
                    yield _Entry(key, len(value), None if datum is None else datum.label, rejection)
                elif not _is_note(key):
                    is_image = is_encoded_image(bytes(value[:HEAD_BYTES]))
                    yield _Entry(key, len(value), _folder(key), None if is_image else "is no encoded image")
    except _errors() as error:
        raise SourceError(f"{path}: is no LMDB database that can be read: {one_line(error)}") from error


def _folder(key: bytes) -> str | None:
    return decode_name(key).replace("\\", "/").rpartition("/")[0].rpartition("/")[2] or None
