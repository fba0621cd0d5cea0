"""The errors that kseq raises: every one is a KseqError and the builtin that fits."""

from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

__all__ = [
    "ArgumentError",
    "ClosedError",
    "DamagedError",
    "DatasetExistsError",
    "DatasetNotFoundError",
    "FormatError",
    "ImageError",
    "KseqError",
    "LockedError",
    "NotAnImageError",
    "OutOfRangeError",
    "ReadError",
    "SourceError",
    "WorkerDiedError",
    "WriteError",
]


class KseqError(Exception):
    """Anything that kseq refuses or finds broken; its text is one line."""


class ArgumentError(KseqError, ValueError):
    """An argument has a value that is not allowed."""


class OutOfRangeError(KseqError, IndexError):
    """A sample id or a batch number does not exist."""


class ClosedError(KseqError, ValueError):
    """Something was asked of an object after its `close()`."""


class DatasetNotFoundError(KseqError, FileNotFoundError):
    """There is no dataset at this path, or a file of it is missing."""


class DatasetExistsError(KseqError, FileExistsError):
    """A dataset would be written where something lies already."""


class LockedError(KseqError, BlockingIOError):
    """Another process is changing the dataset."""


class FormatError(KseqError, ValueError):
    """A file is HDF5, but not of the form that kseq writes, or of a newer one."""


class DamagedError(KseqError, OSError):
    """A file of a dataset is not what its index says: truncated, swapped, or with changed bytes."""


class SourceError(KseqError, ValueError):
    """The images to pack are not laid out in a way that kseq knows."""


class ImageError(KseqError, ValueError):
    """An image file is broken, or of a form for which there is no rule."""


class NotAnImageError(ImageError):
    """A file is no image at all, of no format that kseq knows."""


class ReadError(KseqError, OSError):
    """The operating system refused to read (no permission, too many open files, no memory left to map)."""


class WriteError(KseqError, OSError):
    """The operating system refused to write (disk full, no permission)."""


class WorkerDiedError(KseqError, BrokenProcessPool):
    """Worker processes ended before their work was done, or memory ran out."""


@contextmanager
def saying(words: str) -> Iterator[None]:
    """Puts words before the text of an ImageError that the block raises."""
    try:
        yield
    except ImageError as error:
        raise type(error)(f"{words} {error}") from error


def one_line(error: BaseException) -> str:
    """The message of an error on one line; its type if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__
