"""Who wants to know when an adapter of Keras is handed a batch."""

from __future__ import annotations

import weakref
from typing import Any, Protocol

__all__ = ["BatchListener", "listen", "note_ready", "note_served"]


class BatchListener(Protocol):
    """Is told of the batches of one adapter of Keras, in the thread that reads them."""

    def note_served(self, asked: float) -> None:
        """Keras is handed a batch that it asked for at `asked`, by `time.perf_counter`."""
        ...

    def note_ready(self) -> None:
        """Keras has made of it what it wants."""
        ...


# A listener must not refer to the adapter, which would live as long as it.
_listeners: weakref.WeakKeyDictionary[Any, list[BatchListener]] = weakref.WeakKeyDictionary()


def listen(adapter: Any, listener: BatchListener) -> None:
    """Let a listener be told, as long as there is the adapter."""
    _listeners.setdefault(adapter, []).append(listener)


def note_served(adapter: Any, asked: float) -> None:
    """An adapter is handed a batch; None for somebody who is no adapter."""
    if _listeners and adapter is not None:
        for listener in _listeners.get(adapter, ()):
            listener.note_served(asked)


def note_ready(adapter: Any) -> None:
    """An adapter has made of a batch what Keras wants."""
    if _listeners:
        for listener in _listeners.get(adapter, ()):
            listener.note_ready()
