"""Viewer: serves a dataset as a web page, on this machine alone, until it is closed."""

from __future__ import annotations

import os
import secrets
import socket
import webbrowser
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kseq.arguments import flag, spelled, whole
from kseq.errors import ArgumentError
from kseq.reading.dataset import sample_reader
from kseq.threads import start_thread
from kseq.training.batches import Batches
from kseq.training.batches_inside import dataset_of, find_batches, storage_options_of
from kseq.viewing.guard import Guard, is_loopback
from kseq.viewing.watched import WatchedDataset

if TYPE_CHECKING:
    from typing import Self

    from kseq.training.sequence import ShardSequence

__all__ = ["Viewer"]

# After so many seconds, the end of the server is not waited for any more.
_CLOSING_SECONDS = 5.0


class Viewer:
    """Shows a dataset in a browser: samples, charts, what a model gets, images that are the same; labels can be mended there.

    It serves from a thread until `close`. Nothing is asked of any other machine. Who has the address may see the dataset and,
    unless `read_only`, change it; without its token, nobody.

    Args:
        dataset: The dataset's folder; or its URL, where nothing can be changed. Or a `ShardSequence` or `Batches`: the page
            then shows their batches, too, with all augmentations and functions; it opens the dataset once more and does not
            disturb a training that goes on.
        host: The name or address to listen at: of this machine alone, unless it says otherwise; `"0.0.0.0"` is reached from
            everywhere, without encryption.
        port: The port to listen at; 0 for one that is free.
        read_only: Change nothing: samples can be marked, and the list of them saved.
        storage_options: Of a URL, see `kseq.ShardDataset`.

    Raises:
        DatasetNotFoundError: If there is no dataset.
        ArgumentError: If an argument is not allowed, nobody can listen at the host and port, or the extra `view` is missing.
        KseqError: If the dataset is damaged, or otherwise as `kseq.ShardDataset` raises it.

    Examples:
        >>> with kseq.Viewer("flowers") as viewer:
        ...     print(viewer.url)
        ...     viewer.wait()
    """

    def __init__(
        self,
        dataset: str | os.PathLike[str] | Batches | ShardSequence,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        read_only: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        flag("read_only", read_only)
        whole("port", port, 0, 65_535)
        if not isinstance(host, str) or not host:
            raise ArgumentError(f"{spelled('host', host)}: allowed is the name or the address of this machine")
        answers, make_app, uvicorn = _import_server()
        self._watched = _watch(dataset, storage_options)
        self._host = host
        self._socket = _listen(host, port)
        self._port: int = self._socket.getsockname()[1]
        self._token = secrets.token_urlsafe(24)
        self._answers = answers(self._watched, read_only=read_only)
        self._guard = Guard(make_app(self._answers), self._token, host)
        config = uvicorn.Config(
            self._guard,
            # Always the same one: it refuses what is ambiguous, such as two names of a host.
            http="h11",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = start_thread(self._server.run, [self._socket], name="kseq-view")

    @property
    def url(self) -> str:
        """The address of the page, with its token."""
        return self._address(self._token)

    @property
    def token(self) -> str:
        """The part of the address that lets in who knows it."""
        return self._token

    def _address(self, first: str) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        # An address for all is none that a browser goes to.
        shown = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
        return f"http://{shown}:{self.port}/{first}/"

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return self._port

    @property
    def is_private(self) -> bool:
        """Whether no other machine reaches it."""
        return is_loopback(self._host)

    def open_browser(self) -> bool:
        """Open the page in the user's browser.

        The browser is started with an address that leads to the page once, since others on the machine can see it.

        Returns:
            Whether a browser was found.
        """
        return webbrowser.open(self._address(self._guard.add_ticket()))

    def wait(self) -> None:
        """Serve until `close` is called in another thread, or Ctrl-C is pressed."""
        while self._thread.is_alive():
            # A wait without an end could not be interrupted on Windows.
            self._thread.join(0.5)

    def close(self) -> None:
        """Serve no more, and let go of the files."""
        self._server.should_exit = True
        self._thread.join(_CLOSING_SECONDS)
        self._socket.close()
        self._answers.close()
        self._watched.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        # Without the token: texts are logged.
        return f"<Viewer of {self._watched.path!r} at {self._host}:{self.port}>"


def _watch(argument: Any, storage_options: Any) -> WatchedDataset:
    """The dataset that is to be shown, from its path or from batches of it.

    Raises:
        ArgumentError: If batches are of several datasets.
    """
    own = find_batches(argument)
    if own is None:
        return WatchedDataset(argument, storage_options)
    dataset = dataset_of(own)
    if len(sample_reader(dataset).collection.indexes) > 1:
        raise ArgumentError(f"{dataset.path}: a page shows the batches of one dataset, found several: give the path of one")
    return WatchedDataset(dataset.path, storage_options or storage_options_of(own), own)


def _import_server() -> tuple[Any, Any, Any]:
    try:
        import uvicorn

        from kseq.viewing.answers import Answers
        from kseq.viewing.app import make_app
    except ImportError as error:
        name = (error.name or "").partition(".")[0]
        if name not in ("anyio", "click", "h11", "starlette", "uvicorn"):
            raise
        raise ArgumentError(f'a page needs {name}, which is not installed: pip install "kseq[view]"') from error
    return Answers, make_app, uvicorn


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens at a host and port.

    Raises:
        ArgumentError: If that cannot be done.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise ArgumentError(f"{spelled('host', host)}: {getattr(error, 'strerror', None) or error}") from error
    try:
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise ArgumentError(f"{spelled('host', host)}, {spelled('port', port)}: {error.strerror}") from error
    return listening
