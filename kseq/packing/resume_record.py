"""What an unfinished packing was begun with, kept beside its shards, so that going on with anything else can be refused."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from kseq.packing.plan import Plan
from kseq.sources.base import FileSource, Source, SourceImage
from kseq.sources.iterables import SpooledSource
from kseq.storage.atomic import publishing
from kseq.storage.checksums import Digest, checksum
from kseq.storage.fields import write_fields
from kseq.storage.layout import FORMAT_VERSION, RESUME_RECORD_NAME
from kseq.storage.strings import pack_strings

__all__ = ["ResumeRecord", "stamps_digest"]

# In 64 bits, a class number above the size of a file.
_LABEL_AT = 44
_MASK = (1 << 64) - 1

# What numpy and zipfile raise over bytes that have changed.
_UNREADABLE = (OSError, EOFError, KeyError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error)

# Of long lists, this many are told.
_TOLD = 3
_TOLD_CHARACTERS = 60


@dataclass(frozen=True)
class ResumeRecord:
    """What decides the bytes of a dataset, as far as it is needed to say what differs.

    Attributes:
        dataset_id: The plan's.
        settings: Argument of `kseq.pack` to its value, for those that matter.
        names: What the images are called.
        facts: `(n,)` uint64: what else the source says of each, mixed.
        stamps: `(n,)` uint64: when each image file was written last, in nanoseconds; of an iterable's pixels or bytes a hash;
            0 where images lie in files of many.
        files: The files that hold many images.
        file_stamps: `(files, 2)` int64: size and time of each.
    """

    dataset_id: str
    settings: dict[str, Any]
    names: list[bytes]
    facts: np.ndarray
    stamps: np.ndarray
    files: list[bytes]
    file_stamps: np.ndarray

    @classmethod
    def of(cls, plan: Plan, arguments: Mapping[str, Any]) -> ResumeRecord:
        """What a plan is made from.

        Args:
            plan: The plan.
            arguments: Those of `kseq.pack` that the plan's settings do not hold; as JSON can.
        """
        source = plan.source
        told = {
            "format": FORMAT_VERSION,
            **asdict(plan.settings),
            **arguments,
            "class_names": source.class_names,
            "fields": write_fields(source.fields),
        }
        files = _shared_files(source)
        return cls(
            plan.dataset_id,
            # As it will be when it is read.
            json.loads(json.dumps(told, default=float)),
            [image.path for image in source.images],
            _facts(source.images),
            _stamps(source),
            [os.fsencode(os.path.basename(file)) for file in files],
            np.array([_stamp(file) for file in files], np.int64).reshape(-1, 2),
        )

    @classmethod
    def read(cls, folder: str) -> ResumeRecord | None:
        """What is kept in the folder of an unfinished packing; None where there is none that can be read."""
        try:
            with np.load(os.path.join(folder, RESUME_RECORD_NAME), allow_pickle=False) as held:
                return cls(
                    held["dataset_id"].tobytes().decode(),
                    json.loads(held["settings"].tobytes()),
                    _strings(held["names/bytes"], held["names/offsets"]),
                    held["facts"],
                    held["stamps"],
                    _strings(held["files/bytes"], held["files/offsets"]),
                    held["file_stamps"],
                )
        except _UNREADABLE:
            return None

    def write(self, folder: str) -> None:
        """Keep it in the folder of the packing.

        Raises:
            WriteError: Where the operating system refuses.
        """
        told = {"dataset_id": self.dataset_id, "settings": json.dumps(self.settings)}
        texts = {name: np.frombuffer(text.encode(), np.uint8) for name, text in told.items()}
        lists = pack_strings("names", self.names) | pack_strings("files", self.files)
        numbers = {"facts": self.facts, "stamps": self.stamps, "file_stamps": self.file_stamps}
        with publishing(os.path.join(folder, RESUME_RECORD_NAME)) as temporary, open(temporary, "wb") as file:
            # Names of arrays, none of them an option of the call.
            np.savez_compressed(file, **{**texts, **lists, **numbers})  # type: ignore[arg-type]  # numpy says bool for any keyword

    def differences(self, now: ResumeRecord, packed: np.ndarray) -> list[str]:
        """What has changed since, in words; nothing where the shards are the same all the same.

        Args:
            now: What the packing would go on with.
            packed: `(n,)` bool: which images of `now` lie in whole shards. Only of these it matters when they were written.
        """
        if self.dataset_id == now.dataset_id:
            return self._times_told(now, packed)
        return self.settings_told(self.settings, now.settings) or self._images_told(now)

    @staticmethod
    def settings_told(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
        """Which settings are others now, in words."""
        return [
            f"{name} was {_cut(then.get(name))}, now it is {_cut(now.get(name))}"
            for name in {**then, **now}
            if then.get(name) != now.get(name)
        ]

    def _images_told(self, now: ResumeRecord) -> list[str]:
        then_names, now_names = dict.fromkeys(self.names), dict.fromkeys(now.names)
        facts = dict(zip(self.names, self.facts.tolist(), strict=True))
        told = [
            _names_told("is new", (name for name in now_names if name not in then_names)),
            _names_told("is gone", (name for name in then_names if name not in now_names)),
            _names_told(
                "has changed",
                (name for name, fact in zip(now.names, now.facts.tolist(), strict=True) if facts.get(name, fact) != fact),
            ),
        ]
        if len(self.names) != len(now.names):
            told.insert(0, f"{len(self.names):,} images were found, now {len(now.names):,} are")
        return [each for each in told if each]

    def _times_told(self, now: ResumeRecord, packed: np.ndarray) -> list[str]:
        told = ""
        if self.names == now.names:
            late = np.flatnonzero((self.stamps != now.stamps) & packed)
            told = _names_told("was written again", (now.names[number] for number in late.tolist()))
        if not told and packed.any() and len(self.files) == len(now.files):
            late = np.flatnonzero((self.file_stamps != now.file_stamps).any(axis=1))
            told = _names_told("was written again", (now.files[number] for number in late.tolist()))
        return [told] if told else []


def _strings(data: np.ndarray, offsets: np.ndarray) -> list[bytes]:
    whole, places = data.tobytes(), offsets.tolist()
    return [whole[start:end] for start, end in pairwise(places)]


def _facts(images: Sequence[SourceImage]) -> np.ndarray:
    plain = ((image.label << _LABEL_AT ^ image.num_bytes) & _MASK for image in images)
    facts = np.fromiter(plain, np.uint64, len(images))
    for number, image in enumerate(images):
        # Most have no more: of a million, hashing all of them would take seconds.
        if image.split is not None or image.rejection is not None or image.group is not None or image.values:
            facts[number] ^= np.uint64(_hash_of(image))
    return facts


def _hash_of(image: SourceImage) -> int:
    """Of what else a source says of an image; of arrays, their bytes: to write a million of them out would take minutes."""
    told: list[Any] = [image.split, image.rejection, image.group]
    data = []
    for each in image.values:
        is_array = isinstance(each, (np.ndarray, np.generic))
        told.append(each.shape if is_array else each)
        data += [each.tobytes()] if is_array else []
    return checksum(b"".join([repr(told).encode(errors="backslashreplace"), *data]))


def _stamps(source: Source) -> np.ndarray:
    if not isinstance(source, (FileSource, SpooledSource)):
        return np.zeros(len(source.images), np.uint64)
    values = [field for field in source.fields[1:] if not field.is_label]
    others = [place for place, field in enumerate(values) if field.is_pixels]
    root = os.fsencode(source.root)

    def stamp(place: Any) -> int:
        if isinstance(place, bytes):
            return _stamp(os.path.join(root, place))[1]
        return place.hash if place.path is None else _stamp(place.path)[1]

    def mixed(image: SourceImage) -> int:
        places = [image.path if image.location is None else image.location, *(image.values[place] for place in others)]
        stamps = [stamp(place) & _MASK for place in places]
        return stamps[0] if len(stamps) == 1 else checksum(np.array(stamps, np.uint64))

    return np.array([mixed(image) for image in source.images], np.uint64)


def stamps_digest(source: Source) -> bytes:
    """Another one where a file of a source was written again, even with as many bytes."""
    files = [_stamp(file) for file in _shared_files(source)]
    return Digest(_stamps(source).tobytes() + np.array(files, np.int64).tobytes()).digest()


def _shared_files(source: Source) -> Sequence[str]:
    """The files that hold the images; none where each image is a file of its own, or they came from no file."""
    if isinstance(source, (FileSource, SpooledSource)):
        return ()
    return getattr(source, "files", ()) or (source.root,)


def _stamp(path: str | bytes) -> tuple[int, int]:
    """Size and time of the last writing, in nanoseconds; 0 where there is no such file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _names_told(what: str, names: Iterable[bytes]) -> str:
    found = [os.fsdecode(name) for name in names]
    more = f" and {len(found) - _TOLD:,} more" if len(found) > _TOLD else ""
    return f"{', '.join(found[:_TOLD])}{more} {what}" if found else ""


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _TOLD_CHARACTERS else f"{text[:_TOLD_CHARACTERS]}..."
