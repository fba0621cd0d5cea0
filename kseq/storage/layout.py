"""The names of the files of a dataset, the version of the format, and what the index says of a shard.

Every file name that kseq writes is decided here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kseq.errors import FormatError

__all__ = [
    "FORMAT_VERSION",
    "INDEX_NAME",
    "LAST_INDEX_NAME",
    "LOCK_NAME",
    "NEW_FOLDER_PREFIX",
    "OLD_FOLDER_PREFIX",
    "RESUME_RECORD_NAME",
    "SHARD_PREFIX",
    "TEMPORARY_PREFIX",
    "ShardEntry",
    "check_version",
    "is_dataset_file",
    "is_packed_file",
    "shard_name",
    "shard_number",
]

# Raised by one with every change that an older reader would misread.
FORMAT_VERSION = 1

INDEX_NAME = "index.h5"
# The one before the last change.
LAST_INDEX_NAME = "index.h5.1"

SHARD_PREFIX, _SHARD_SUFFIX = "shard-", ".h5"
_SHARD_NAME = re.compile(rf"{SHARD_PREFIX}(\d{{5,}}){re.escape(_SHARD_SUFFIX)}")

# What an unfinished packing was begun with.
RESUME_RECORD_NAME = ".kseq-plan"
LOCK_NAME = ".kseq-lock"
# Of a file or folder that is being written.
TEMPORARY_PREFIX = ".kseq-tmp-"
# Of a folder that is to replace a dataset, and of one that was replaced.
NEW_FOLDER_PREFIX, OLD_FOLDER_PREFIX = ".kseq-new-", ".kseq-old-"
_OTHER_NAMES = re.compile(
    rf"{re.escape(INDEX_NAME)}(\.\d+)?|{re.escape(TEMPORARY_PREFIX)}.*|{re.escape(RESUME_RECORD_NAME)}|{re.escape(LOCK_NAME)}",
    re.DOTALL,
)


@dataclass(frozen=True)
class ShardEntry:
    """What the index says of one shard: enough to tell whether a file is that shard.

    Attributes:
        number: That of its file, see `shard_name`; which place it has among the shards is another matter.
        num_rows: How many samples it holds.
        num_bytes: The size of its file.
        digest: Of its arrays.
    """

    number: int
    num_rows: int
    num_bytes: int
    digest: str


def shard_name(number: int) -> str:
    """The file name of a shard: `shard-00000.h5` and so on."""
    return f"{SHARD_PREFIX}{number:05d}{_SHARD_SUFFIX}"


def shard_number(name: str) -> int | None:
    """The number of the shard whose file is called so; None where the name is no shard's."""
    match = _SHARD_NAME.fullmatch(name)
    return int(match[1]) if match and shard_name(int(match[1])) == name else None


def is_packed_file(name: str) -> bool:
    """Whether a file of this name is one that lasts: an index or a shard."""
    return name.startswith((INDEX_NAME, SHARD_PREFIX))


def is_dataset_file(name: str) -> bool:
    """Whether kseq itself writes files of this name into a dataset's folder."""
    return shard_number(name) is not None or _OTHER_NAMES.fullmatch(name) is not None


def check_version(path: str, attributes: Mapping[str, int | str], kind: str) -> None:
    """Check that a file says it is a kseq `kind` ("shard", "index") of the version that this code reads.

    Raises:
        FormatError: Where it does not.
    """
    found, version = attributes.get("format"), attributes.get("version")
    if found != f"kseq {kind}":
        raise FormatError(f"{path}: attribute format is {found!r}, expected is 'kseq {kind}'")
    if version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        hint = " (a newer kseq wrote it: update this one)" if newer else ""
        raise FormatError(f"{path}: format version is {version}, this kseq reads version {FORMAT_VERSION}{hint}")
