"""Stores on this machine: a web server of a folder, a server that speaks S3, and a proxy that counts requests and does harm."""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import json
import os
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest

from kseq_tools.bench.object_store import object_store

BUCKET = "flowers-bucket"
# Found in no message, repr or log.
KEY, SECRET = "AKIATESTKEYTESTKEY77", "sEcReTsEcReT/77/sEcReT"

MISSING_PACKAGES = [name for name in ("moto", "s3fs", "flask") if importlib.util.find_spec(name) is None]
needs_s3 = pytest.mark.skipif(bool(MISSING_PACKAGES), reason=f"the server that speaks S3 needs {', '.join(MISSING_PACKAGES)}")


class Request(NamedTuple):
    """A request that came: the range is `(first, last)`, or None for the whole file."""

    method: str
    path: str
    range: tuple[int, int] | None
    time: float

    @property
    def name(self) -> str:
        """The file's name."""
        return unquote(self.path.partition("?")[0]).rpartition("/")[2]


class Answer(NamedTuple):
    """What is sent: `headers` are all but the length."""

    status: int
    headers: dict[str, str]
    body: bytes


# What a proxy does to an answer, by name; see `Store.harm`.
HARMS = ("cut", "hang", "slow", "shorter", "longer", "other", "reset", "stall", "403", "404", "500", "503")
# The part of a slow answer that is sent at a time, of all of it, and the seconds that follow.
_SLOW_PARTS, _SLOW_SECONDS = 10, 0.1


