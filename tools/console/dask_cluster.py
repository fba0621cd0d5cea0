"""A Dask cluster as an executor."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from kseq.errors import ArgumentError

__all__ = ["dask_executor"]

# Seconds to wait for the answer of a scheduler.
_ANSWERS_WITHIN = 5


@contextmanager
def dask_executor(address: str | None) -> Iterator[Executor | None]:
    """An executor on the workers of the Dask scheduler at `address`, until the end of the block; None if `address` is None.

    Raises:
        ArgumentError: If distributed is not installed, or no scheduler answers at `address`.
    """
    if address is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ArgumentError(f"--dask needs the package distributed ({error}): pip install 'kseq[dask]'") from error
    try:
        client = Client(address, timeout=_ANSWERS_WITHIN, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ArgumentError(f"--dask {address}: no scheduler answers there within {_ANSWERS_WITHIN} s") from error
    with client:
        if not client.nthreads():
            print("the scheduler has no workers yet: waiting for the first", file=sys.stderr, flush=True)
        yield client.get_executor()
