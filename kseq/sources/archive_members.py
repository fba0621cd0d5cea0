"""The bytes of a file in an archive, be it a zip or a tar."""

from __future__ import annotations

import re

from kseq.sources.tar_members import read_tar_member
from kseq.sources.zip_members import read_zip_member

__all__ = ["is_tar", "read_member"]

_TAR = re.compile(r"\.(tar(\.(gz|bz2|xz|zst))?|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)
_ZIP = ".zip"


def is_tar(path: str) -> bool:
    """Whether a file is called like a tar, compressed or not."""
    return _TAR.search(path) is not None


def read_member(path: str, name: str) -> bytes:
    """The bytes of a file in an archive that can be read in place: a zip by its name, else a tar.

    Raises:
        ImageError: If it cannot be read.
    """
    return read_zip_member(path, name) if path.lower().endswith(_ZIP) else read_tar_member(path, name)
