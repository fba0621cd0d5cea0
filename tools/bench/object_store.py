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
from dataclasses import dataclass
from typing import Any

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
        options: The `storage_options` with which s3fs reaches it.
    """

    process: int
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
def object_store() -> Iterator[ObjectStore]:
    """A server, until the end of the block.

    Raises:
        ContestantError: If a package is missing, or the server does not start.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ContestantError(f"the server that speaks S3 needs {', '.join(missing)}: pip install 'kseq[test]'")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, **quiet, **OWN_GROUP)
    server = {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1"}
    try:
        _wait_for(port, process)
        store = ObjectStore(process.pid, {"key": "x", "secret": "x", "client_kwargs": server})
        _make_bucket(store)
        yield store
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
