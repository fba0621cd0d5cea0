"""Batch memory: aligned for the backends, recycled when the last user lets go, shareable with processes."""

from __future__ import annotations

import contextlib
import ctypes
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

__all__ = ["ALIGNMENT", "ArraySpec", "AttachedBuffers", "Buffer", "BufferPool"]

# Keras hands an array that starts on this boundary to TensorFlow and JAX without a copy (a cache line;
# EIGEN_MAX_ALIGN_BYTES in TensorFlow's builds, the same in XLA's CPU client).
ALIGNMENT = 64
_PAGE = 4096

# Comes between the path of a file without a name and what tells it from others that had the same path.
_LABEL = "#"

# From Linux's prctl.h: asks whether other processes of the same user may look into this one.
_PR_GET_DUMPABLE = 3


class ArraySpec(NamedTuple):
    """Shape and dtype of one array of a buffer."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class Buffer(NamedTuple):
    """The arrays of one batch, in one block of memory; `name` is how another process finds it, if shared."""

    arrays: dict[str, np.ndarray]
    name: str | None


class _PrivateBlock:
    """Memory of this process alone."""

    name = None

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        self._memory = np.empty(num_bytes + ALIGNMENT, np.uint8)
        address = self._memory.__array_interface__["data"][0]
        self.address = -(-address // ALIGNMENT) * ALIGNMENT


class _FileBlock:
    """Memory that other processes can map through a file that has no name (Linux's memfd).

    Nothing of it can be left behind: it is gone with the last process that has it open, however that ended. Nor does it
    count against the size of /dev/shm, which is 64 MiB in a container unless somebody thought of it.
    """

    _numbers = itertools.count()

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        # The number of a descriptor comes again, the name of a block does not.
        label = f"kseq-{next(self._numbers)}"
        descriptor = os.memfd_create(label, os.MFD_CLOEXEC)
        # Let nobody map it any more: who has it mapped keeps it. Called when the block goes, at the latest.
        self.release = weakref.finalize(self, os.close, descriptor)
        os.ftruncate(descriptor, num_bytes)
        self._memory = mmap.mmap(descriptor, num_bytes)
        self.name = f"/proc/{os.getpid()}/fd/{descriptor}{_LABEL}{label}"
        self.address = _bytes_of(self._memory).__array_interface__["data"][0]


class _NamedBlock:
    """Memory that other processes can map by its name, where there are no files without one."""

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        memory = shared_memory.SharedMemory(create=True, size=num_bytes)
        # Takes the name away: the memory stays mapped as long as the block. Called when the block or the program ends, at
        # the latest.
        self.release = weakref.finalize(self, _unlink, memory, os.getpid())
        self._memory = memory
        self.name = memory.name
        self.address = _bytes_of(memory).__array_interface__["data"][0]


def _unlink(memory: shared_memory.SharedMemory, owner: int) -> None:
    """A forked child has the block too; the name is its parent's."""
    if os.getpid() == owner:
        memory.unlink()


_Block = _PrivateBlock | _FileBlock | _NamedBlock


def _attach(name: str) -> mmap.mmap | shared_memory.SharedMemory:
    """Map the block that has this name, in another process than its own."""
    path, separator, label = name.partition(_LABEL)
    if not separator:
        return shared_memory.SharedMemory(name)
    descriptor = os.open(path, os.O_RDWR)
    try:
        # The number of a descriptor that was closed may stand for any other file by now.
        found = os.readlink(f"/proc/self/fd/{descriptor}")
        if found != f"/memfd:{label} (deleted)":
            raise FileNotFoundError(f"{path}: is {found}, expected is the memory {label}: it was freed meanwhile")
        return mmap.mmap(descriptor, 0)
    finally:
        os.close(descriptor)


def _bytes_of(memory: mmap.mmap | shared_memory.SharedMemory) -> np.ndarray:
    buffer = memory if isinstance(memory, mmap.mmap) else memory.buf
    assert buffer is not None
    return np.frombuffer(buffer, np.uint8)


def _files_without_name() -> bool:
    """Whether this system has them, and lets another process of the same user open those of this one."""
    return hasattr(os, "memfd_create") and os.access("/proc/self/fd", os.R_OK | os.X_OK) and _lets_others_look()


def _lets_others_look() -> bool:
    """Not so after a change of the user, or where a program guards its secrets: /proc/PID/fd is closed to its own children."""
    return bool(ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 1)


class _Idle:
    """The blocks that wait for their next use, until the pool is closed; of the deque, only what is atomic is used."""

    def __init__(self) -> None:
        # The longest idle first, each with the time of its coming, which is counted in takes.
        self._blocks: deque[tuple[int, _Block]] = deque()
        self._takes = 0
        self._closed = False

    def __len__(self) -> int:
        return len(self._blocks)

    def give_back(self, block: _Block) -> None:
        self._put(self._blocks.append, (self._takes, block))

    def take(self, num_bytes: int, patience: int) -> _Block | None:
        """The one of this very size that came last, of which the caches may hold most; one that nobody needed in time goes."""
        self._takes += 1
        passed = []
        found = None
        with contextlib.suppress(IndexError):
            while found is None:
                entry = self._blocks.pop()
                if entry[1].num_bytes == num_bytes:
                    found = entry[1]
                else:
                    passed.append(entry)
        for entry in reversed(passed):
            self._put(self._blocks.append, entry)
        with contextlib.suppress(IndexError):
            oldest = self._blocks.popleft()
            if oldest[0] + patience >= self._takes:
                self._put(self._blocks.appendleft, oldest)
        return found

    def _put(self, put: Callable[[tuple[int, _Block]], None], entry: tuple[int, _Block]) -> None:
        put(entry)
        # Asked only now: a pool that is closed in between would clear too early. Nobody else frees what comes after that.
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

    numpy keeps the object that an array was made from as its base, and every view keeps its array: when the
    last of them is gone, so is this, and the block goes back. `deque` is used without a lock because this
    may run at any moment, in any thread, even one that is inside the pool.
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
    """Hands out batch buffers and takes each back when nothing refers to it any more.

    A buffer is never handed out while an array of it, a view, or a tensor made from it without a copy is
    alive: who holds on to a batch simply makes the pool allocate another.

    Args:
        shared: Buffers other processes can map, for worker processes.
        patience: A buffer that so many takes did not need is freed. It outlasts an epoch's end, where a backend that works
            through a backlog lets go of dozens at once: to allocate them anew costs as much as to fill them.
    """

    def __init__(self, *, shared: bool = False, patience: int = 100) -> None:
        self._shared = shared
        self._patience = patience
        self._idle = _Idle()
        # An array that outlives a pool that was dropped would keep it, with all that waits there.
        weakref.finalize(self, self._idle.close)
        # Those that arrays still refer to as well.
        self._blocks: weakref.WeakValueDictionary[str, _FileBlock | _NamedBlock] = weakref.WeakValueDictionary()

    def take(self, specs: Mapping[str, ArraySpec]) -> Buffer:
        """A buffer with one array per spec, each starting on a 64-byte boundary; contents are arbitrary."""
        starts, num_bytes = _places(tuple(specs.values()))
        block = self._idle.take(num_bytes, self._patience) or self._allocate(num_bytes)
        memory = np.asarray(_Lease(block, self._idle))
        return Buffer(_arrays(memory, specs, starts), block.name)

    def _allocate(self, num_bytes: int) -> _Block:
        if not self._shared:
            return _PrivateBlock(num_bytes)
        block = _FileBlock(num_bytes) if _files_without_name() else _NamedBlock(num_bytes)
        self._blocks[block.name] = block
        return block

    def trim(self, most: int) -> None:
        """Free the longest idle buffers until no more than `most` are left."""
        self._idle.trim(most)

    def close(self) -> None:
        """Take every shared name away and free what is idle; arrays still in use stay valid, and are freed with their end."""
        self._idle.close()
        # A list of what is there now: other threads may take and drop buffers meanwhile.
        for reference in self._blocks.valuerefs():
            block = reference()
            if block is not None:
                block.release()


class AttachedBuffers:
    """In a worker process: the buffers of its parent, mapped when first asked for.

    Args:
        most: How many stay mapped; the least recently used goes.
    """

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._mapped: OrderedDict[str, mmap.mmap | shared_memory.SharedMemory] = OrderedDict()

    def arrays(self, name: str, specs: Mapping[str, ArraySpec]) -> dict[str, np.ndarray]:
        """The arrays of the buffer `name`; a buffer may be used again with other specs."""
        if name not in self._mapped:
            self._mapped[name] = _attach(name)
            while len(self._mapped) > self._most:
                self._mapped.popitem(last=False)
        self._mapped.move_to_end(name)
        starts, _ = _places(tuple(specs.values()))
        return _arrays(_bytes_of(self._mapped[name]), specs, starts)


@functools.lru_cache(maxsize=64)
def _places(specs: tuple[ArraySpec, ...]) -> tuple[list[int], int]:
    """Where each array starts in a block, and the size of the block in whole pages."""
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
