"""Image files that lie at URLs: their sizes, and their bytes, which are read some images ahead."""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from kseq.arguments import is_url
from kseq.errors import DatasetNotFoundError, ImageError, KseqError
from kseq.images.formats import HEAD_BYTES, IMAGE_SUFFIXES, check_start
from kseq.platforms.files import with_slashes
from kseq.sources.symlinks import LinkRule
from kseq.storage.remote_files import RemoteEntry, RemoteFiles
from kseq.storage.remote_retries import RefusedError
from kseq.storage.urls import join_url, split_store, split_url
from kseq.threads import ThreadPool

__all__ = ["FileSizes", "UrlFiles", "fetch_image", "file_url", "reading_ahead", "url_files"]

# So many files are asked for at a time, and so many images are read before they are needed.
_CONNECTIONS = 16
_MOST_AHEAD = 32
# Of so many files in a folder at a URL, sizes are asked for one by one; of more, the folder is listed.
_ASKED_ONE_BY_ONE = 32
# So many stores are kept: a table may name images of any number of hosts.
_MOST_STORES = 64

T = TypeVar("T")


def file_url(root: str, path: str) -> str | None:
    """The URL of a file; None if it is a file of this machine.

    Args:
        root: The folder or the URL that paths are relative to.
        path: A path below it, or a URL.

    Raises:
        ImageError: If a path is absolute, and the root is a URL: somebody else may have written it.
    """
    if is_url(path):
        return path
    if not is_url(root):
        return None
    if os.path.isabs(path):
        raise ImageError("has an absolute path, allowed with a table at a URL are paths below it and URLs")
    return join_url(root, with_slashes(path))


class UrlFiles:
    """Files by their whole URLs, in any stores; one file system object serves all files of a store.

    Args:
        storage_options: What fsspec's file systems are made with.
    """

    def __init__(self, storage_options: Mapping[str, Any] | None) -> None:
        self._options = storage_options
        self._stores: OrderedDict[str, RemoteFiles] = OrderedDict()
        # Guards `_stores`. A store asks for nothing while it is made.
        self._lock = threading.Lock()

    def _find(self, url: str) -> tuple[RemoteFiles, str]:
        """The store of a URL, and the name of the file there."""
        base, name = split_store(url)
        with self._lock:
            files = self._stores.get(base)
            if files is None:
                if len(self._stores) >= _MOST_STORES:
                    self._stores.popitem(last=False)
                files = self._stores[base] = RemoteFiles(base, self._options)
            self._stores.move_to_end(base)
        return files, name

    def entry(self, url: str) -> RemoteEntry:
        """The size and the version of a file or a folder; errors as of `RemoteFiles.size`."""
        files, name = self._find(url)
        return files.entry(name)

    def entries(self, url: str, *, recursive: bool = False) -> dict[str, RemoteEntry]:
        """As `RemoteFiles.entries`."""
        files, name = self._find(url)
        return files.entries(name, recursive=recursive)

    def get(self, url: str, path: str) -> None:
        """As `RemoteFiles.get`."""
        files, name = self._find(url)
        files.get(name, path)

    def read_range(self, url: str, start: int, end: int) -> bytes:
        """Some bytes of a file, in one request; errors as of `RemoteFiles.read_ranges`."""
        files, name = self._find(url)
        return bytes(files.read_ranges([name], [start], [end])[0])

    def read_image(self, url: str, num_bytes: int = 0) -> bytes:
        """The bytes of an image file, in one request.

        Args:
            url: Of the file.
            num_bytes: The size that it had when it was found; 0 if that is not known.

        Raises:
            NotAnImageError: If the file has no name of an image, and does not begin like one. The rest of it is not read.
            ImageError: If there is no such file, or it may not be read.
            ReadError: If the store cannot be reached, however often it was tried: that says nothing of the image.
        """
        files, name = self._find(url)
        try:
            if not name.lower().partition("?")[0].endswith(IMAGE_SUFFIXES):
                size = num_bytes or files.size(name)
                check_start(files.read(name, 0, min(HEAD_BYTES, size)))
            return files.read_file(name, num_bytes or None)
        except DatasetNotFoundError as error:
            # As of a file of this machine, so that both are packed to the same bytes.
            raise ImageError(f"cannot be read: {os.strerror(errno.ENOENT)}") from error
        except RefusedError as error:
            raise ImageError(f"cannot be read: {str(error).removeprefix(f'{files.shown(name)}: ')}") from error
        except MemoryError as error:
            raise ImageError("is larger than memory") from error


# One for the options of each source, in each process: file systems are made once, and not for each image.
_url_files: dict[str, UrlFiles] = {}


def url_files(storage_options: Mapping[str, Any] | None) -> UrlFiles:
    """The files at URLs that are opened with some options."""
    return _url_files.setdefault(f"{os.getpid()} {storage_options!r}", UrlFiles(storage_options))


