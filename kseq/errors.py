"""The errors that kseq raises: each is a `KseqError` and the builtin error that fits."""

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar

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
    "RankFailedError",
    "ReadError",
    "ReadTimeoutError",
    "SourceError",
    "WorkerDiedError",
    "WriteError",
]


class KseqError(Exception):
    """The base class of all errors that kseq raises on purpose.

    Its text is one line: what it concerns, what was found, what is allowed, and the way out. Catch it to handle every refusal
    of kseq; catch a subclass, or a builtin such as `ValueError` or `OSError`, to handle one kind.
    """


class ArgumentError(KseqError, ValueError):
    """An argument has a value that is not allowed, or arguments do not go together.

    Nothing was read or written. Pass one of the values that the message names.
    """


class OutOfRangeError(KseqError, IndexError):
    """A sample id, a position or a batch number does not exist.

    Stay in the range that the message names.
    """


class ClosedError(KseqError, ValueError):
    """A dataset or a sequence was used after its `close()`.

    Open it again.
    """


class DatasetNotFoundError(KseqError, FileNotFoundError):
    """There is no dataset in this folder, or one of its files is missing.

    Check the path. If the folder holds shards but no index, the packing was not finished: `kseq.pack(..., resume=True)` goes on
    with it. A shard that is missing must be copied again, or the dataset packed again.
    """


class DatasetExistsError(KseqError, FileExistsError):
    """Something lies already where a dataset or an export is to be written.

    Nothing was changed. Take another folder, or say `overwrite=True` or `resume=True` where the message offers it.
    """


class LockedError(KseqError, BlockingIOError):
    """Another process is packing into this folder or changing the dataset in it.

    Nothing was changed. Wait until the process that the message names has ended. If it ran on another machine and has ended
    without removing its lock, remove the lock file that the message names.
    """


class FormatError(KseqError, ValueError):
    """A file is HDF5, but holds something that kseq's format does not allow, or is of a newer version of the format.

    For a newer version, update kseq. Otherwise another program has written or changed the file: pack the dataset again.
    """


class DamagedError(KseqError, OSError):
    """A file of a dataset is not what its index says: truncated, exchanged, or with changed bytes.

    `kseq.verify` lists everything that is damaged. Copy the file again, or pack the dataset again.
    """


class SourceError(KseqError, ValueError):
    """A source of images cannot be packed: its layout is unknown, a table or archive is broken, or no image in it can be read.

    Nothing was written. Change the source as the message says, or name its format and columns in the call.
    """


class ImageError(KseqError, ValueError):
    """An image file is broken, is larger than allowed, or has pixels for which there is no rule.

    While packing, such files are left out and listed in the report, unless `on_error="fail"`. While reading, the message names
    the shard, the row and the source of the image.
    """


class NotAnImageError(ImageError):
    """A file is no image of a known format.

    While packing, such files are left out and listed in the report.
    """


class ReadError(KseqError, OSError):
    """The operating system refused to read a file of a dataset: no permission, too many open files, no memory left to map.

    The message says why. Change that and try again; the dataset itself is not damaged.
    """


class ReadTimeoutError(KseqError, TimeoutError):
    """A batch was not read within `timeout`.

    The message says which samples of which shards were waited for. A disk or a server may not answer, a worker process may be
    stopped, or a function in `augment` may hang. The batch can be asked for again, which other workers then read.
    """


class WriteError(KseqError, OSError):
    """The operating system refused to write: the disk is full, there is no permission, the folder is gone.

    What lay there before is unchanged. Make room or change the permission; `resume=True` goes on with a packing.
    """


class WorkerDiedError(KseqError, BrokenProcessPool):
    """Worker processes ended before their work was done, or memory ran out.

    Something killed them, often the system for lack of memory. Take fewer workers, or smaller batches; `resume=True` goes on
    with a packing.
    """


class RankFailedError(KseqError, ConnectionError):
    """Another of the processes that train together has ended with an error, and this one cannot go on without it.

    The message names the rank and its error, whose traceback that process has printed. Mend that, and start all of them again.
    """


@contextmanager
def image_error_prefix(prefix: str) -> Iterator[None]:
    """Put `prefix` before the text of an ImageError that the block raises, such as the name of one of several images."""
    try:
        yield
    except ImageError as error:
        raise type(error)(f"{prefix} {error}") from error


def one_line(error: BaseException) -> str:
    """The message of an error on one line; its type if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__


# Whether what this thread does is a look that repeats what was told before. (The list of filters of `warnings` belongs to all
# threads: who changes it for a while takes warnings away from others.)
_is_silent: ContextVar[bool] = ContextVar("kseq_is_silent", default=False)


@contextmanager
def silence() -> Iterator[None]:
    """Let `tell` and `warn` say nothing in this thread: what they would say was said when the same was done before."""
    token = _is_silent.set(True)
    try:
        yield
    finally:
        _is_silent.reset(token)


# What becomes of told lines, such as those that name a temporary folder that stands for a URL.
_reword: ContextVar[Callable[[str], str]] = ContextVar("kseq_reword", default=str)


@contextmanager
def rewording(reword: Callable[[str], str]) -> Iterator[None]:
    """Let `tell` tell other words: those that a function makes of a line."""
    token = _reword.set(reword)
    try:
        yield
    finally:
        _reword.reset(token)


def tell(message: str) -> None:
    """Tell in one line what nobody has asked for and everybody should know: as a warning, without a place in some code."""
    if not _is_silent.get():
        warnings.warn_explicit(_reword.get()(message), UserWarning, "<kseq>", 0)


def warn(message: str, stacklevel: int) -> None:
    """Warn of a call, which is so many levels above this one's caller, as in `warnings.warn`."""
    if not _is_silent.get():
        warnings.warn(message, stacklevel=stacklevel + 1)
