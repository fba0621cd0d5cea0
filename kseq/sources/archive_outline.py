"""A zip or a tar of something else than class folders or samples, opened as the folder that it was made of.

All formats are recognised and opened by the names and sizes of files, and by the bytes of some. So the archive is outlined in a
folder of this machine: files called like images are empty, of the size that they have, and take no space; all others are
unpacked. Images are read in the archive. The rules:

- A tar is one where most of its annotations are none of samples of WebDataset, see `tar_members`; a compressed one is
  unpacked first.
- A zip without tables, texts of annotations or other such files is no outline, and neither is one of more members than are
  looked at. It is a zip of class folders then, or of YOLO, which are read in place.
- A lone folder at the top is entered where nothing is recognised around it.
- A member that cannot be unpacked (encrypted, a link, a wrong checksum) is an error if it is no image.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

from kseq.arguments import counted
from kseq.errors import KseqError, SourceError, WriteError, one_line, renaming
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.archive_members import is_tar, read_member
from kseq.sources.base import FileSource, Source
from kseq.sources.tar_members import read_tar_tree, tells_annotations
from kseq.sources.zip_archive import read_zip_tree
from kseq.sources.zip_members import ZIP_ERRORS, open_zip

__all__ = ["ArchiveOutline"]

# What annotations and tables end in.
_ANNOTATIONS = (
    ".json",
    ".jsonl",
    ".ndjson",
    ".xml",
    ".csv",
    ".tsv",
    ".txt",
    ".lst",
    "-ubyte",
    ".gz",
    ".bin",
    ".parquet",
    ".manifest",
)
_MOST_MEMBERS = 500_000


class ArchiveOutline:
    """The files of a zip or a tar, outlined in a folder of this machine.

    Args:
        path: The archive.
        folder: An empty folder of this machine.
        unpacked: The archive itself, or the tar that a compressed one was unpacked to.

    Attributes:
        tops: The folders that may stand for the archive: the whole, and a lone folder in it.
        notes: What a user should know.

    Raises:
        SourceError: If a member that is no image cannot be read.
        WriteError: If the disk of this machine refuses.
    """

    def __init__(self, path: str, folder: str, unpacked: str) -> None:
        self._archive, self._unpacked = path, unpacked
        # A name that no path in a message has by chance.
        self._folder = os.path.join(folder, "archive")
        os.mkdir(self._folder)
        tree, misplaced = read_tar_tree(unpacked) if is_tar(path) else read_zip_tree(path)
        entries = list(tree.files(tree.top))
        self.notes: list[str] = []
        if misplaced:
            first = misplaced[0]
            are_left = f"{counted(len(misplaced), 'member is', 'members are')} left out"
            self.notes.append(f"{path}: {are_left} (first: {os.fsdecode(first.path)}: {first.rejection})")
        others = [entry for entry in entries if not entry.name.lower().endswith(IMAGE_SUFFIXES)]
        num_bytes, free = sum(entry.num_bytes for entry in others), shutil.disk_usage(folder).free
        if num_bytes > free:
            raise WriteError(
                f"{folder}: the files to be unpacked have {num_bytes:,} bytes, the disk has {free:,} free: make room, "
                "or set TMPDIR to a folder of another disk"
            )
        for entry in entries:
            is_image = entry.name.lower().endswith(IMAGE_SUFFIXES)
            if not is_image and entry.rejection is not None:
                raise SourceError(f"{path}: {entry.path} {entry.rejection}")
            self._write(entry.path, b"" if is_image else self._read(entry.path), entry.num_bytes)
        self.tops = [self._folder, *self._lone_folder()]

    @staticmethod
    def may_outline(path: str, unpacked: str) -> bool:
        """Whether an archive holds annotations or tables, and not too many members."""
        if is_tar(path):
            return tells_annotations(unpacked, _MOST_MEMBERS)
        try:
            members = open_zip(path).members
        except ZIP_ERRORS:
            return False
        if len(members) > _MOST_MEMBERS:
            return False
        names = (name.rpartition("/")[2].lower() for name, _ in members if not name.startswith("__MACOSX"))
        return any(name.endswith(_ANNOTATIONS) and "readme" not in name and name[:1] != "." for name in names)

    def _read(self, name: str) -> bytes:
        try:
            return read_member(self._unpacked, name)
        except KseqError as error:
            raise SourceError(f"{self._archive}: {name} {error}") from error

    def _write(self, name: str, data: bytes, num_bytes: int) -> None:
        file = os.path.join(self._folder, *name.split("/"))
        try:
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(file, "wb") as opened:
                opened.write(data)
                opened.truncate(max(num_bytes, len(data)))
        except (OSError, ValueError) as error:
            raise WriteError(f"{self._archive}: {name} cannot be noted in {file}: {one_line(error)}") from error

    def _lone_folder(self) -> Iterator[str]:
        with os.scandir(self._folder) as entries:
            folders = [entry.path for entry in entries if entry.is_dir()]
        if len(folders) == 1:
            yield folders[0]

    def adopt(self, source: Source) -> Source:
        """The source that was opened here, with its image files in the archive."""
        notes = (*(self._named(note) for note in source.notes), *self.notes)
        if not isinstance(source, FileSource) or not os.path.abspath(source.root).startswith(self._folder):
            return replace(source, notes=notes)
        inner = os.path.relpath(source.root, self._folder).replace(os.sep, "/")
        inner = "" if inner == "." else inner
        return replace(source, root=inner, archive=self._unpacked, archive_file=self._archive, notes=notes)

    def _named(self, text: str) -> str:
        return text.replace(self._folder + os.sep, f"{self._archive}: ").replace(self._folder, self._archive)

    def naming_archive(self) -> AbstractContextManager[None]:
        """Let messages of a block name the archive in place of the outline."""
        return renaming(self._named)
