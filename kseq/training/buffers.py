"""Batch memory: aligned for the backends, used again once nothing refers to it, shareable with processes."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import mmap
import os
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from multiprocessing import shared_memory
from typing import NamedTuple

import numpy as np

from kseq.platforms.shared import attach, has_files_without_name, make_file_without_name

__all__ = ["ALIGNMENT", "ArraySpec", "AttachedBuffers", "Buffer", "BufferPool"]

# Keras passes an array that starts on this boundary to TensorFlow and JAX without a copy (a cache line; EIGEN_MAX_ALIGN_BYTES
# in TensorFlow's builds, the same in XLA's CPU client).
ALIGNMENT = 64
_PAGE = 4096


class ArraySpec(NamedTuple):
    """Shape and dtype of one array of a buffer."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class Buffer(NamedTuple):
    """The arrays of one batch, in one block of memory; `name` is the name by which another process maps it, None if private."""

    arrays: dict[str, np.ndarray]
    name: str | None


class _PrivateBlock:
    """Memory that only this process uses."""

    name = None

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        self._memory = np.empty(num_bytes + ALIGNMENT, np.uint8)
        address = self._memory.__array_interface__["data"][0]
        self.address = -(-address // ALIGNMENT) * ALIGNMENT


class _FileBlock:
    """Memory that other processes can map through a file that has no name."""

    _numbers = itertools.count()

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        descriptor, self.name, self._memory = make_file_without_name(f"kseq-{next(self._numbers)}", num_bytes)
        # Prevents further maps; maps that exist stay valid. Called when the block is freed, at the latest.
        self.release = weakref.finalize(self, os.close, descriptor)
        self.address = _bytes_of(self._memory).__array_interface__["data"][0]


class _NamedBlock:
    """Memory that other processes can map by its name, on systems without files that have no name."""

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        memory = shared_memory.SharedMemory(create=True, size=num_bytes)
        # Removes the name; the memory stays mapped as long as the block exists. Called when the block is freed or the program
        # ends, at the latest.
        self.release = weakref.finalize(self, _unlink, memory, os.getpid())
        self._memory = memory
        self.name = memory.name
        self.address = _bytes_of(memory).__array_interface__["data"][0]


def _unlink(memory: shared_memory.SharedMemory, owner: int) -> None:
    """Remove the name, but not in a forked child, which has the block as well: the name belongs to the parent."""
    if os.getpid() == owner:
        memory.unlink()


_Block = _PrivateBlock | _FileBlock | _NamedBlock


def _bytes_of(memory: mmap.mmap | shared_memory.SharedMemory) -> np.ndarray:
    buffer = memory if isinstance(memory, mmap.mmap) else memory.buf
    assert buffer is not None
    return np.frombuffer(buffer, np.uint8)


class _Idle:
    """The blocks that wait for their next use, until the pool is closed; only atomic methods of the deque are used."""

    def __init__(self) -> None:
        # The longest idle first, each with the number of takes when it came.
        self._blocks: deque[tuple[int, _Block]] = deque()
        self._takes = 0
        self._closed = False

    def __len__(self) -> int:
        return len(self._blocks)

    def give_back(self, block: _Block) -> None:
        self._put(self._blocks.append, (self._takes, block))

    def take(self, num_bytes: int, patience: int) -> _Block | None:
        """The block of exactly this size that came last, since the CPU's caches may still hold much of it; None without one.

        The longest idle block is freed if `patience` takes did not need it.
        """
        self._takes += 1
        skipped = []
        block = None
        with contextlib.suppress(IndexError):
            while block is None:
                entry = self._blocks.pop()
                if entry[1].num_bytes == num_bytes:
                    block = entry[1]
                else:
                    skipped.append(entry)
        for entry in reversed(skipped):
            self._put(self._blocks.append, entry)
        with contextlib.suppress(IndexError):
            oldest = self._blocks.popleft()
            if oldest[0] + patience >= self._takes:
                self._put(self._blocks.appendleft, oldest)
        return block

    def _put(self, put: Callable[[tuple[int, _Block]], None], entry: tuple[int, _Block]) -> None:
        put(entry)
        # Checked after the put: if the pool is closed in between, `close` has cleared too early, and nobody else would.
        if self._closed:
            self._blocks.clear()

    def trim(self, most: int) -> None:
        with contextlib.suppress(IndexError):
            while len(self._blocks) > most:
                self._blocks.popleft()

    def close(self) -> None:
        self._closed = True
        self._blocks.clear()


class _Lease:
    """Keeps a block out of the pool for as long as any array, view or tensor refers to it.

    An array of numpy refers to the object that it was made from, and a view refers to its array. When the last of them is gone,
    this object is freed, and gives the block back. `deque` is used without a lock because this may happen at any moment, in any
    thread, even in one that is inside the pool.
    """

    def __init__(self, block: _Block, idle: _Idle) -> None:
        self._block = block
        self._idle = idle
        self.__array_interface__ = {
            "data": (block.address, False),
            "shape": (block.num_bytes,),
            "typestr": "|u1",
            "version": 3,
        }

    def __del__(self) -> None:
        self._idle.give_back(self._block)


class BufferPool:
    """Hands out batch buffers, and takes each back when nothing refers to it any more.

    A buffer is never handed out while one of its arrays, a view, or a tensor made from it without a copy is alive: a caller
    that keeps a batch makes the pool allocate another buffer.

    Args:
        shared: Whether other processes can map the buffers, for worker processes.
        patience: After so many takes that did not need it, an idle buffer is freed. The default keeps buffers over the end of
            an epoch, when a backend that works through a backlog frees dozens at once: to allocate them anew costs as much as
            to fill them.
    """

    def __init__(self, *, shared: bool = False, patience: int = 100) -> None:
        self._shared = shared
        self._patience = patience
        self._idle = _Idle()
        # An array that outlives the pool would keep `_idle` alive, with all its blocks.
        weakref.finalize(self, self._idle.close)
        # All shared blocks, including those that arrays still refer to.
        self._blocks: weakref.WeakValueDictionary[str, _FileBlock | _NamedBlock] = weakref.WeakValueDictionary()

    def take(self, specs: Mapping[str, ArraySpec]) -> Buffer:
        """A buffer with one array for each spec, each starting on a 64-byte boundary; contents are arbitrary."""
        starts, num_bytes = _layout(tuple(specs.values()))
        block = self._idle.take(num_bytes, self._patience) or self._allocate(num_bytes)
        memory = np.asarray(_Lease(block, self._idle))
        return Buffer(_arrays(memory, specs, starts), block.name)

    def _allocate(self, num_bytes: int) -> _Block:
        if not self._shared:
            return _PrivateBlock(num_bytes)
        block = _FileBlock(num_bytes) if has_files_without_name() else _NamedBlock(num_bytes)
        self._blocks[block.name] = block
        return block

    def trim(self, most: int) -> None:
        """Free the longest idle buffers until no more than `most` are left."""
        self._idle.trim(most)

    def close(self) -> None:
        """Remove every shared name and free idle buffers; arrays in use stay valid, and are freed when nothing uses them."""
        self._idle.close()
        # `valuerefs` makes a list: other threads may take and drop buffers meanwhile.
        for reference in self._blocks.valuerefs():
            block = reference()
            if block is not None:
                block.release()


class AttachedBuffers:
    """In a worker process: the buffers of its parent, each mapped when it is first needed.

    Args:
        most: How many stay mapped; beyond that, the least recently used is unmapped.
    """

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._mapped: OrderedDict[str, mmap.mmap | shared_memory.SharedMemory] = OrderedDict()

    def arrays(self, name: str, specs: Mapping[str, ArraySpec]) -> dict[str, np.ndarray]:
        """The arrays of the buffer `name`; the same buffer may have other specs each time."""
        if name not in self._mapped:
            self._mapped[name] = attach(name)
            while len(self._mapped) > self._most:
                self._mapped.popitem(last=False)
        self._mapped.move_to_end(name)
        starts, _ = _layout(tuple(specs.values()))
        return _arrays(_bytes_of(self._mapped[name]), specs, starts)


@functools.lru_cache(maxsize=64)
def _layout(specs: tuple[ArraySpec, ...]) -> tuple[list[int], int]:
    """The offset of each array in a block, and the size of the block, in bytes and whole pages."""
    starts, end = [], 0
    for spec in specs:
        starts.append(end)
        end += -(-spec.num_bytes // ALIGNMENT) * ALIGNMENT
    return starts, max(-(-end // _PAGE), 1) * _PAGE


def _arrays(memory: np.ndarray, specs: Mapping[str, ArraySpec], starts: list[int]) -> dict[str, np.ndarray]:
    return {
        name: memory[start : start + spec.num_bytes].view(spec.dtype).reshape(spec.shape)
        for start, (name, spec) in zip(starts, specs.items(), strict=True)
    }