@dataclass
class Store:
    """A server on loopback that knows ranges.

    Attributes:
        url: Of the server, `http://127.0.0.1:PORT`.
        requests: All that came, in order.
        harm: Called with each request; returns one of `HARMS`, or None to answer it well.
        pause: Seconds that each answer takes.
        lock: Guards `requests`.
    """

    backend: Callable[[str, str, dict[str, str], bytes], Answer]
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    harm: Callable[[Request], str | None] = lambda request: None
    pause: float = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopped: threading.Event = field(default_factory=threading.Event)

    def named(self, name: str, method: str = "GET") -> list[Request]:
        """The requests for a file."""
        return [request for request in list(self.requests) if request.name == name and request.method == method]

    def num_bytes(self, name: str) -> int:
        """How many bytes of a file were asked for."""
        return sum(last + 1 - first for first, last in (request.range or (0, -1) for request in self.named(name)))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _serve(self) -> None:
        store: Store = self.server.store  # type: ignore[attr-defined]  # set below
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        wanted = (int(found[1]), int(found[2])) if found else None
        request = Request(self.command, self.path, wanted, time.monotonic())
        with store.lock:
            store.requests.append(request)
            harm = store.harm(request)
        if store.pause:
            time.sleep(store.pause)
        self._answer(store, harm, body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815  # http.server's names

    def _answer(self, store: Store, harm: str | None, body: bytes) -> None:
        if harm == "stall":
            store.stopped.wait(60)
            self.close_connection = True
            return
        if harm == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.close_connection = True
            return
        if harm is not None and harm.isdigit():
            self._send(int(harm), {}, b"<Error><Code>Trouble</Code></Error>")
            return
        status, headers, data = store.backend(self.command, self.path, dict(self.headers), body)
        if harm in ("shorter", "longer"):
            data = data[:-1] if harm == "shorter" else data + b"x"
            headers = {name: value for name, value in headers.items() if name.lower() != "content-range"}
        if harm == "other":
            data = bytes(len(data))
        if harm == "hang":
            self._send(status, headers, data, len(data) // 2)
            store.stopped.wait(60)
        elif harm == "slow":
            self._send(status, headers, data, 0)
            for start in range(0, len(data), -(-len(data) // _SLOW_PARTS)):
                self.wfile.write(data[start : start - (-len(data) // _SLOW_PARTS)])
                time.sleep(_SLOW_SECONDS)
        else:
            self._send(status, headers, data, len(data) // 2 if harm == "cut" else None)

    def _send(self, status: int, headers: dict[str, str], data: bytes, most: int | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        lengths = [value for name, value in headers.items() if name.lower() == "content-length" and self.command == "HEAD"]
        length = lengths[0] if lengths else str(len(data))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data if most is None else data[:most])
        if most is not None:
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """A client that went away."""


@contextmanager
def serving(backend: Callable[[str, str, dict[str, str], bytes], Answer]) -> Iterator[Store]:
    """A server on loopback, until the end of the block."""
    server = _Server(("127.0.0.1", 0), _Handler)
    store = server.store = Store(backend, f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]  # read above
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield store
    finally:
        store.stopped.set()
        server.shutdown()
        server.server_close()


def folder_backend(folder: Path, *, ranges: bool = True) -> Callable[[str, str, dict[str, str], bytes], Answer]:
    """Serves the files of a folder, read-only, as web servers do; `ranges=False` as those that know no ranges."""

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        file = folder / unquote(path.partition("?")[0]).lstrip("/")
        if method not in ("GET", "HEAD"):
            return Answer(405, {}, b"")
        if file.is_dir():
            links = "".join(f'<a href="{name}">{name}</a>\n' for name in sorted(os.listdir(file)))
            return Answer(200, {"Content-Type": "text/html"}, links.encode())
        if not file.is_file():
            return Answer(404, {}, b"")
        data = file.read_bytes()
        mark = {"ETag": f'"{hashlib.md5(data).hexdigest()}"', "Accept-Ranges": "bytes" if ranges else "none"}
        if method == "HEAD":
            return Answer(200, {**mark, "Content-Length": str(len(data))}, b"")
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("Range", ""))
        if not found or not ranges:
            return Answer(200, mark, data)
        first, last = int(found[1]), min(int(found[2]), len(data) - 1)
        if first >= len(data):
            return Answer(416, {"Content-Range": f"bytes */{len(data)}"}, b"")
        return Answer(206, {**mark, "Content-Range": f"bytes {first}-{last}/{len(data)}"}, data[first : last + 1])

    return answer


def hub_backend(folder: Path, dataset: str) -> Callable[[str, str, dict[str, str], bytes], Answer]:
    """Answers for the files of a folder as the Hugging Face Hub does for a dataset, called `owner/name`."""
    serve, api = folder_backend(folder), f"/api/datasets/{dataset}"

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        place = unquote(path.partition("?")[0])
        if place.startswith(f"/datasets/{dataset}/resolve/main/"):
            return serve(method, "/" + place.rpartition("/")[2], {name.title(): text for name, text in headers.items()}, body)
        if place.startswith(f"{api}/tree/main"):
            facts: Any = [
                {
                    "type": "file",
                    "path": file.name,
                    "size": file.stat().st_size,
                    "oid": hashlib.sha1(file.read_bytes()).hexdigest(),
                }
                for file in sorted(folder.iterdir())
            ]
        elif place == api:
            facts = {"id": dataset, "_id": "1", "sha": "a" * 40, "private": False, "tags": [], "siblings": []}
        else:
            return Answer(404, {}, b"")
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(facts).encode())

    return answer


def forwarding_backend(url: str) -> Callable[[str, str, dict[str, str], bytes], Answer]:
    """Asks another server."""
    host = url.partition("://")[2]

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        connection = http.client.HTTPConnection(host, timeout=30)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    return answer


@contextmanager
def s3_server() -> Iterator[str]:
    """The URL of a server that speaks S3, in a process of its own, with an empty bucket."""
    with object_store() as store:
        url: str = store.options["client_kwargs"]["endpoint_url"]
        request = urllib.request.Request(f"{url}/{BUCKET}", method="PUT", headers={"Authorization": _AUTHORIZATION})
        urllib.request.urlopen(request, timeout=60).close()
        yield url


# Moto looks at the region and the service alone.
_AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=x/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x"


def upload(url: str, folder: Path, prefix: str) -> None:
    """Put all files of a folder into the bucket."""
    # Moto takes a body without a type for a form.
    headers = {"Authorization": _AUTHORIZATION, "Content-Type": "application/octet-stream"}
    for file in sorted(folder.iterdir()):
        target = f"{url}/{BUCKET}/{prefix}/{file.name}"
        request = urllib.request.Request(target, data=file.read_bytes(), method="PUT", headers=headers)
        urllib.request.urlopen(request, timeout=60).close()


def s3_options(url: str, **others: Any) -> dict[str, Any]:
    """The `storage_options` with which s3fs reaches such a server."""
    return {"key": KEY, "secret": SECRET, "client_kwargs": {"endpoint_url": url, "region_name": "us-east-1"}, **others}


def first(count: int, harm: str, name: str | None = None, method: str = "GET") -> Callable[[Request], str | None]:
    """Harm to the first so many requests: of a file, or of all."""
    left = [count]

    def choose(request: Request) -> str | None:
        if request.method != method or (name is not None and request.name != name) or not left[0]:
            return None
        left[0] -= 1
        return harm

    return choose


def always(harm: str, name: str | None = None, method: str = "GET") -> Callable[[Request], str | None]:
    """Harm to every request: of a file, or of all."""
    return first(1 << 60, harm, name, method)
