"""The samples of a tar: its files by what their names have in common, and where they lie."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np

from kseq.arguments import spelled_call
from kseq.display.commands import shell_path
from kseq.errors import SourceError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.compressed import Unpacked, decompress_command
from kseq.sources.equal_values import find_first_rows
from kseq.sources.folder_tree import is_hidden
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.wrong_files import describe_wrong_file

__all__ = [
    "SUFFIXES",
    "Location",
    "TarSample",
    "damage_at_end",
    "first_image",
    "member_rejection",
    "part_images",
    "read_tar",
    "unpack_command",
]

SUFFIXES = tuple(suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES)
"""The columns that are images, the first of which counts."""

_READ_BYTES = 1 << 20


# Where a file in a tar is: the number of the tar, offset and size in bytes. A plain tuple: millions of them are pickled.
Location = tuple[int, int, int]


class _Member(NamedTuple):
    """A file in a tar: key, column, offset and size in bytes; or why it cannot be read."""

    key: str
    column: str
    offset: int
    size: int
    rejection: str | None = None


class TarSample(NamedTuple):
    """The files of a sample, by column; or why it cannot be packed."""

    key: str
    files: dict[str, Location]
    rejection: str | None = None


def first_image(sample: TarSample, prefix: str = "") -> Location | None:
    """The first of the usual images, among the columns with a prefix."""
    return next((sample.files[f"{prefix}{suffix}"] for suffix in SUFFIXES if f"{prefix}{suffix}" in sample.files), None)


def part_images(samples: Iterable[TarSample]) -> Iterator[TarSample]:
    """The samples of tars of class folders, in which every image is a sample by itself.

    There, `cat.0.jpg` and `cat.1.jpg` are two images, and so are `2.jpg` and `2.png`; but `2.seg.png` belongs to `2.jpg`.
    """
    for sample in samples:
        plain = [column for column in SUFFIXES if column in sample.files]
        dotted = [column for column in sample.files if column.endswith(SUFFIXES)]
        if sample.rejection or len(plain) == 1 or len(plain or dotted) != len(sample.files):
            yield sample
            continue
        for column, location in sample.files.items():
            stem, _, suffix = column.rpartition(".")
            yield TarSample(f"{sample.key}.{stem}" if stem else sample.key, {suffix: location})


def unpack_command(path: str, *, is_here: bool = True) -> str:
    """The commands that unpack a tar, and pack the folder; of one at a URL, what to do."""
    if not is_here:
        return f"fetch it, unpack it, and pack that: {spelled_call('pack', 'FOLDER', 'DATASET')}"
    folder = re.sub(r"\.(tar(\.\w+)?|t\w+)$", "", path, flags=re.IGNORECASE)
    words = (shell_path(folder), shell_path(path))
    call = spelled_call("pack", folder, "DATASET")
    return f"unpack it (mkdir -p {words[0]} && tar -xf {words[1]} -C {words[0]}), and pack that: {call}"


def read_tar(number: int, path: str, unpacked: Unpacked) -> SpooledColumn:
    """The samples of a tar; `number` is that of the tar."""
    samples = SpooledColumn(_adjacent_samples(number, path, unpacked))
    keys = SpooledColumn(os.fsencode(sample.key) for sample in samples)
    first_rows = find_first_rows(len(keys), keys.blocks)
    return samples if first_rows is None else SpooledColumn(_united_samples(samples, first_rows))


def _united_samples(samples: SpooledColumn, first_rows: np.ndarray) -> Iterator[TarSample]:
    """The samples with all of their files, in whichever place of the tar they lie; each stands where its first file does.

    Files of a column that the sample has already are another sample of the same key, as of a tar that files were added to.
    """
    is_part = first_rows != np.arange(len(first_rows))
    is_torn = is_part.copy()
    is_torn[first_rows[is_part]] = True
    whole: dict[int, TarSample] = {}
    for row, sample in enumerate(samples):
        if not is_torn[row]:
            continue
        first = whole.get(int(first_rows[row]))
        if first is None or first.files.keys() & sample.files.keys():
            whole[row] = sample
        else:
            first.files.update(sample.files)
            whole[int(first_rows[row])] = first._replace(rejection=first.rejection or sample.rejection)
    for row, sample in enumerate(samples):
        if not is_torn[row]:
            yield sample
        elif row in whole:
            yield whole[row]


def _adjacent_samples(number: int, path: str, unpacked: Unpacked) -> Iterator[TarSample]:
    """The samples of a tar, as far as their files lie next to each other."""
    for key, members in groupby(_members(path, unpacked), key=lambda member: member.key):
        files: dict[str, Location] = {}
        rejection = None
        for member in members:
            twice = f"has {member.column!r} twice" if member.column in files else None
            rejection = rejection or member.rejection or twice
            files[member.column] = (number, member.offset, member.size)
        yield TarSample(key, files, rejection)


def _members(path: str, unpacked: Unpacked) -> Iterator[_Member]:
    """The files of a tar; if the tar breaks off, the last one says so.

    Args:
        path: The tar, for messages.
        unpacked: What is read.
    """
    last_key = ""
    try:
        num_bytes = os.path.getsize(unpacked.path)
        # Mode "r:" refuses a compressed tar; another mode would unpack it on the way, and its offsets would be of no use.
        with tarfile.open(unpacked.path, "r:") as tar:
            while (member := tar.next()) is not None:
                # The tar would keep all members, two kilobytes each.
                getattr(tar, "members", []).clear()
                folders = [part for part in member.name.split("/") if part not in ("", ".")]
                stem, _, column = folders.pop().partition(".") if folders else ("", "", "")
                is_file = member.isfile() or member.islnk() or member.issym()
                if not stem or not is_file or any(map(is_hidden, folders)):
                    continue
                last_key = "/".join([*folders, stem])
                # What a file with holes takes in the tar is less than its size.
                end = tar.offset if member.issparse() else member.offset_data + member.size
                is_whole = end <= num_bytes
                yield _Member(
                    last_key, column.lower(), member.offset_data, member.size, member_rejection(member, is_whole=is_whole)
                )
                if not is_whole:
                    return
            damage = unpacked.damage or damage_at_end(unpacked.path, tar.offset)
    except (tarfile.TarError, ValueError, OverflowError) as error:
        if not last_key:
            raise SourceError(f"{path}: {_why_no_tar(unpacked, error)}") from error
        damage = unpacked.damage or "has a broken header"
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    if damage:
        yield _Member(f"(after {last_key})", "", 0, 0, f"the tar {damage} here: what comes after is lost")


def member_rejection(member: tarfile.TarInfo, *, is_whole: bool) -> str | None:
    """Why a file in a tar cannot be read."""
    if not member.isfile():
        return f"is a link to {member.linkname}, links in a tar are not followed"
    if member.issparse():
        return "is stored with holes (a sparse file), which cannot be read in place"
    return None if is_whole else "the tar is cut off here, or damaged"


def damage_at_end(path: str, offset: int) -> str | None:
    """What is wrong at the end of a tar, which is two blocks of zeros and nothing but zeros after them."""
    with open(path, "rb") as file:
        file.seek(offset)
        if len(block := file.read(tarfile.BLOCKSIZE)) < tarfile.BLOCKSIZE:
            return "has no end mark: it may be cut off"
        if any(block):
            return "has a broken header"
        while data := file.read(_READ_BYTES):
            if any(data):
                return "goes on after an end mark (of tars that were joined, say)"
    return None


def _why_no_tar(unpacked: Unpacked, error: Exception) -> str:
    with open(unpacked.path, "rb") as file:
        command = decompress_command(file.read(8))
    if command:
        return f"is compressed, expected is a tar that can be read in place: decompress it first ({command} {unpacked.path})"
    if unpacked.damage:
        return unpacked.damage
    return f"is not a tar file that can be read in place: {describe_wrong_file(unpacked.path, '.tar') or error}"
