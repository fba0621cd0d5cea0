"""A server on this machine that speaks S3: moto's, which keeps everything in memory."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from . import slow_line
from .contest import OWN_GROUP, ContestantError
from .cpu_time import group_seconds

__all__ = ["ObjectStore", "object_store"]

_PACKAGES = ("moto", "flask", "s3fs")
_BUCKET = "kseq-bench"


@dataclass(frozen=True)
class ObjectStore:
    """A server with an empty bucket.

    Attributes:
        process: Its process's id.
        port: Where it listens.
        options: The `storage_options` with which s3fs reaches it.
    """

    process: int
    port: int
    options: dict[str, Any]

    def seconds(self) -> float:
        """The processor time that it has taken; 0 where no one tells."""
        return group_seconds(self.process) or 0.0

    def upload(self, folder: str, name: str) -> str:
        """Put the files of a folder there; returns their URL."""
        import fsspec

        system = fsspec.filesystem("s3", **self.options)
        for file in sorted(os.listdir(folder)):
            system.put_file(os.path.join(folder, file), f"{_BUCKET}/{name}/{file}")
        return f"s3://{_BUCKET}/{name}"

    @contextmanager
    def through_line(self, bytes_per_second: float) -> Iterator[ObjectStore]:
        """The same server at the end of a line that carries so many bytes a second, until the end of the block.

        Raises:
            ContestantError: If the line does not start.
        """
        port = _free_port()
        with _server("-m", slow_line.__name__, str(port), str(self.port), str(bytes_per_second)) as process:
            _wait_for(port, process)
            yield replace(self, port=port, options=_options(port))


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """A server, until the end of the block.

    Raises:
        ContestantError: If a package is missing, or the server does not start.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ContestantError(f"the server that speaks S3 needs {', '.join(missing)}: pip install 'kseq[test]'")
    port = _free_port()
    with _server("-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)) as process:
        _wait_for(port, process)
        store = ObjectStore(process.pid, port, _options(port))
        _make_bucket(store)
        yield store


def _options(port: int) -> dict[str, Any]:
    server = {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1"}
    return {"key": "x", "secret": "x", "client_kwargs": server}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _server(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **OWN_GROUP)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise ContestantError("the server that speaks S3 does not start: python -m moto.server says why") from error
            time.sleep(0.1)


def _make_bucket(store: ObjectStore) -> None:
    import fsspec

    fsspec.filesystem("s3", **store.options).call_s3("create_bucket", Bucket=_BUCKET)