class FileSizes:
    """Tells the size of files by their paths, as `kseq.sources.symlinks.LinkRule` does, where some of them lie at URLs.

    Args:
        root: The folder or the URL that paths are relative to.
        follow_links: As in `LinkRule`; of no effect on files at URLs.
        storage_options: What fsspec's file systems are made with.
    """

    def __init__(self, root: str, follow_links: bool, storage_options: Mapping[str, Any] | None) -> None:
        self._root = root
        self._files = url_files(storage_options)
        self._links = None if is_url(root) else LinkRule(root, follow_links)
        # URL of a folder to the sizes of the files in it, by name; None for a folder that cannot be listed.
        self._folders: dict[str, Mapping[str, int] | None] = {}
        # URL of a folder to how many files in it were asked for.
        self._num_asked: Counter[str] = Counter()

    def inspect(self, path: bytes) -> tuple[int, str | None]:
        """The size of a file, 0 if it is not known, and why it may not be read, or None."""
        sizes, rejections = self.inspect_all([path])
        return sizes[0], rejections[0]

    def inspect_all(self, paths: Sequence[bytes]) -> tuple[list[int], list[str | None]]:
        """What `inspect` says of some files: their sizes, and why they may not be read."""
        sizes: list[int] = [0] * len(paths)
        rejections: list[str | None] = [None] * len(paths)
        local, remote = [], defaultdict(list)
        for number, path in enumerate(paths):
            try:
                url = file_url(self._root, os.fsdecode(path))
            except ImageError as error:
                rejections[number] = str(error)
                continue
            if url is None:
                local.append(number)
            else:
                folder, name = split_url(url)
                remote[folder].append((number, url, name))
        if local and self._links is not None:
            found = self._links.inspect_all([paths[number] for number in local])
            for number, size, rejection in zip(local, *found, strict=True):
                sizes[number], rejections[number] = size, rejection
        for folder, files in remote.items():
            for (number, _, _), size in zip(files, self._sizes_at(folder, files), strict=True):
                sizes[number] = size
        return sizes, rejections

    def _sizes_at(self, folder: str, files: Sequence[tuple[int, str, str]]) -> list[int]:
        """The size of some files in a folder at a URL; 0 where there is no such file, or it has no known size."""
        self._num_asked[folder] += len(files)
        if folder not in self._folders and self._num_asked[folder] > _ASKED_ONE_BY_ONE:
            self._folders[folder] = self._listed(folder)
        listed = self._folders.get(folder)
        if listed is not None:
            return [listed.get(name, 0) for _, _, name in files]
        with ThreadPool(_CONNECTIONS) as threads:
            return list(threads.map(self._size, [url for _, url, _ in files]))

    def _listed(self, folder: str) -> Mapping[str, int] | None:
        try:
            entries = self._files.entries(folder)
        except KseqError:
            # The web lists no folders, and somebody who may read files may not list them.
            return None
        return {name: max(0, entry.size) for name, entry in entries.items()} or None

    def _size(self, url: str) -> int:
        try:
            return max(0, self._files.entry(url).size)
        except KseqError:
            # Reading the file will fail, and tell why.
            return 0


# URL to the bytes of an image that is on its way, or has arrived.
_on_its_way: dict[str, Future[bytes]] = {}


def fetch_image(url: str, storage_options: Mapping[str, Any] | None) -> bytes:
    """As `UrlFiles.read_image`, which may have been called ahead for this image."""
    future = _on_its_way.pop(url, None)
    return url_files(storage_options).read_image(url) if future is None else future.result()


def reading_ahead(
    items: Iterable[T], urls_of: Callable[[T], Mapping[str, int]], storage_options: Mapping[str, Any] | None
) -> Iterator[T]:
    """Gives items one by one, while the images of those that follow are read, for `fetch_image`.

    Args:
        items: The items.
        urls_of: Gives the URLs of the images of an item, and the size of each, 0 if it is not known.
        storage_options: What fsspec's file systems are made with.
    """
    begun: deque[tuple[T, Iterable[str]]] = deque()
    read_image = url_files(storage_options).read_image
    with ThreadPool(_CONNECTIONS) as threads:
        try:
            for item in items:
                urls = urls_of(item)
                if not urls and not begun:
                    yield item
                    continue
                for url, num_bytes in urls.items():
                    _on_its_way[url] = threads.submit(read_image, url, num_bytes)
                begun.append((item, urls))
                if len(begun) > _MOST_AHEAD:
                    yield from _first(begun)
            while begun:
                yield from _first(begun)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            for _, names in begun:
                _forget(names)


def _first(begun: deque[tuple[T, Iterable[str]]]) -> Iterator[T]:
    """The first item; its images are forgotten when the next one is asked for, whoever has read them."""
    yield begun[0][0]
    _forget(begun.popleft()[1])


def _forget(urls: Iterable[str]) -> None:
    for url in urls:
        _on_its_way.pop(url, None)
