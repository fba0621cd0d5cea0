"""Packings that were stopped before they were done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kseq
from kseq.storage.layout import RESUME_RECORD_NAME
from tests.helpers.datasets import files

SHARD_BYTES = 10_000


def stop_after(shards: int, target: Path) -> Callable[[int, int], None]:
    """A `progress` that ends a packing as Ctrl-C does, once there are some shards."""

    def stop(*_: int) -> None:
        if len(list(target.glob("shard-*.h5"))) >= shards:
            raise KeyboardInterrupt

    return stop


def begin(source: Any, target: Path, shards: int = 2, **options: Any) -> dict[str, bytes]:
    """An unfinished packing."""
    with pytest.raises(KeyboardInterrupt):
        kseq.pack(source, target, workers=0, shard_bytes=SHARD_BYTES, progress=stop_after(shards, target), **options)
    contents = files(target)
    assert sorted(contents) == [RESUME_RECORD_NAME, *(f"shard-{number:05d}.h5" for number in range(shards))]
    return contents


def resume(source: Any, target: Path, **options: Any) -> kseq.PackReport:
    return kseq.pack(source, target, **{"workers": 0, "shard_bytes": SHARD_BYTES, "resume": True, **options})
