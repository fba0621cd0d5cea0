"""The outline of a source at a URL: a folder of this machine with an empty file for each of its files, of the same size.

All formats are recognised and opened by the names and sizes of files, and by the bytes of some. So the outline is opened like a
folder, after those files were downloaded whose bytes count: all but the images that are files of their own, which are
read from the URL when they are packed. The rules:

- What lies at the URL is a file, a folder, or a pattern of files as on this machine.
- Of a few text files the ends are read before a format is told, as on this machine.
- Files of the outline take no space on the disk, as they consist of holes. Files that are downloaded do: they must fit.
- A file has a time of writing that stands for its version at the URL, so that resuming notices one that was written again.
- There are no links at a URL. A name that no file of this machine can have is refused.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, TypeVar

from kseq.arguments import shown_url
from kseq.errors import DatasetNotFoundError, SourceError, WriteError, renaming
from kseq.sources.base import FileSource, Source
from kseq.sources.file_sets import is_pattern, match_files
from kseq.sources.listing import LISTED_HEAD
from kseq.sources.source_format import SourceFormat
from kseq.sources.url_files import url_files
from kseq.storage.remote_files import RemoteEntry
from kseq.storage.urls import join_url, split_url
from kseq.threads import ThreadPool

__all__ = ["Outline"]

Result = TypeVar("Result")

_CONNECTIONS = 8
# What formats are told by: so many files of a kind in a folder, so many in all, and so deep below the source.
_TOLD_BY = re.compile(r"\.(txt|lst|csv|tsv|json|jsonl|ndjson|xml|ya?ml|data|names|pbtxt)$", re.IGNORECASE)
_MOST_TOLD_OF_KIND, _MOST_TOLD, _TOLD_DEPTH = 3, 40, 2
_MOST_NANOSECONDS = 1_000_000_000 << 30
_MAGIC = re.compile(r"[*?[{]")


class Outline:
    """The files at a URL, outlined in a folder of this machine.

    Args:
        url: A folder, a file, or a pattern of files.
        folder: An empty folder of this machine.
        storage_options: What fsspec's file system is made with.

    Attributes:
        path: The path in the folder that stands for the URL.
        parent: The URL that stands for the folder.

    Raises:
        SourceError: If nothing lies at the URL, or a file has a name that is not allowed.
        ReadError: If the file system cannot be reached.
        WriteError: If the disk of this machine refuses.
    """

    def __init__(self, url: str, folder: str, storage_options: Mapping[str, Any] | None) -> None:
        self._options = storage_options
        self._files = url_files(storage_options)
        self._folder = folder
        # The URL of each file whose outline is not filled.
        self._empty: dict[str, str] = {}
        self.parent, name = split_url(url)
        self.path = os.path.join(folder, name)
        entry = self._entry(url)
        if entry is not None:
            self._add(name, url, *entry)
        elif _MAGIC.search(name) or _MAGIC.search(self.parent):
            self._add_pattern(url)
        else:
            self._add_folder(url, name)
            if not self._empty:
                raise SourceError(f"{shown_url(url)}: is not there, expected is a folder of images, or a file")

    def _entry(self, url: str) -> RemoteEntry | None:
        """The size and the version of a file; None if there is no file of this name."""
        try:
            entry = self._files.entry(url)
        except DatasetNotFoundError:
            return None
        return entry if entry.size >= 0 else None

    def _add_pattern(self, url: str) -> None:
        """Outline all files that a pattern may match: those in the folder before its first wildcard or brace."""
        wildcards = []
        while _MAGIC.search(url):
            url, name = split_url(url)
            wildcards.append(name)
        self.parent, name = url, os.path.join(*reversed(wildcards))
        self.path = os.path.join(self._folder, name)
        self._add_folder(url, "")

    def _add_folder(self, url: str, name: str) -> None:
        for path, (size, version) in self._files.entries(url, recursive=True).items():
            self._add(f"{name}/{path}" if name else path, join_url(url, path), size, version)

    def _add(self, path: str, url: str, size: int, version: int | None) -> None:
        """Outline a file, given its path below the folder."""
        if any(part in ("", ".", "..") for part in path.split("/")) or "\0" in path:
            raise SourceError(f"{shown_url(url)}: has a name with '..', '.' or nothing between slashes: give it another")
        file = os.path.join(self._folder, *path.split("/"))
        try:
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(file, "wb") as opened:
                opened.truncate(size)
            if version is not None:
                # A time that every file system can store.
                time = version % _MOST_NANOSECONDS
                os.utime(file, ns=(time, time))
        except OSError as error:
            raise WriteError(
                f"{shown_url(url)}: its name and size cannot be noted in {file}: {error.strerror or error}"
            ) from error
        self._empty[file] = url

    def read_heads(self) -> None:
        """Fill in the ends of some text files, by which formats are told: of each folder and kind of file the first few.

        Raises:
            SourceError: If one of them has gone.
            ReadError: If one cannot be read.
        """
        files = [file for file in sorted(self._empty, key=lambda file: (file.count(os.sep), file)) if _TOLD_BY.search(file)]
        if not is_pattern(self.path):
            files = [file for file in files if os.path.relpath(file, self.path).count(os.sep) <= _TOLD_DEPTH]
        counts: Counter[tuple[str, str]] = Counter()
        told = []
        for file in files:
            kind = (os.path.dirname(file), os.path.splitext(file)[1])
            counts[kind] += 1
            told += [file] if counts[kind] <= _MOST_TOLD_OF_KIND else []
        with ThreadPool(_CONNECTIONS) as threads:
            list(threads.map(self._fill_ends, told[:_MOST_TOLD]))

    def _fill_ends(self, file: str) -> None:
        status = os.stat(file)
        first_end = min(LISTED_HEAD, status.st_size)
        last_start = max(first_end, status.st_size - LISTED_HEAD)
        with open(file, "r+b") as opened:
            for start, end in ((0, first_end), (last_start, status.st_size)):
                opened.seek(start)
                opened.write(self._of_url(self._files.read_range, self._empty[file], start, end) if end > start else b"")
        os.utime(file, ns=(status.st_mtime_ns, status.st_mtime_ns))

    def _of_url(self, read: Callable[..., Result], url: str, *arguments: Any) -> Result:
        try:
            return read(url, *arguments)
        except DatasetNotFoundError as error:
            raise SourceError(str(error)) from error

    def download(self, source_format: SourceFormat) -> None:
        """Fill the files whose bytes are needed to open the source.

        Raises:
            SourceError: If a file of the source has gone.
            ReadError: If a file cannot be read.
            WriteError: If the disk of this machine has no room.
        """
        if os.path.isdir(self.path):
            if source_format.downloads is not None:
                wanted = re.compile(rf"{source_format.downloads}$", re.IGNORECASE)
                self._fill(file for file in self._empty if wanted.search(file))
        elif is_pattern(self.path):
            self._fill(match_files(self.path))
        else:
            if source_format.siblings is not None and re.search(rf"{source_format.siblings}$", self.path, re.IGNORECASE):
                self._add_siblings(re.compile(rf"{source_format.siblings}$", re.IGNORECASE))
            self._fill(list(self._empty))

    def _add_siblings(self, names: re.Pattern[str]) -> None:
        for name, (size, version) in self._files.entries(self.parent).items():
            if size >= 0 and names.search(name) and os.path.join(self._folder, name) != self.path:
                self._add(name, join_url(self.parent, name), size, version)

    def _fill(self, files: Iterable[str]) -> None:
        wanted = [file for file in files if file in self._empty]
        num_bytes, free = sum(map(os.path.getsize, wanted)), shutil.disk_usage(self._folder).free
        if num_bytes > free:
            raise WriteError(
                f"{self._folder}: the files to be downloaded have {num_bytes:,} bytes, the disk has {free:,} free: make room, "
                "or set TMPDIR to a folder of another disk"
            )
        with ThreadPool(_CONNECTIONS) as threads:
            list(threads.map(self._fill_one, wanted))
        for file in wanted:
            del self._empty[file]

    def _fill_one(self, file: str) -> None:
        status = os.stat(file)
        self._of_url(self._files.get, self._empty[file], file)
        os.utime(file, ns=(status.st_mtime_ns, status.st_mtime_ns))

    def adopt(self, source: Source) -> Source:
        """The source that was opened here, with its image files at their URLs."""
        source = replace(source, notes=tuple(map(self._named, source.notes)))
        if not isinstance(source, FileSource) or not source.root.startswith(self._folder):
            return source
        path = os.path.relpath(source.root, self._folder).replace(os.sep, "/")
        return replace(source, root=join_url(self.parent, path), outline=source.root, storage_options=self._options)

    def naming_urls(self) -> AbstractContextManager[None]:
        """Let messages of a block name URLs in place of files of the outline."""
        return renaming(self._named)

    def _named(self, text: str) -> str:
        parent = shown_url(self.parent)
        text = text.replace(self._folder + os.sep, parent if parent.endswith("/") else f"{parent}/")
        return text.replace(self._folder, parent)
