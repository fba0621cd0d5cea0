"""Batch memory: aligned for the backends, used again once nothing refers to it, shareable with processes."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import mmap
import os
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Mapping
from multiprocessing import shared_memory
from typing import NamedTuple

import numpy as np

from kseq.platforms.forks import at_fork
from kseq.platforms.maps import make_private
from kseq.platforms.shared import attach, has_files_without_name, make_file_without_name

__all__ = ["ALIGNMENT", "ArraySpec", "AttachedBuffers", "Buffer", "BufferPool"]

# Keras passes an array that starts on this boundary to TensorFlow and JAX without a copy (a cache line; EIGEN_MAX_ALIGN_BYTES
# in TensorFlow's builds, the same in XLA's CPU client).
ALIGNMENT = 64
_PAGE = 4096

# So many buffers are kept however large they are: one more than are in use where each batch is read while one is trained on.
_LEAST_BLOCKS = 6


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


class _Block:
    """A stretch of memory for the arrays of one batch.

    Attributes:
        num_bytes: Its size.
        address: Where it begins, on a 64-byte boundary.
        name: By which another process maps it; None if it is private.
        is_retired: Whether it must not be used for another batch.
    """

    num_bytes: int
    address: int
    name: str | None = None
    is_retired = False

    def release(self) -> None:
        """Prevent further maps by other processes; the memory stays valid."""

    def retire(self) -> None:
        """Free the memory after this batch, and let nobody else see from now on what this process writes to it."""


class _PrivateBlock(_Block):
    """Memory that only this process uses. A fork copies it."""

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        self._memory = np.empty(num_bytes + ALIGNMENT, np.uint8)
        address = self._memory.__array_interface__["data"][0]
        self.address = -(-address // ALIGNMENT) * ALIGNMENT


class _SharedBlock(_Block):
    """Memory that other processes can map. A fork shares it, unless it is retired before."""

    name: str
    _descriptor: int
    _close: weakref.finalize

    def release(self) -> None:
        self.retire()
        self._close()

    def retire(self) -> None:
        if not self.is_retired:
            self.is_retired = True
            make_private(self.address, self.num_bytes, self._descriptor)


class _FileBlock(_SharedBlock):
    """Memory that other processes can map through a file that has no name."""

    _numbers = itertools.count()

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        self._descriptor, self.name, self._memory = make_file_without_name(f"kseq-{next(self._numbers)}", num_bytes)
        # Prevents further maps; maps that exist stay valid. Called when the block is freed, at the latest.
        self._close = weakref.finalize(self, os.close, self._descriptor)
        self.address = _bytes_of(self._memory).__array_interface__["data"][0]


class _NamedBlock(_SharedBlock):
    """Memory that other processes can map by its name, on systems without files that have no name."""

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        memory = shared_memory.SharedMemory(create=True, size=num_bytes)
        # Removes the name; the memory stays mapped as long as the block exists. Called when the block is freed or the program
        # ends, at the latest.
        self._close = weakref.finalize(self, _unlink, memory, os.getpid())
        self._memory = memory
        self._descriptor = getattr(memory, "_fd", -1)
        self.name = memory.name
        self.address = _bytes_of(memory).__array_interface__["data"][0]


def _unlink(memory: shared_memory.SharedMemory, owner: int) -> None:
    """Remove the name, but not in a forked child, which has the block as well: the name belongs to the parent."""
    if os.getpid() == owner:
        memory.unlink()


def _bytes_of(memory: mmap.mmap | shared_memory.SharedMemory) -> np.ndarray:
    buffer = memory if isinstance(memory, mmap.mmap) else memory.buf
    assert buffer is not None
    return np.frombuffer(buffer, np.uint8)


class _Idle:
    """The blocks that wait for their next use, until the pool is closed.

    Blocks come back at any moment, in any thread, even in one that is taking a block: `give_back` holds no lock, and only
    atomic methods of the deque are used.
    """

    def __init__(self) -> None:
        # The longest idle first, each with the number of takes when it came.
        self._blocks: deque[tuple[int, _Block]] = deque()
        self._takes = 0
        self._closed = False
        # Guards nothing but that one thread at a time takes: another would see no block while this one looks through them.
        self._taking = threading.Lock()

    def __len__(self) -> int:
        return len(self._blocks)

    def blocks(self) -> list[_Block]:
        """All of them now."""
        return [block for _, block in list(self._blocks)]

    def give_back(self, block: _Block) -> None:
        self._put(self._blocks.append, (self._takes, block))

    def take(self, num_bytes: int, patience: int) -> _Block | None:
        """The smallest block with room for so many bytes; None if there is none.

        Of blocks of one size, it is the one that came last, since the CPU's caches may still hold much of it. If blocks are
        idle and none has room, the longest idle is freed, in exchange for the one that is now allocated: so there are never
        more blocks than were in use at once. The longest idle is freed too if `patience` takes did not need it.
        """
        with self._taking:
            self._takes += 1
            newest_first = self._pop_all()
            fitting = [entry for entry in newest_first if entry[1].num_bytes >= num_bytes]
            chosen = min(fitting, key=lambda entry: entry[1].num_bytes, default=None)
            left = [entry for entry in newest_first if entry is not chosen]
            if left and (chosen is None or left[-1][0] + patience < self._takes):
                del left[-1]
            for entry in left:
                self._put(self._blocks.appendleft, entry)
            return None if chosen is None else chosen[1]

    def _pop_all(self) -> list[tuple[int, _Block]]:
        newest_first = []
        with contextlib.suppress(IndexError):
            while True:
                newest_first.append(self._blocks.pop())
        # A fork may have retired a block while it was on its way back.
        return [entry for entry in newest_first if not entry[1].is_retired]

    def _put(self, put: Callable[[tuple[int, _Block]], None], entry: tuple[int, _Block]) -> None:
        put(entry)
        # Checked after the put: if the pool is closed in between, `close` has cleared too early, and nobody else would.
        if self._closed:
            self._blocks.clear()

    def free_oldest(self) -> bool:
        """Free the longest idle block; False if there is none."""
        with contextlib.suppress(IndexError):
            self._blocks.popleft()
            return True
        return False

    def trim(self, most: int) -> None:
        while len(self._blocks) > most and self.free_oldest():
            pass

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
        if not self._block.is_retired:
            self._idle.give_back(self._block)


class BufferPool:
    """Hands out batch buffers, and takes each back when nothing refers to it any more.

    A buffer is never handed out while one of its arrays, a view, or a tensor made from it without a copy is alive: a caller
    that keeps a batch makes the pool allocate another buffer. Nor is one handed out again that was in use when this process
    forked: the child may hold it. What parent and child write to it after the fork is their own (on Linux; elsewhere, of shared
    buffers, each sees what the other writes).

    Buffers have sizes in steps of an eighth, and a larger one serves for a smaller batch, so that batches whose sizes vary use
    each other's.

    Args:
        shared: Whether other processes can map the buffers, for worker processes.
        most_bytes: Idle buffers are freed while all buffers, idle or in use, take more than that; but a few, of whatever size,
            are kept.
        patience: After so many takes that did not need it, an idle buffer is freed. The default keeps buffers over the end of
            an epoch, when a backend that works through a backlog frees dozens at once: to allocate them anew costs as much as
            to fill them.
    """

    def __init__(self, *, shared: bool = False, most_bytes: int = 2 << 30, patience: int = 100) -> None:
        self._shared = shared
        self._most_bytes = most_bytes
        self._patience = patience
        self._idle = _Idle()
        # An array that outlives the pool would keep `_idle` alive, with all its blocks.
        weakref.finalize(self, self._idle.close)
        # All blocks, including those that arrays still refer to: shared ones by their names, private ones by numbers.
        self._blocks: weakref.WeakValueDictionary[str, _Block] = weakref.WeakValueDictionary()
        self._private_blocks: weakref.WeakValueDictionary[int, _Block] = weakref.WeakValueDictionary()
        self._numbers = itertools.count()
        if shared:
            _shared_pools[next(_pool_numbers)] = self

    def take(self, specs: Mapping[str, ArraySpec]) -> Buffer:
        """A buffer with one array for each spec, each starting on a 64-byte boundary; contents are arbitrary."""
        starts, num_bytes = _layout(tuple(specs.values()))
        block = self._idle.take(num_bytes, self._patience) or self._allocate(num_bytes)
        while self.num_bytes > max(self._most_bytes, _LEAST_BLOCKS * num_bytes) and self._idle.free_oldest():
            pass
        memory = np.asarray(_Lease(block, self._idle))
        return Buffer(_arrays(memory, specs, starts), block.name)

    def _allocate(self, num_bytes: int) -> _Block:
        if not self._shared:
            block = self._private_blocks[next(self._numbers)] = _PrivateBlock(num_bytes)
            return block
        shared = _FileBlock(num_bytes) if has_files_without_name() else _NamedBlock(num_bytes)
        self._blocks[shared.name] = shared
        return shared

    def _all_blocks(self) -> list[_Block]:
        # `valuerefs` makes a list: other threads may take and drop buffers meanwhile.
        references = self._blocks.valuerefs() + self._private_blocks.valuerefs()
        return [block for block in (reference() for reference in references) if block is not None]

    @property
    def num_bytes(self) -> int:
        """The size of all buffers, idle or in use."""
        return sum(block.num_bytes for block in self._all_blocks())

    def names(self) -> frozenset[str]:
        """The names of all shared buffers that exist."""
        return frozenset(block.name for block in self._all_blocks() if block.name is not None)

    def retire_in_use(self) -> None:
        """Never hand out again the buffers that are in use now."""
        idle = set(map(id, self._idle.blocks()))
        for block in self._all_blocks():
            if id(block) not in idle:
                block.retire()

    def trim(self, most: int) -> None:
        """Free the longest idle buffers until no more than `most` are left."""
        self._idle.trim(most)

    def close(self) -> None:
        """Remove every shared name and free idle buffers; arrays in use stay valid, and are freed when nothing uses them."""
        self._idle.close()
        for block in self._all_blocks():
            block.release()


_pool_numbers = itertools.count()
_shared_pools: weakref.WeakValueDictionary[int, BufferPool] = weakref.WeakValueDictionary()


def _retire_blocks_in_use() -> None:
    """What becomes of shared buffers when this process forks: both processes have them, and the parent would use them again."""
    for reference in _shared_pools.valuerefs():
        pool = reference()
        if pool is not None:
            pool.retire_in_use()


# Before, so that parent and child have it; after, for what other threads took in between.
at_fork(before=_retire_blocks_in_use, after_in_parent=_retire_blocks_in_use, after_in_child=_retire_blocks_in_use)


class AttachedBuffers:
    """In a worker process: the buffers of its parent, each mapped when it is first needed.

    A buffer that the parent has freed takes memory as long as it is mapped here: `forget_others` unmaps it.

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

    def forget_others(self, names: Collection[str]) -> None:
        """Unmap all buffers but those of some names, which are all that the parent has."""
        for name in [name for name in self._mapped if name not in names]:
            del self._mapped[name]


@functools.lru_cache(maxsize=64)
def _layout(specs: tuple[ArraySpec, ...]) -> tuple[list[int], int]:
    """The offset of each array in a block, and the size of the block in bytes: whole pages, in steps of an eighth."""
    starts, end = [], 0
    for spec in specs:
        starts.append(end)
        end += -(-spec.num_bytes // ALIGNMENT) * ALIGNMENT
    num_pages = max(-(-end // _PAGE), 1)
    step = 1 << max(0, num_pages.bit_length() - 4)
    return starts, -(-num_pages // step) * step * _PAGE


def _arrays(memory: np.ndarray, specs: Mapping[str, ArraySpec], starts: list[int]) -> dict[str, np.ndarray]:
    return {
        name: memory[start : start + spec.num_bytes].view(spec.dtype).reshape(spec.shape)
        for start, (name, spec) in zip(starts, specs.items(), strict=True)
    }
