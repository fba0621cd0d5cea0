"""WebDataset: tar files in which the files of a sample share a key, read in place.

The rules:

- A key is the path up to the first dot of the file's name; the rest is the column, in lower case (`a/0001.seg.png`: key
  `a/0001`, column `seg.png`). The files of a sample should lie next to each other, for readers that read a tar from front to
  end; here they need not. Hidden files and folders (a leading dot, `__MACOSX`) are skipped.
- The image is the first of jpg, jpeg, png, webp, bmp, gif, tif and tiff that a sample has, or what `Columns.image` names: a
  column or, if there is no such column, a column without one of these ends (`left` for `left.jpg` and `left.png`). The same
  holds for masks.
- In tars of class folders without `cls`, every image is a sample by itself: `cat/cat.0.jpg` and `cat/cat.1.jpg` are two.
- The label is the column `cls`, a number or a name; or else the class folder that the key lies in, where all images lie in
  folders: which folders are splits and which are classes is said in `kseq/sources/class_folders.py`.
- A column `json.NAME` is what the json file of the sample has under that name.
- Where tars hold images alone, without folders, and are called like classes (`cat.tar`, `n01440764.tar`), a tar is a class.
- Folders in the tars tell the split, `train/cat/0001.jpg`; or else the name of a tar or of its folder, `train-000000.tar`,
  `photos-val-000000.tar`, `test/000000.tar`.
- A sample is called FILE/KEY. Rejected are: a sample that lacks its image, has a column twice, has a link (links are not
  followed) or a json file that is not JSON; and a tar among others that cannot be read at all.
- If a tar is cut off, or has a broken header, the whole samples before that are packed, and the rest is rejected as one. The
  same holds if data follow the end mark, as in tars that were joined, or if there is no end mark.
- Compressed tars are unpacked to the disk first, see `kseq/sources/compressed.py`. A tar has no checksums of its files: whether
  an image is whole is found when it is decoded.

Source: the WebDataset format, github.com/webdataset/webdataset; for the blocks of a tar, POSIX.1-2017, "pax", ustar
Interchange Format.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from kseq.arguments import spelled
from kseq.errors import ImageError, SourceError
from kseq.sources.assemble import FoundSample, assemble_samples
from kseq.sources.base import Source
from kseq.sources.cell_types import Rejection
from kseq.sources.class_folders import ClassFolders, find_class_folders
from kseq.sources.class_names import folder_class_name
from kseq.sources.column_roles import Columns, find_columns, find_usual, pixel_columns, used_columns, value_columns
from kseq.sources.compressed import Unpacked, Unpacker
from kseq.sources.file_reading import read_range
from kseq.sources.file_sets import SourceFile, find_files, read_files, split_from_name
from kseq.sources.named_tree import NamedTree
from kseq.sources.source_format import SourceFormat
from kseq.sources.split_names import folder_split
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.tar_samples import SUFFIXES, Location, TarSample, first_image, part_images, read_tar, unpack_command
from kseq.sources.text import decode_text

__all__ = ["WEBDATASET", "WebDatasetSource"]

_TAR_NAMES = r"\.(tar(\.(gz|bz2|xz|zst))?|tgz|tbz2?|txz|tzst)"

# Stand for the first of the usual images and for the folder; no file has these as its column.
_ANY_IMAGE, _FOLDER = "(image)", "(folder)"
_JSON = "json."
# The columns of files that annotation tools write.
_TARS = frozenset({"tar", "tar.gz", "tgz"})
_ANNOTATIONS = frozenset({"txt", "xml", "json", "csv", "yaml"})
# The numbers of ImageNet's classes.
_WORDNET = re.compile(r"n\d{8}")
# How many names a note shows.
_SHOWN = 5


@dataclass(frozen=True)
class WebDatasetSource(Source):
    """The samples of tar files, in their order.

    Attributes:
        files: The paths of the tars that are read.
        originals: The paths of the tars, of which some may be compressed.
    """

    files: tuple[str, ...] = ()
    originals: tuple[str, ...] = ()

    def shared_files(self) -> Sequence[str]:
        return self.originals

    @classmethod
    def load(
        cls,
        path: str,
        columns: Columns,
        class_names: Sequence[str] | None = None,
        unpacker: Unpacker | None = None,
        *,
        is_here: bool = True,
    ) -> WebDatasetSource:
        """Find every file in the tars, and read all but the images.

        Args:
            path: A tar, a folder of tars, or a pattern.
            columns: Which column holds what.
            class_names: All classes, in the order of their numbers; None for the classes that the samples name.
            unpacker: Unpacks compressed tars; None where they are refused.
            is_here: Whether the tars lie on this machine, where a shell unpacks them.

        Raises:
            SourceError: If the files are no tars, or no sample in them can be packed.
        """
        tars = find_files(path, _TAR_NAMES, "tar files")
        files = [tar.path for tar in tars]
        samples = SpooledColumn()
        # How many samples a tar has, or why it cannot be read.
        counts: list[tuple[SourceFile, int | Rejection]] = []

        def read(number: int, tar: SourceFile) -> SpooledColumn:
            unpacked = Unpacked(tar.path, None) if unpacker is None else unpacker.unpack(tar.path)
            files[number] = unpacked.path
            return read_tar(number, tar.path, unpacked)

        for tar, found in read_files(path, tars, read):
            if isinstance(found, SpooledColumn):
                samples.extend(found)
            counts.append((tar, found if isinstance(found, Rejection) else len(found)))
        if not samples:
            raise SourceError(f"{path}: holds no sample, expected are files such as 0001.jpg and 0001.cls")
        folders = _find_folders(path, samples, columns)
        tar_classes = _tar_classes([tar.name for tar in tars], samples) if not folders.class_names else ()
        if (folders.class_names or tar_classes) and not columns.image and not any("cls" in sample.files for sample in samples):
            samples, counts = _part_images(samples, counts)
        reader = _CellReader(files, folders, tar_classes)
        names = _column_names(samples, columns, reader)
        if _ANY_IMAGE not in names and set(names) & _TARS and os.path.isfile(path):
            raise SourceError(f"{path}: holds tars: {unpack_command(path, is_here=is_here)}")
        usual = {"image": (_ANY_IMAGE,), "label": ("cls", _FOLDER)}
        columns = find_columns(
            columns,
            path,
            names,
            usual,
            hint=_hint(path, names, next(iter(map(reader.json, islice(samples, 1))), None), is_here),
        )
        pixels, asked = pixel_columns(columns), value_columns(columns)
        cells, found_samples = {name: SpooledColumn() for name in asked}, SpooledColumn()
        rows, unused = iter(samples), Counter[str]()
        for tar, count in counts:
            if isinstance(count, Rejection):
                for column in cells.values():
                    column.append(None)
                found_samples.append(FoundSample.of_unreadable_file(tar.name, count, len(pixels)))
                continue
            for sample in islice(rows, count):
                row, rejection = _row(reader, sample, asked)
                for column, cell in zip(cells.values(), row, strict=True):
                    column.append(cell)
                split = folders.place(_folder(sample.key))[0] or split_from_name(tar.name)
                found_samples.append(_found_sample(sample, tar, pixels, split, rejection))
                unused.update(_unused_images(sample, pixels))
        assembled = assemble_samples(path, columns, cells, found_samples, class_names)
        notes = folders.notes if columns.label == _FOLDER else ()
        if tar_classes and columns.label == _FOLDER:
            notes = (
                *notes,
                f"{path}: the names of the tars are the classes ({spelled('columns.label', '')} packs images alone)",
            )
        if unused:
            names = [f"{column} ({count:,})" for column, count in unused.most_common(_SHOWN)]
            notes = (*notes, f"{path}: of some samples further images are not used: {', '.join(names)}")
        return cls(
            path,
            assembled.class_names,
            assembled.images,
            assembled.fields,
            tuple(files),
            tuple(tar.path for tar in tars),
            notes=notes,
            box_facts=assembled.box_facts,
        )

    def fetch(self, location: Location) -> bytes:
        """The bytes of an image."""
        number, offset, size = location
        return read_range(self.files[number], offset, size)


WEBDATASET = SourceFormat(
    "webdataset",
    lambda request: WebDatasetSource.load(
        request.path, request.columns, request.class_names, request.unpacker, is_here=request.folder is None
    ),
    (".tar", ".tar.gz"),
    _TAR_NAMES,
    in_folders=True,
    has_columns=True,
    downloads=_TAR_NAMES,
)


def _column_names(samples: Iterable[TarSample], columns: Columns, reader: _CellReader) -> list[str]:
    """The names of all columns of the tars; the samples are gone through several times."""

    def valid() -> Iterator[TarSample]:
        return (sample for sample in samples if not sample.rejection)

    names = dict.fromkeys(column for sample in valid() for column in sample.files)
    asked = [name for _, name in used_columns(columns)]
    if any(name.startswith(_JSON) for name in asked):
        names |= dict.fromkeys(f"{_JSON}{name}" for sample in valid() for name in reader.json(sample) or ())
    for name, prefix in ((_ANY_IMAGE, ""), *((name, f"{name}.") for name in pixel_columns(columns))):
        if any(first_image(sample, prefix) for sample in valid()):
            names[name] = None
    if reader.has_classes:
        names[_FOLDER] = None
    return list(names)


def _folder(key: str) -> str:
    return key.rpartition("/")[0]


def _find_folders(path: str, samples: Iterable[TarSample], columns: Columns) -> ClassFolders:
    """Which folders in the tars are splits and classes. There are no classes if a sample lies in no folder, or no label is
    wanted; and no splits either, where the folders make no sense as such: keys may have any folders."""
    named = pixel_columns(columns)
    with_images = (
        sample
        for sample in samples
        if not sample.rejection and any(column.endswith(SUFFIXES) or column in named for column in sample.files)
    )
    found = {_folder(sample.key) for sample in with_images}
    tree = NamedTree(path)
    for folder in found:
        # Stands for the images in the folder.
        tree.add(f"{folder}/image.png".lstrip("/"), 0)
    for has_classes in (True, False) if columns.label is None and "" not in found else (False,):
        with suppress(SourceError):
            return find_class_folders(tree, has_classes=has_classes)
    return ClassFolders(())


def _tar_classes(names: Sequence[str], samples: Iterable[TarSample]) -> tuple[str, ...]:
    """The class of each tar, by its name; none if tars are numbered, or called like splits, or hold more than images."""
    stems = [re.sub(rf"{_TAR_NAMES}$", "", name.rpartition("/")[2], flags=re.IGNORECASE) for name in names]
    bare = {re.sub(r"[-_ ]?\d+$", "", stem) for stem in stems}
    are_numbered = "" in bare or (len(bare) < len(set(stems)) and not all(map(_WORDNET.fullmatch, stems)))
    if len(set(stems)) < 2 or are_numbered or any(folder_split(stem) is not None for stem in stems):
        return ()
    for sample in samples:
        if not sample.rejection and not all(column.endswith(SUFFIXES) for column in sample.files):
            return ()
    return tuple(map(folder_class_name, stems))


def _hint(path: str, names: Sequence[str], json_values: Mapping[str, Any] | None, is_here: bool) -> str:
    """What packs tars without labels; `json_values` are those in the json file of the first sample."""
    of_json = find_usual("label", list(json_values or ()))
    if of_json:
        return f"; {spelled('columns.label', _JSON + of_json[0])} packs classes"
    text = f"; {spelled('columns', label='', text='txt')} packs text" if "txt" in names else ""
    if _ANNOTATIONS & set(names) and os.path.isfile(path):
        return f"{text}; if an annotation tool wrote it, {unpack_command(path, is_here=is_here)}"
    return text


def _part_images(
    samples: SpooledColumn, counts: Sequence[tuple[SourceFile, int | Rejection]]
) -> tuple[SpooledColumn, list[tuple[SourceFile, int | Rejection]]]:
    """Each image as a sample by itself, and how many of them each tar has."""
    parted, rows, parted_counts = SpooledColumn(), iter(samples), []
    for tar, count in counts:
        before = len(parted)
        if not isinstance(count, Rejection):
            parted.extend(part_images(islice(rows, count)))
            count = len(parted) - before
        parted_counts.append((tar, count))
    return parted, parted_counts


def _unused_images(sample: TarSample, pixels: Sequence[str]) -> Iterator[str]:
    """The columns of images of a sample from which nothing is read."""
    if not sample.rejection and len(sample.files) > len(pixels):
        used = {_locate(sample, column) for column in pixels}
        yield from (column for column, place in sample.files.items() if column.endswith(SUFFIXES) and place not in used)


def _locate(sample: TarSample, column: str) -> Location | None:
    """Where the image of a column is."""
    if column == _ANY_IMAGE:
        return first_image(sample)
    return sample.files.get(column) or first_image(sample, f"{column}.")


def _row(reader: _CellReader, sample: TarSample, columns: Sequence[str]) -> tuple[list[Any], str | None]:
    """The cells of a sample, and why it cannot be packed."""
    if sample.rejection:
        return [None] * len(columns), sample.rejection
    try:
        return [reader.cell(sample, name) for name in columns], None
    except ImageError as error:
        return [None] * len(columns), str(error)


def _found_sample(
    sample: TarSample, tar: SourceFile, pixels: Sequence[str], split: str | None, rejection: str | None
) -> FoundSample:
    locations = [_locate(sample, column) for column in pixels]
    missing = [column for column, location in zip(pixels, locations, strict=True) if location is None]
    rejection = rejection or (f"has no {missing[0].strip('()')}" if missing else None)
    num_bytes = sum(location[2] for location in locations if location is not None)
    name = os.fsencode(f"{tar.name}/{sample.key}")
    return FoundSample(name, tuple(locations), num_bytes, split, rejection)


class _CellReader:
    """Reads the small files of samples: labels, texts and json.

    Args:
        files: The paths of the tars.
        folders: Which folders in the tars are classes.
        tar_classes: The classes of the tars, where tars are classes.
    """

    def __init__(self, files: Sequence[str], folders: ClassFolders, tar_classes: Sequence[str] = ()) -> None:
        self._files = files
        self._folders = folders
        self._tar_classes = tar_classes

    @property
    def has_classes(self) -> bool:
        """Whether folders or tars tell the classes."""
        return bool(self._folders.class_names or self._tar_classes)

    def cell(self, sample: TarSample, column: str) -> Any:
        """The text of a column, or the value that the json file has; None if the sample lacks it.

        Raises:
            ImageError: If it cannot be read.
        """
        if column == _FOLDER and self._tar_classes:
            return self._tar_classes[next(iter(sample.files.values()))[0]]
        if column == _FOLDER:
            return self._folders.place(_folder(sample.key))[1]
        if not column.startswith(_JSON):
            return self._text(sample, column)
        values = self.json(sample)
        if values is None:
            raise ImageError("has a json file that is not JSON, or no object in braces")
        return values.get(column.removeprefix(_JSON))

    def json(self, sample: TarSample) -> dict[str, Any] | None:
        """The object in the json file of a sample, empty if the sample has no such file; None if it cannot be read."""
        try:
            text = self._text(sample, "json")
            values = json.loads(text) if text is not None else {}
        except (ImageError, ValueError, RecursionError):
            return None
        return values if isinstance(values, dict) else None

    def _text(self, sample: TarSample, column: str) -> str | None:
        if column not in sample.files:
            return None
        number, offset, size = sample.files[column]
        try:
            return decode_text(read_range(self._files[number], offset, size)).strip()
        except UnicodeError as error:
            raise ImageError(f"has a file {column!r} that is not text: {error}") from error
