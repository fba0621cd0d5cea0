"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kseq.errors import KseqError, WriteError

__all__ = ["TEMPORARY_PREFIX", "copy_into", "publishing", "remove_temporary"]

TEMPORARY_PREFIX = ".kseq-tmp-"
_COPY_BYTES = 1 << 20


@contextmanager
def publishing(path: str) -> Iterator[str]:
    """Gives a temporary path in the folder of `path`; the file that the block makes there becomes `path`.

    The file is flushed to the disk, renamed, and the folder flushed. If the block raises or makes no file,
    `path` stays as it was. What lies beside the temporary file, under names that begin with its own, goes.

    Raises:
        WriteError: Where the operating system refuses.
    """
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, f"{TEMPORARY_PREFIX}{os.getpid()}-{name}")
    try:
        yield temporary
        if os.path.exists(temporary):
            _flush(temporary)
            os.replace(temporary, path)
            _flush(folder)
    except KseqError:
        raise
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        remove_temporary(folder, os.path.basename(temporary))


def remove_temporary(folder: str, prefix: str = TEMPORARY_PREFIX) -> None:
    """Remove what was left half written in `folder`, by anyone or under names with this prefix."""
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if name.startswith(prefix):
                os.unlink(os.path.join(folder, name))


def copy_into(source_path: str, target_path: str, offset: int) -> None:
    """Copy all bytes of one file into another, from `offset` on."""
    with open(source_path, "rb") as source, open(target_path, "r+b") as target:
        target.seek(offset)
        shutil.copyfileobj(source, target, _COPY_BYTES)


def _flush(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
