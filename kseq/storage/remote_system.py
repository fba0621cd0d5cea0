"""fsspec's file system object for a URL, one in each process.

fsspec runs all requests of a process in one thread of its own. It does not live on in a forked child, and so a child makes a
file system object of its own, as a process does that got one through pickle.
"""

from __future__ import annotations

import functools
import inspect
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from typing import Any, NamedTuple

from kseq.arguments import spelled
from kseq.errors import ArgumentError
from kseq.storage.remote_errors import Redactor
from kseq.threads import ThreadPool

__all__ = ["DEADLINE", "RemoteSystem", "Wanted", "check_storage_options"]

# So many seconds a request may take, with all its repetitions, unless storage_options["deadline"] says otherwise.
DEADLINE = 120.0

# So many requests are under way at once for one call.
_MOST_AT_ONCE = 64

# Seconds between two looks at a file that grows.
_LOOK_SECONDS = 0.25

# Their own repetitions would multiply ours, and ten connections are too few for many ranges at once.
_S3_CONFIG = {"retries": {"max_attempts": 0}, "max_pool_connections": _MOST_AT_ONCE, "connect_timeout": 10, "read_timeout": 30}
_S3 = {"s3", "s3a"}

# In a child after a fork, the file system objects of its parent: to be freed, they would wait for a thread that is not there.
_INHERITED: list[object] = []


class Wanted(NamedTuple):
    """A range of a file: its name, and the bytes from `start` up to `end`."""

    name: str
    start: int
    end: int


