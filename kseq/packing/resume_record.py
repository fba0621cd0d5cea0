"""The record of an unfinished packing: what it was started with, so that resuming it with anything else is refused."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise, takewhile
from typing import Any

import numpy as np

from kseq.packing.plan import Plan
from kseq.sources.base import ImageTable, Source
from kseq.sources.file_reading import file_stamp
from kseq.sources.spooled_column import BLOCK_ROWS, SpooledColumn, blocks_of
from kseq.storage.atomic import publishing
from kseq.storage.checksums import Digest, checksum
from kseq.storage.fields import write_fields
from kseq.storage.layout import FORMAT_VERSION, RESUME_RECORD_NAME
from kseq.storage.strings import pack_strings

__all__ = ["ResumeRecord", "describe_settings", "source_stamp"]

# The class number of an image is mixed in above this bit, and the size of its file below.
_LABEL_BIT = 44

# What numpy and zipfile raise if bytes have changed.
# An AttributeError is what Python 3.10 raises where what was loaded is no context manager, and later ones a TypeError.
_UNREADABLE = (
    OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, MemoryError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip

# A message names so many files of a long list, and shows so many characters of a value.
_MOST_NAMES = 3
_MOST_CHARACTERS = 60


@dataclass(frozen=True)
class ResumeRecord:
    """What decides the bytes of a dataset, in as much detail as a message needs that says what differs.

    Attributes:
        dataset_id: The dataset id of the plan.
        settings: Argument of `kseq.pack` to its value, for the arguments that matter.
        names: The paths of the images.
        facts: `(n,)` uint64: a hash of the label, the size, the split and the other values of each image.
        stamps: `(n,)` uint64: when each image file was written last, in nanoseconds; a hash of the pixels or bytes that an
            iterable gave; 0 where many images lie in one file.
        files: The names of the files that hold many images.
        file_stamps: `(files, 2)` int64: the size of each of these files, and when it was written last.
    """

    dataset_id: str
    settings: dict[str, Any]
    names: Sequence[bytes]
    facts: np.ndarray
    stamps: np.ndarray
    files: list[bytes]
    file_stamps: np.ndarray

    @classmethod
    def of(cls, plan: Plan, arguments: Mapping[str, Any]) -> ResumeRecord:
        """The record of a plan.

        Args:
            plan: The plan.
            arguments: The arguments of `kseq.pack` that are not part of the image settings, as values for JSON.
        """
        source = plan.source
        settings = {
            "format": FORMAT_VERSION,
            **asdict(plan.settings),
            **arguments,
            "class_names": source.class_names,
            "fields": write_fields(source.fields),
        }
        files = source.shared_files()
        return cls(
            plan.dataset_id,
            # As they are when they are read back.
            json.loads(json.dumps(settings, default=float)),
            _Names.of(source.images.columns["path"]),
            _facts(source.images),
            source.image_stamps(),
            [os.fsencode(os.path.basename(file)) for file in files],
            np.array([file_stamp(file) for file in files], np.int64).reshape(-1, 2),
        )

    @classmethod
    def read(cls, folder: str) -> ResumeRecord | None:
        """Read the record that lies in the folder of an unfinished packing; None if there is none that can be read."""
        try:
            with np.load(os.path.join(folder, RESUME_RECORD_NAME), allow_pickle=False) as arrays:
                return cls(
                    arrays["dataset_id"].tobytes().decode(),
                    json.loads(arrays["settings"].tobytes()),
                    _Names(arrays["names/bytes"], arrays["names/offsets"]),
                    arrays["facts"],
                    arrays["stamps"],
                    list(_Names(arrays["files/bytes"], arrays["files/offsets"])),
                    arrays["file_stamps"],
                )
        except _UNREADABLE:
            return None

    def write(self, folder: str) -> None:
        """Write the record into the folder of the packing.

        Raises:
            WriteError: If the operating system refuses.
        """
        texts = {"dataset_id": self.dataset_id, "settings": json.dumps(self.settings)}
        encoded = {name: np.frombuffer(text.encode(), np.uint8) for name, text in texts.items()}
        names = _Names.of(self.names)
        lists = {"names/bytes": names.data, "names/offsets": names.offsets} | pack_strings("files", self.files)
        numbers = {"facts": self.facts, "stamps": self.stamps, "file_stamps": self.file_stamps}
        write = partial(np.savez_compressed, **encoded, **lists, **numbers)  # type: ignore[arg-type]  # numpy says bool for any name
        # Ctrl-C interrupts the main thread alone. A zipfile that is interrupted cannot be closed, and that error hides Ctrl-C.
        with (
            publishing(os.path.join(folder, RESUME_RECORD_NAME)) as temporary,
            open(temporary, "wb") as file,
            ThreadPoolExecutor(1) as thread,
        ):
            thread.submit(write, file).result()

    def differences(self, now: ResumeRecord, is_packed: np.ndarray) -> list[str]:
        """What has changed since this record was written, in words; nothing if the shards are still the same.

        Args:
            now: The record of the packing that is to go on.
            is_packed: `(n,)` bool: which images of `now` lie in finished shards. Only for these it matters when they were
                written.
        """
        if self.dataset_id == now.dataset_id:
            return self._describe_rewritten(now, is_packed)
        return describe_settings(self.settings, now.settings) or self._describe_images(now)

    def _describe_images(self, now: ResumeRecord) -> list[str]:
        old_names, new_names = dict.fromkeys(self.names), dict.fromkeys(now.names)
        old_facts = dict(zip(self.names, self.facts.tolist(), strict=True))
        new_facts = zip(now.names, now.facts.tolist(), strict=True)
        differences = [
            _describe_names("is new", (name for name in new_names if name not in old_names)),
            _describe_names("is gone", (name for name in old_names if name not in new_names)),
            _describe_names("has changed", (name for name, fact in new_facts if old_facts.get(name, fact) != fact)),
        ]
        if len(self.names) != len(now.names):
            differences.insert(0, f"{len(self.names):,} images were found, now {len(now.names):,} are")
        return [difference for difference in differences if difference]

    def _describe_rewritten(self, now: ResumeRecord, is_packed: np.ndarray) -> list[str]:
        difference = ""
        if _Names.of(self.names) == _Names.of(now.names):
            rewritten = np.flatnonzero((self.stamps != now.stamps) & is_packed)
            difference = _describe_names("was written again", (now.names[number] for number in rewritten.tolist()))
        if not difference and is_packed.any() and len(self.files) == len(now.files):
            rewritten = np.flatnonzero((self.file_stamps != now.file_stamps).any(axis=1))
            difference = _describe_names("was written again", (now.files[number] for number in rewritten.tolist()))
        return [difference] if difference else []


def describe_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The settings that differ, in words."""
    return [
        f"{name} was {_shorten(old.get(name), new.get(name))}, now it is {_shorten(new.get(name), old.get(name))}"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]


