"""Copying a dataset between folders and URLs: whole, verified, and to be gone on with after a kill.

The rules:

- What the index names is copied: its shards, and the index itself last, whose presence is the commit. The index before the last
  change (`index.h5.1`) stays behind, and with it what `kseq.undo` needs.
- A shard is compared with its digest before it is sent. At a URL it is read back, and compared with what was sent.
- A shard that lies there already is not sent again if it is whole; what is damaged is replaced.
- What may lie at the destination before is said at the top of `kseq/editing/copy_destination.py`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from kseq.arguments import flag, is_url, path_or_url, shown_url, spelled, whole
from kseq.display.progress_bar import progress_shown
from kseq.editing.copy_destination import CopyDestination, copy_destination
from kseq.errors import ArgumentError, DamagedError, DatasetNotFoundError, KseqError, WriteError
from kseq.storage.index import Index
from kseq.storage.layout import INDEX_NAME, LAST_INDEX_NAME, shard_name
from kseq.storage.open_shard import CopyOpener
from kseq.storage.output_folder import check_apart
from kseq.storage.places import Place
from kseq.storage.remote_system import check_storage_options
from kseq.storage.report import Report
from kseq.storage.shard_entry import ShardEntry
from kseq.storage.shard_reader import ShardReader
from kseq.storage.url_place import place_at, spool_folder
from kseq.threads import ThreadPool

__all__ = ["CopyReport", "copy"]


@dataclass(frozen=True)
class CopyReport(Report):
    """What `kseq.copy` did.

    Attributes:
        path: The folder or the URL of the copy.
        digest: Of the copy, and of the dataset that it was made of: 32 hexadecimal digits.
        num_samples: How many samples the shards hold, dropped samples included.
        num_shards: How many shards there are.
        num_sent: How many of the shards were sent; the others were there already, and whole.
        num_bytes: The size of all files of the copy, in bytes.
        num_bytes_sent: The size of the files that were sent, in bytes.
        can_undo: Whether the last change of the copied dataset could be taken back. That of the copy cannot.
        seconds: How long it took.
    """

    path: str
    digest: str
    num_samples: int
    num_shards: int
    num_sent: int
    num_bytes: int
    num_bytes_sent: int
    can_undo: bool
    seconds: float


def copy(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    read_back: bool = True,
    connections: int = 8,
    storage_options: Mapping[str, Any] | None = None,
    destination_options: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | bool | None = None,
) -> CopyReport:
    """Copy a dataset: from a folder to a URL, from a URL to a folder, or between two of a kind.

    The copy has the same files with the same bytes, and so the same digest. The index comes last: until then there is no
    dataset at the destination. A call that was killed, or failed, is made again: it goes on with the shards that have arrived.

    Every shard is compared with its digest before it is sent, so that no damage is copied. Between two URLs, shards go through
    this machine, `connections` at a time, in the folder for temporary files (`TMPDIR`).

    Args:
        source: The dataset: a folder, or a URL of any file system of fsspec, such as `"s3://bucket/flowers"`.
        destination: Where the copy is to be: the same. A folder is made.
        overwrite: Replace another dataset, or an unfinished one, that lies there. In a folder, the old dataset stays until the
            new one is whole. At a URL, the old index is removed first: there is no dataset until the new one is whole.
        read_back: Read each file back from a URL and compare it with what was sent, and read every shard that lies there
            already. False compares sizes, and of a shard that lies there also the digest that is written in it: as many bytes
            are then sent, and next to none come back.
        connections: How many shards are copied at once, 1 or more.
        storage_options: What fsspec's file systems are made with, for both places: keys, an endpoint and the like.
        destination_options: The same for the destination alone; None for those of the source.
        progress: A function that is called after each shard with how many bytes are done and there are.
            None: a bar where a person looks, on a terminal or in a notebook, else nothing. False: nothing. True: a bar.

    Raises:
        ArgumentError: If an argument is not allowed, the two places are the same, or fsspec does not know the URL.
        DatasetNotFoundError: If there is no dataset, or a shard is missing.
        DatasetExistsError: If something else lies at the destination.
        LockedError: If another process changes the dataset at the destination.
        DamagedError: If a shard of the source is damaged.
        ReadError: If a file cannot be read.
        WriteError: If a file cannot be written, or does not arrive as it was sent.

    Examples:
        >>> kseq.copy("flowers", "s3://bucket/flowers")
        >>> kseq.copy("s3://bucket/flowers", "/local/flowers")
    """
    started = time.monotonic()
    flag("overwrite", overwrite)
    flag("read_back", read_back)
    whole("connections", connections, 1)
    origin_path, target = path_or_url("source", source), path_or_url("destination", destination)
    check_apart(origin_path, target)
    for name, options, paths in (
        ("storage_options", storage_options, (origin_path, target)),
        ("destination_options", destination_options, (target,)),
    ):
        check_storage_options(options)
        if options is not None and not any(map(is_url, paths)):
            raise ArgumentError(f"{spelled(name)}: goes with a URL, found {' and '.join(paths)}")
    options = storage_options if destination_options is None else destination_options
    with ExitStack() as stack:
        show = stack.enter_context(progress_shown(progress, "bytes"))
        spool = stack.enter_context(spool_folder())
        origin = place_at(origin_path, spool, storage_options, read_back=read_back)
        index = _fetch_index(origin, origin_path, spool)
        arrival = stack.enter_context(
            copy_destination(
                target, index, partial(place_at, spool=spool, storage_options=options, read_back=read_back), overwrite=overwrite
            )
        )
        try:
            sent = _Shards(index, origin, arrival, read_back=read_back).copy(connections, show)
        except KeyboardInterrupt as interrupt:
            interrupt.args = ("what was copied stays, the same call goes on",)
            raise
        arrival.publish(os.path.join(spool, INDEX_NAME))
        can_undo = _has_previous_index(origin)
    num_bytes = int(index.num_bytes.sum()) + index.header.num_bytes
    return CopyReport(
        path=shown_url(target),
        digest=index.digest,
        num_samples=index.num_samples,
        num_shards=index.num_shards,
        num_sent=len(sent),
        num_bytes=num_bytes,
        num_bytes_sent=int(index.num_bytes[sent].sum()) + index.header.num_bytes,
        can_undo=can_undo,
        seconds=time.monotonic() - started,
    )


def _fetch_index(origin: Place, path: str, spool: str) -> Index:
    """The index of the dataset, in a file of this machine that nobody changes meanwhile.

    Raises:
        KseqError: If there is no dataset, or its index is damaged.
    """
    file = os.path.join(spool, INDEX_NAME)
    try:
        origin.fetch(INDEX_NAME, file)
        # Read into memory, as the file goes before the index does.
        index = Index.open(spool, read="pread")
        index.check_digest()
    except DatasetNotFoundError:
        # This knows what else may lie there.
        Index.open(path)
        raise
    except KseqError as error:
        raise type(error)(str(error).replace(file, origin.path(INDEX_NAME))) from error
    return index


def _has_previous_index(origin: Place) -> bool:
    try:
        origin.read(LAST_INDEX_NAME, 0, 1)
    except KseqError:
        return False
    return True


class _Shards:
    """The shards of a dataset, on their way.

    Args:
        index: The index of the dataset.
        origin: Where they are.
        arrival: Where they are to be.
        read_back: Whether shards that lie there are read as a whole.
    """

    def __init__(self, index: Index, origin: Place, arrival: CopyDestination, *, read_back: bool) -> None:
        self._index = index
        self._origin = origin
        self._arrival = arrival
        self._place = arrival.place
        self._read_back = read_back
        self._is_stopped = False

    def copy(self, connections: int, progress: Callable[[int, int], None] | None) -> list[int]:
        """Copy all that are not there yet; returns the positions of those that were sent.

        Raises:
            KseqError: The first error of any shard, when those that were on their way have ended.
            KeyboardInterrupt: Without waiting for those that hang; they get no name any more.
        """
        sizes = self._index.num_bytes.tolist()
        done, total, sent = 0, sum(sizes), []
        if progress is not None:
            progress(0, total)
        try:
            with ThreadPool(connections) as threads:
                positions = {threads.submit(self._bring, position): position for position in range(len(sizes))}
                for future in as_completed(positions):
                    position = positions[future]
                    sent += [position] if future.result() else []
                    done += sizes[position]
                    if progress is not None:
                        progress(done, total)
        except BaseException:
            self._is_stopped = True
            raise
        return sorted(sent)

    def _bring(self, position: int) -> bool:
        """Copy a shard, unless it is there and whole. Returns whether it was sent."""
        entry = self._index.entry(position)
        name = shard_name(entry.number)
        if self._arrival.sizes.get(name) == entry.num_bytes and self._is_whole(name, entry):
            return False
        self._arrival.check_ours()
        try:
            self._place.receive(self._origin, name, partial(self._check, self._origin.path(name), entry))
        except WriteError:
            # Who else writes there may be why.
            self._arrival.check_ours()
            raise
        return True

    def _is_whole(self, name: str, entry: ShardEntry) -> bool:
        """Whether a shard that lies at the destination is the one that the index says."""
        try:
            if self._read_back:
                with self._place.at_hand(name) as path:
                    self._check(self._place.path(name), entry, path)
                return True
            digits = entry.digest.encode()
            return self._place.read(name, entry.digest_offset, entry.digest_offset + len(digits)) == digits
        except (DamagedError, DatasetNotFoundError, ValueError):
            # It is sent anew. A ReadError is not passed over: what cannot be read is not known to be damaged.
            return False

    def _check(self, shown: str, entry: ShardEntry, path: str) -> None:
        """Raise DamagedError or FormatError unless a file is, in every array, the shard that the index says.

        Also raise WriteError if the copy was interrupted meanwhile: nobody waits for it, and others may write there now.
        """
        reader = ShardReader(shown, self._index.stored_fields, entry, CopyOpener(path))
        reader.check_structure()
        reader.check_digest()
        if self._is_stopped:
            raise WriteError(f"{shown}: the copy was interrupted")
