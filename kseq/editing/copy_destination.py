"""What lies where a dataset is to be copied to, and whether it may be written there.

The rules:

- Nothing, the same dataset, or an unfinished copy of it: the copy goes on there.
- Another dataset, or an unfinished one: it is refused, unless it is to be overwritten. Files that are not kseq's are refused.
- A record beside the shards (`.kseq-writing`) says which dataset is being copied. It goes when the index is there.
- A folder is locked. There are no locks at URLs: two copies of the same dataset write the same bytes there, and may go on
  beside each other. A copy that finds, before it sends a shard or the index, that the record is another's ends with an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kseq.arguments import is_url, spelled, spelled_call
from kseq.errors import DamagedError, DatasetExistsError, DatasetNotFoundError, FormatError, WriteError
from kseq.storage.index import Index
from kseq.storage.layout import (
    INDEX_NAME,
    LAST_INDEX_NAME,
    LOCK_NAME,
    RESUME_RECORD_NAME,
    TEMPORARY_PREFIX,
    WRITING_RECORD_NAME,
    is_dataset_file,
    shard_name,
    shard_number,
)
from kseq.storage.output_folder import target_folder
from kseq.storage.places import FolderPlace, Place
from kseq.storage.writing_record import WritingRecord

__all__ = ["CopyDestination", "copy_destination"]


@contextmanager
def copy_destination(
    target: str, index: Index, place_at: Callable[[str], Place], *, overwrite: bool
) -> Iterator[CopyDestination]:
    """The place to copy a dataset to, until the end of the block.

    A folder is locked. A new one beside it takes its place at the end of the block, if there is another dataset to replace.

    Args:
        target: A folder or a URL.
        index: The index of the dataset.
        place_at: Makes a place of either.
        overwrite: Whether something else that lies there may be replaced.

    Raises:
        DatasetExistsError: If something else lies there.
        LockedError: If another process changes it.
        WriteError: If it cannot be written.
    """
    destination = CopyDestination(place_at(target), index)
    conflict = destination.conflict()
    if conflict is not None and not overwrite:
        raise DatasetExistsError(f"{destination.place.name}: {conflict} ({spelled('overwrite', True)} replaces it)")
    if is_url(target):
        if conflict is not None:
            destination.remove_index()
        destination.begin()
        yield destination
        return
    with target_folder(target, overwrite=conflict is not None, resume=True, copying=True) as folder:
        destination = CopyDestination(FolderPlace(folder), index)
        # Again, since somebody else may have had the lock until now.
        conflict = destination.conflict()
        if conflict is not None:
            raise DatasetExistsError(f"{target}: {conflict}: another process has just written it")
        destination.begin()
        yield destination


class CopyDestination:
    """A place that a dataset is copied to.

    Args:
        place: The place.
        index: The index of the dataset.

    Attributes:
        place: The same.
        sizes: Name to size of the files that lay there at the beginning.
    """

    def __init__(self, place: Place, index: Index) -> None:
        self.place = place
        self.sizes = place.sizes()
        self._record = WritingRecord(place, "copy", index.digest)
        self._digest = index.digest
        self._shards = {
            shard_name(number): size for number, size in zip(index.numbers.tolist(), index.num_bytes.tolist(), strict=True)
        }

    def conflict(self) -> str | None:
        """What lies there that is neither this dataset nor a part of it; None if nothing does.

        Raises:
            DatasetExistsError: If something lies there that is not kseq's.
        """
        names = {name for name in self.sizes if name != LOCK_NAME and not name.startswith(TEMPORARY_PREFIX)}
        others = sorted(name for name in names if self.sizes[name] < 0 or not is_dataset_file(name))
        # Those of a folder are judged when it is locked, by the rules for folders.
        if others and is_url(self.place.name):
            raise DatasetExistsError(f"{self.place.name}: holds {others[0]!r}, which is not kseq's: take a new place")
        if INDEX_NAME in names:
            return None if self._found_digest() == self._digest else "another dataset lies there"
        if WRITING_RECORD_NAME in names:
            return (
                None
                if self._record.is_there()
                else "an unfinished copy of another dataset, or an unfinished packing, lies there"
            )
        if RESUME_RECORD_NAME in names:
            return f"an unfinished packing lies there, which {spelled_call('pack', resume=True)} goes on with"
        return "shards without an index lie there" if any(shard_number(name) is not None for name in names) else None

    def begin(self) -> None:
        """Write down which dataset is being copied."""
        self._record.write()

    def check_ours(self) -> None:
        """Raise LockedError if another process has begun to write another dataset, or has published one."""
        # Another process that copies the same dataset may have ended before.
        if not self._record.is_there() and self._found_digest() != self._digest:
            self._record.check()

    def remove_index(self) -> None:
        """Make an end of the dataset that lies there: nobody finds it any more."""
        for name in (INDEX_NAME, LAST_INDEX_NAME, RESUME_RECORD_NAME, WRITING_RECORD_NAME):
            if name in self.sizes:
                self.place.remove(name)
                del self.sizes[name]

    def publish(self, index_path: str) -> None:
        """Write the index, a file of this machine, and remove what belongs to nothing any more.

        Raises:
            LockedError: If another process has written there meanwhile.
            WriteError: If it cannot be written.
        """
        self.check_ours()
        sizes = self.place.sizes()
        for name, size in self._shards.items():
            if sizes.get(name) != size:
                raise WriteError(
                    f"{self.place.path(name)}: has {sizes.get(name, 0)} bytes of {size} that were sent: no index was written, "
                    "copy again"
                )
        self.place.store(index_path, INDEX_NAME)
        if INDEX_NAME not in self.sizes:
            unnamed = [name for name in sizes if shard_number(name) is not None and name not in self._shards]
            for name in [*unnamed, *({LAST_INDEX_NAME, RESUME_RECORD_NAME} & sizes.keys())]:
                self.place.remove(name)
        self._record.remove()

    def _found_digest(self) -> str | None:
        """The digest of the dataset that lies there; None if there is none, or none that this kseq can read."""
        try:
            with self.place.at_hand(INDEX_NAME) as path:
                return Index.open(os.path.dirname(path), os.path.basename(path), read="pread").digest
        except (DamagedError, DatasetNotFoundError, FormatError):
            return None
