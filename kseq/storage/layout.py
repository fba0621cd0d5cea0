"""How a dataset lies in its folder: the name of every file that kseq writes there, and the version of their format.

No other module spells out a file name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from kseq.arguments import spelled_call
from kseq.errors import FormatError

__all__ = [
    "COPY_SUFFIX",
    "FORMAT_VERSION",
    "INDEX_KIND",
    "INDEX_NAME",
    "INNER_FOLDER_NAME",
    "LAST_INDEX_NAME",
    "LOCK_NAME",
    "MOST_ARRAYS",
    "NEW_FOLDER_PREFIX",
    "OLD_FOLDER_PREFIX",
    "RESUME_RECORD_NAME",
    "SHARD_KIND",
    "SHARD_PATTERN",
    "SHARD_PREFIX",
    "TEMPORARY_PREFIX",
    "WRITING_RECORD_NAME",
    "check_version",
    "format_attributes",
    "is_dataset_file",
    "is_packed_file",
    "shard_name",
    "shard_number",
]

# Raised by one with every change that an older reader would misread.
FORMAT_VERSION = 3
# How the copies of remote files in a cache end, so that nothing else there is taken for one.
COPY_SUFFIX = ".kseq-copy.h5"
# What the attribute `format` of a file says.
SHARD_KIND, INDEX_KIND = "kseq shard", "kseq index"
# A file holds at most so many arrays, so that the time to look through one is bounded. An index has about 15, and one for each
# split and column.
MOST_ARRAYS = 10_000

INDEX_NAME = "index.h5"
# The index before the last change.
LAST_INDEX_NAME = "index.h5.1"

SHARD_PREFIX, _SHARD_SUFFIX = "shard-", ".h5"
# What the names of all shards match, as a shell has it.
SHARD_PATTERN = f"{SHARD_PREFIX}*{_SHARD_SUFFIX}"
_SHARD_NAME = re.compile(rf"{re.escape(SHARD_PREFIX)}(\d{{5,}}){re.escape(_SHARD_SUFFIX)}")

# How an unfinished packing was begun.
RESUME_RECORD_NAME = ".kseq-plan"
# Which dataset is being copied there, or packed to a URL.
WRITING_RECORD_NAME = ".kseq-writing"
LOCK_NAME = ".kseq-lock"
# Of a file or folder that is being written.
TEMPORARY_PREFIX = ".kseq-tmp-"
# Of a folder that is to replace a dataset, and of a folder that was replaced.
NEW_FOLDER_PREFIX, OLD_FOLDER_PREFIX = ".kseq-new-", ".kseq-old-"
# Of a folder inside a folder that cannot be renamed, for the same.
INNER_FOLDER_NAME = ".kseq-new"
_OTHER_NAMES = re.compile(
    rf"{re.escape(INDEX_NAME)}(\.\d+)?|{re.escape(TEMPORARY_PREFIX)}.*|"
    + "|".join(map(re.escape, (RESUME_RECORD_NAME, WRITING_RECORD_NAME, LOCK_NAME))),
    re.DOTALL,
)


def shard_name(number: int) -> str:
    """The file name of a shard: its number in five digits or more between a prefix and a suffix."""
    return f"{SHARD_PREFIX}{number:05d}{_SHARD_SUFFIX}"


def shard_number(name: str) -> int | None:
    """The number of the shard with this file name; None if it is not the name of a shard."""
    match = _SHARD_NAME.fullmatch(name)
    return int(match[1]) if match and shard_name(int(match[1])) == name else None


def is_packed_file(name: str) -> bool:
    """Whether a file of this name holds a part of a dataset: an index or a shard."""
    return name.startswith((INDEX_NAME, SHARD_PREFIX))


def is_dataset_file(name: str) -> bool:
    """Whether kseq itself writes files of this name into a dataset's folder."""
    return shard_number(name) is not None or _OTHER_NAMES.fullmatch(name) is not None


def format_attributes(kind: str) -> dict[str, int | str]:
    """The attributes by which `check_version` recognizes a file; `kind` is `SHARD_KIND` or `INDEX_KIND`."""
    return {"format": kind, "version": FORMAT_VERSION}


def check_version(path: str, attributes: Mapping[str, int | str], kind: str) -> None:
    """Check that a file is of a kind, `SHARD_KIND` or `INDEX_KIND`, and of the version that this code reads.

    Raises:
        FormatError: If it is not.
    """
    actual_kind, version = attributes.get("format"), attributes.get("version")
    if actual_kind != kind:
        raise FormatError(f"{path}: attribute format is {actual_kind!r}, expected is {kind!r}")
    if version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        hint = "a newer kseq wrote it, update this one" if newer else f"an older kseq wrote it, {spelled_call('pack')} again"
        raise FormatError(f"{path}: format version is {version}, this kseq reads version {FORMAT_VERSION}: {hint}")