def source_stamp(source: Source) -> bytes:
    """A hash that differs if a file of a source was written again, even with as many bytes."""
    files = [file_stamp(file) for file in source.shared_files()]
    digest = Digest(source.image_stamps())
    digest.update(np.array(files, np.int64))
    return digest.digest()


@dataclass(frozen=True, eq=False)
class _Names(Sequence[bytes]):
    """Byte strings as the record holds them: two arrays, where a list of ten million would take a gigabyte.

    Attributes:
        data: `(n,)` uint8: the bytes of all, one string after the other.
        offsets: `(strings + 1,)` uint64: where each begins, and the last ends.
    """

    data: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, strings: Sequence[bytes]) -> _Names:
        if isinstance(strings, cls):
            return strings
        joined, ends = bytearray(), [np.zeros(1, np.uint64)]
        for block in blocks_of(strings):
            ends.append(len(joined) + np.cumsum(np.fromiter(map(len, block), np.uint64, len(block)), dtype=np.uint64))
            joined += b"".join(block)
        return cls(np.frombuffer(joined, np.uint8), np.concatenate(ends))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: Any) -> Any:
        start, end = self.offsets[number : number + 2].tolist()
        return self.data[start:end].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self), BLOCK_ROWS):
            offsets = self.offsets[start : start + BLOCK_ROWS + 1].tolist()
            text = self.data[offsets[0] : offsets[-1]].tobytes()
            yield from (text[begin - offsets[0] : end - offsets[0]] for begin, end in pairwise(offsets))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Names) and np.array_equal(self.offsets, other.offsets) and np.array_equal(self.data, other.data)
        )


def _facts(images: ImageTable) -> np.ndarray:
    facts = (images.labels.astype(np.int64) << _LABEL_BIT ^ images.num_bytes).view(np.uint64)
    splits = np.array([_hash(b"split", name) for name in images.splits.names], np.uint64)
    facts ^= splits[images.splits.codes]
    _mix_in(facts, b"rejection", images.columns["rejection"])
    _mix_in(facts, b"group", images.columns["group"])
    for number, values in enumerate(images.values):
        _mix_in(facts, b"value %d" % number, values)
    return facts


def _mix_in(facts: np.ndarray, what: bytes, values: SpooledColumn) -> None:
    """Change the facts of the samples that have a value other than None."""
    if not values.has_values:
        return
    start = 0
    for block in values.blocks():
        facts[start : start + len(block)] ^= np.fromiter((_hash(what, value) for value in block), np.uint64, len(block))
        start += len(block)


def _hash(what: bytes, value: Any) -> int:
    """A hash of what a source says of an image; 0 for None. Arrays go in as bytes, which is fast."""
    if value is None:
        return 0
    if isinstance(value, (np.ndarray, np.generic)):
        return checksum(b"%b %r:%b" % (what, value.shape, value.tobytes()))
    return checksum(b"%b %b" % (what, repr(value).encode(errors="backslashreplace")))


def _describe_names(what: str, names: Iterable[bytes]) -> str:
    texts = [os.fsdecode(name) for name in names]
    rest = f" and {len(texts) - _MOST_NAMES:,} more" if len(texts) > _MOST_NAMES else ""
    return f"{', '.join(texts[:_MOST_NAMES])}{rest} {what}" if texts else ""


def _shorten(value: Any, other: Any) -> str:
    """A value as text; of a long one the part where it differs from the other begins."""
    text = repr(value)
    if len(text) <= _MOST_CHARACTERS:
        return text
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(text, repr(other), strict=False))
    start = max(sum(1 for _ in alike) - _MOST_CHARACTERS // 2, 0)
    end = start + _MOST_CHARACTERS
    return f"{'...' if start else ''}{text[start:end]}{'...' if end < len(text) else ''}"
