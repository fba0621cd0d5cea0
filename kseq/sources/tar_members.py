"""The members of a tar that can be read in place, by their names, and the bytes of each.

The rules are those of `kseq/sources/tar_samples.py`, but that a tar which is broken or cut off is none of these. A `./` at the
start of names means the top; of members of one name the last counts, and the others are rejected.
"""

from __future__ import annotations

import os
import tarfile
from typing import NamedTuple

from kseq.errors import ImageError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.file_reading import read_range
from kseq.sources.image_table import SourceImage
from kseq.sources.kept_open import kept_open
from kseq.sources.named_tree import NamedTree
from kseq.sources.tar_samples import damage_at_end, member_rejection

__all__ = ["TAR_ERRORS", "open_tar", "read_tar_member", "read_tar_tree", "tells_annotations"]

TAR_ERRORS = (OSError, ValueError, OverflowError, tarfile.TarError)

# What annotations and tables end in; samples of WebDataset have files of the first ones beside their images, too.
_OF_SAMPLES = (".json", ".txt")
_ANNOTATIONS = (*_OF_SAMPLES, ".xml", ".csv", ".tsv", ".yaml", ".yml", ".jsonl", ".parquet")


class TarMember(NamedTuple):
    """A file in a tar: offset and size in bytes, and why it cannot be read."""

    offset: int
    size: int
    rejection: str | None = None


@kept_open(2)
def open_tar(path: str) -> list[tuple[str, TarMember]]:
    """The files of a tar with their names, in its order; raises one of `TAR_ERRORS`."""
    members, num_bytes = [], os.path.getsize(path)
    with tarfile.open(path, "r:") as tar:
        while (member := tar.next()) is not None:
            # The tar would keep all members, two kilobytes each.
            getattr(tar, "members", []).clear()
            name = "/".join(part for part in member.name.split("/") if part not in ("", "."))
            if name and (member.isfile() or member.islnk() or member.issym()):
                end = tar.offset if member.issparse() else member.offset_data + member.size
                rejection = member_rejection(member, is_whole=end <= num_bytes)
                members.append((name, TarMember(member.offset_data, member.size, rejection)))
        damage = damage_at_end(path, tar.offset)
    if damage is not None:
        raise tarfile.ReadError(damage)
    return members


@kept_open(2)
def _by_name(path: str) -> dict[str, TarMember]:
    return dict(open_tar(path))


def read_tar_member(path: str, name: str) -> bytes:
    """The bytes of a file in a tar.

    Raises:
        ImageError: If it cannot be read.
    """
    try:
        member = _by_name(path).get(name)
    except TAR_ERRORS as error:
        raise ImageError(f"cannot be read: {error}") from error
    if member is None or member.rejection is not None:
        raise ImageError("is not in the tar" if member is None else member.rejection or "")
    return read_range(path, member.offset, member.size)


def read_tar_tree(path: str) -> tuple[NamedTree, list[SourceImage]]:
    """The folders of a tar, and the members that lie in none of them, rejected; raises one of `TAR_ERRORS`."""
    members = open_tar(path)
    last = {name: number for number, (name, _) in enumerate(members)}
    tree = NamedTree(path, {name: member.rejection for name, member in members if member.rejection is not None})
    misplaced = []
    for number, (name, member) in enumerate(members):
        is_last = last[name] == number
        reason = tree.add(name, member.size) if is_last else "is in the tar again, and the later one counts"
        if reason is not None:
            shown = name if is_last else f"{name} (member {number + 1})"
            misplaced.append(SourceImage(os.fsencode(shown), -1, None, 0, reason))
    return tree, misplaced


def tells_annotations(path: str, most: int) -> bool:
    """Whether a tar of no more than some members has images and files of annotations that are none of WebDataset's samples."""
    try:
        names = [name for name, _ in open_tar(path) if not any(part[0] == "." for part in name.split("/"))]
    except TAR_ERRORS:
        return False
    keys = {_key(name) for name in names if name.lower().endswith(IMAGE_SUFFIXES)}
    texts = [name for name in names if name.lower().endswith(_ANNOTATIONS)]
    loose = [name for name in texts if not (name.lower().endswith(_OF_SAMPLES) and _key(name) in keys)]
    return len(names) <= most and bool(keys) and 2 * len(loose) > len(texts) and not any(map(_is_class, names))


def _key(name: str) -> str:
    """What the files of a sample of WebDataset have in common."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"


def _is_class(name: str) -> bool:
    return name.lower().endswith(".cls")