class RemoteSystem:
    """fsspec's file system object for a URL. Safe to use from many threads, and after a fork.

    What its methods raise is fsspec's, and may hold credentials; see `kseq.storage.remote_errors`.

    Args:
        url: Of a folder, or of a file.
        storage_options: What fsspec passes to the file system, and `deadline`, which is not passed.
        redactor: Takes the credentials out of messages.

    Raises:
        ArgumentError: If fsspec or the package for this kind of URL is not installed, or an option is not allowed.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any], redactor: Redactor) -> None:
        self._url = url
        self._storage_options = storage_options
        self._redactor = redactor
        # Guards the next one: a process makes one file system object.
        self._lock = threading.Lock()
        self._opened: tuple[int, Any, str] | None = None
        self._prepared: Any = None
        # At once, so that a missing package or an unknown kind of URL is noticed here.
        self._file_system()

    def path(self, name: str) -> str:
        """The path of a file as the file system object calls it. Of the web it is a URL, whose query stays at its end."""
        _, folder = self._file_system()
        if not name:
            return folder
        if folder.startswith(("http://", "https://")):
            base, mark, query = folder.partition("?")
            return f"{base.rstrip('/')}/{name}{mark}{query}"
        return f"{folder.rstrip('/')}/{name}"

    def run(self, method: str, seconds: float, *values: Any, **named: Any) -> Any:
        """A method of the file system object; where requests run in fsspec's thread, for at most so many seconds."""
        file_system, _ = self._file_system()
        if not getattr(file_system, "async_impl", False):
            return getattr(file_system, method)(*values, **named)
        from fsspec.asyn import sync

        return sync(file_system.loop, getattr(file_system, f"_{method}"), *values, timeout=seconds, **named)

    def prepare(self) -> None:
        """Let the file system object load what it needs for its first request, which is no answer that a store owes.

        Of S3 that takes half a second of a processor, and some seconds where the machine is busy.
        """
        file_system, _ = self._file_system()
        if self._prepared is file_system:
            return
        if getattr(file_system, "async_impl", False) and hasattr(file_system, "set_session"):
            from fsspec.asyn import sync

            sync(file_system.loop, file_system.set_session, timeout=DEADLINE)
        self._prepared = file_system

    @property
    def can_stream(self) -> bool:
        """Whether `get_file` works: where requests run in fsspec's thread, and can be given up."""
        return bool(getattr(self._file_system()[0], "async_impl", False))

    def get_file(self, name: str, local: str, seconds: float, grown: Callable[[int, int], object]) -> None:
        """Write a file to a local one, in one request; it is given up when the local one stands still for so many seconds.

        Args:
            name: Of the file.
            local: The path of a local file, which is written over.
            seconds: So long it may stand still.
            grown: Called now and then with the sizes between which the local file has grown.
        """
        # Loaded by fsspec in any case, and by nobody who reads local files.
        from asyncio import run_coroutine_threadsafe

        file_system, _ = self._file_system()
        # s3fs would keep ten parts of a large file in memory.
        takes = inspect.signature(file_system._get_file).parameters
        options = {"max_concurrency": 1} if "max_concurrency" in takes else {}
        future = run_coroutine_threadsafe(file_system._get_file(self.path(name), local, **options), file_system.loop)
        size, moved = 0, time.monotonic()
        try:
            while not wait([future], min(seconds, _LOOK_SECONDS)).done:
                before, size = size, os.stat(local).st_size
                if size != before:
                    grown(before, size)
                    moved = time.monotonic()
                elif time.monotonic() - moved > seconds:
                    raise TimeoutError
            future.result()
        finally:
            # Who gives up, or is interrupted, must leave nobody behind who writes.
            future.cancel()

    def read_file(self, name: str, seconds: float) -> bytes:
        """All bytes of a file, in one request, which may take so many seconds."""
        file_system, _ = self._file_system()
        options = _in_one_request(getattr(file_system, "_cat_file", file_system.cat_file))
        return bytes(self.run("cat_file", seconds, self.path(name), **options))

    def read_ranges(self, wanted: Sequence[Wanted], seconds: float) -> Sequence[Any]:
        """The bytes of each range, or the error in their place."""
        file_system, _ = self._file_system()
        paths = [self.path(name) for name, _, _ in wanted]
        starts, ends = [start for _, start, _ in wanted], [end for _, _, end in wanted]
        if getattr(file_system, "async_impl", False):
            options = {"batch_size": _MOST_AT_ONCE, "on_error": "return"}
            answers: Sequence[Any] = self.run("cat_ranges", seconds, paths, starts, ends, **options)
            return answers
        ask = functools.partial(_cat_file, file_system)
        if len(wanted) == 1:
            return [ask(paths[0], starts[0], ends[0])]
        with ThreadPool(min(len(wanted), _MOST_AT_ONCE)) as threads:
            return list(threads.map(ask, paths, starts, ends))

    def _file_system(self) -> tuple[Any, str]:
        """fsspec's file system object of this process, and the path of the folder in it."""
        opened = self._opened
        if opened is None or opened[0] != os.getpid():
            if opened is not None:
                # A child after a fork: another thread of the parent may have held the lock.
                self._lock = threading.Lock()
                _INHERITED.append(opened)
            with self._lock:
                if self._opened is None or self._opened[0] != os.getpid():
                    self._opened = (os.getpid(), *self._open())
                opened = self._opened
        return opened[1], opened[2]

    def _open(self) -> tuple[Any, str]:
        try:
            import fsspec
        except ImportError as error:
            raise ArgumentError(f"{self._redactor.url}: a URL needs fsspec: pip install 'kseq[remote]'") from error
        failure: BaseException
        try:
            file_system, path = fsspec.url_to_fs(self._url, **self._options())
        except (ImportError, ValueError, TypeError, OSError) as error:
            failure = error
        else:
            # s3fs's own repetitions.
            if hasattr(file_system, "retries"):
                file_system.retries = 1
            return file_system, path
        reason = self._redactor.reason(failure)
        if isinstance(failure, ImportError):
            advice = "pip install 'kseq[remote]' has what s3:// and https:// need, hf:// needs huggingface_hub, gs:// gcsfs"
            raise ArgumentError(f"{self._redactor.url}: a package for such URLs is missing: {reason} ({advice})")
        raise ArgumentError(f"{self._redactor.url}: fsspec cannot open it: {reason}")

    def _options(self) -> dict[str, Any]:
        """What fsspec gets: an object of our own, which lists anew what others may have changed."""
        options = {name: value for name, value in self._storage_options.items() if name != "deadline"}
        options = {"skip_instance_cache": True, "use_listings_cache": False, **options}
        if self._url.partition("://")[0] in ("file", "local"):
            options["auto_mkdir"] = True
        if self._url.partition("://")[0] in _S3:
            options["config_kwargs"] = {**_S3_CONFIG, **options.get("config_kwargs", {})}
        return options


def _in_one_request(method: Callable[..., Any]) -> dict[str, Any]:
    """How a method that fetches a file is told to do so at once: s3fs would look its size up, or keep ten parts in memory."""
    return {"max_concurrency": 1} if "max_concurrency" in inspect.signature(method).parameters else {}


def _cat_file(file_system: Any, path: str, start: int, end: int) -> bytes | Exception:
    try:
        data: bytes = file_system.cat_file(path, start, end)
    except Exception as error:
        return error
    return data


def check_storage_options(options: Any) -> dict[str, Any]:
    """The argument `storage_options`.

    Raises:
        ArgumentError: Where it is no dict of texts to values, or the deadline is not above 0.
    """
    if options is None:
        return {}
    # Not the value: it may hold credentials.
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        raise ArgumentError(f"storage_options is a {type(options).__name__}: allowed is a dict of fsspec's options by name")
    deadline = options.get("deadline", DEADLINE)
    if isinstance(deadline, bool) or not isinstance(deadline, (int, float)) or not deadline > 0:
        raise ArgumentError(f"{spelled('storage_options', {'deadline': deadline})}: allowed are seconds above 0")
    return dict(options)
