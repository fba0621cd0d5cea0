"""Notes that all ranks can leave and read, kept by the library that connects them."""

from __future__ import annotations

import contextlib
import sys
from abc import ABC, abstractmethod
from typing import Any

__all__ = ["Notes", "find_notes"]

_FAILED, _HEARD = "kseq/failed", "kseq/heard"

# A note is one line of a screen or two; a store of PyTorch's takes 8 KiB.
_MOST_CHARACTERS = 2000


class Notes(ABC):
    """What one rank writes and all read. Safe to use from a thread beside the training."""

    @abstractmethod
    def leave(self, text: str) -> None:
        """Say why this rank fails; where another has said so before, that stays."""

    @abstractmethod
    def find(self) -> str:
        """Why a rank failed; empty as long as none has. It does not wait."""

    @abstractmethod
    def say_heard(self) -> None:
        """This rank has read that one failed."""

    @abstractmethod
    def num_heard(self) -> int:
        """How many ranks have."""

    def take_leave(self) -> None:
        """End the connection, which those that end in order wait for."""
        return


class _JaxNotes(Notes):
    """In the service of jax.distributed."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def leave(self, text: str) -> None:
        # A key that is there already is an error.
        with contextlib.suppress(Exception):
            self._client.key_value_set(_FAILED, text[:_MOST_CHARACTERS])

    def find(self) -> str:
        # Without a wait; an empty list where there is none.
        found = self._client.key_value_dir_get(_FAILED.partition("/")[0])
        return next((value for key, value in found if key.endswith(_FAILED)), "")

    def say_heard(self) -> None:
        self._client.key_value_increment(_HEARD, 1)

    def num_heard(self) -> int:
        return int(self._client.key_value_increment(_HEARD, 0))

    def take_leave(self) -> None:
        self._client.shutdown()


class _TorchNotes(Notes):
    """In the store of the default process group of torch.distributed."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def leave(self, text: str) -> None:
        # The first that counts up is the first that failed.
        if self._store.add(f"{_FAILED}/count", 1) == 1:
            self._store.set(_FAILED, text[:_MOST_CHARACTERS])

    def find(self) -> str:
        if not self._store.check([_FAILED]):
            return ""
        return bytes(self._store.get(_FAILED)).decode(errors="replace")

    def say_heard(self) -> None:
        self._store.add(_HEARD, 1)

    def num_heard(self) -> int:
        return int(self._store.add(_HEARD, 0))


def find_notes() -> Notes | None:
    """Where the ranks can leave notes; None where no library that can keep them connects them."""
    client = getattr(getattr(sys.modules.get("jax._src.distributed"), "global_state", None), "client", None)
    if client is not None and hasattr(client, "key_value_increment"):
        return _JaxNotes(client)
    torch: Any = sys.modules.get("torch.distributed")
    if torch is not None and torch.is_available() and torch.is_initialized():
        get_store = getattr(getattr(torch, "distributed_c10d", None), "_get_default_store", None)
        return None if get_store is None else _TorchNotes(get_store())
    return None
