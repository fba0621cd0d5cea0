"""Files mapped into memory, one by one or side by side in one stretch of addresses."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mmap
import os
import sys
from typing import Any

import numpy as np

__all__ = ["Span", "make_private", "map_file", "maps_keep_descriptors", "most_descriptors", "most_maps", "touch", "will_need"]

# <linux/mman.h>; the others are in the module mmap.
_PROT_NONE, _MAP_FIXED, _MAP_NORESERVE = 0, 0x10, 0x4000
_FAILED = ctypes.c_void_p(-1).value

# The largest span, of the 128 TiB of addresses that a process has.
_MOST_ADDRESSES = 1 << 46

# A disk reads a gap of so many bytes sooner than it seeks over it.
_GAP = 128 << 10

# numpy holds the interpreter while it goes through fewer elements than 500.
_LEAST_WITHOUT_GIL = 600

# Linux's vm.max_map_count, if it cannot be read.
_MOST_MAPS = 65_530


def maps_keep_descriptors() -> bool:
    """Whether a file that is mapped counts among the files that this process has open."""
    return _calls() is None


def most_maps() -> int:
    """How many files one dataset should have mapped at most: a share of what the operating system allows a process."""
    try:
        with open("/proc/sys/vm/max_map_count") as file:
            allowed = int(file.read())
    except (OSError, ValueError):
        allowed = _MOST_MAPS
    return max(4, min(4096, allowed // 8))


def most_descriptors() -> int:
    """How many files all datasets together should have open at most: half of those that this process may have open."""
    try:
        import resource
    except ImportError:
        return 256
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 4096 if limit == resource.RLIM_INFINITY else max(4, min(4096, limit // 2))


def map_file(descriptor: int, num_bytes: int) -> np.ndarray:
    """Map an open file, which may be closed afterwards.

    Returns:
        `(num_bytes,)` uint8, read-only.

    Raises:
        OSError: If the operating system refuses.
    """
    if _calls() is None:
        return np.frombuffer(mmap.mmap(descriptor, num_bytes, access=mmap.ACCESS_READ), np.uint8)
    address = _map(None, num_bytes, mmap.PROT_READ, mmap.MAP_SHARED, descriptor)
    return np.asarray(_Addresses(address, num_bytes))


def make_private(address: int, num_bytes: int, descriptor: int) -> None:
    """Let this process see the mapped bytes of a file as they are, and nobody else what it writes to them from now on.

    Where the system cannot do it, they stay as they are.

    Args:
        address: Where the file is mapped, from its beginning on.
        num_bytes: How much of it.
        descriptor: Of the file.
    """
    if _calls() is not None:
        with contextlib.suppress(OSError):
            protection = mmap.PROT_READ | mmap.PROT_WRITE
            _map(address, num_bytes, protection, mmap.MAP_PRIVATE | _MAP_FIXED, descriptor)


def will_need(mapped: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
    """Ask the operating system to read ranges of a mapped file soon, without waiting for it. Does nothing except on Linux.

    Args:
        mapped: `(n,)` uint8, a view of a map.
        starts: `(ranges,)` int64, rising: where in `mapped` each range begins.
        ends: `(ranges,)` int64: where it ends. Ranges that lie near each other are asked for as one.
    """
    if _calls() is None or not mapped.size:
        return
    base = _address(mapped)
    gaps = np.flatnonzero(starts[1:] - ends[:-1] > _GAP)
    firsts, lasts = starts[[0, *(gaps + 1)]].tolist(), ends[[*gaps, -1]].tolist()
    for first, last in zip(firsts, lasts, strict=True):
        start = (base + first) // mmap.PAGESIZE * mmap.PAGESIZE
        # Only advice, so that a failure does not matter.
        _calls().madvise(start, base + last - start, mmap.MADV_WILLNEED)


def touch(mapped: np.ndarray) -> None:
    """Wait until a view of a map is in memory: read a byte of each of its pages."""
    data = mapped.reshape(-1).view(np.uint8)
    # Of so many elements on, numpy lets other threads run meanwhile, which a slow disk would stop otherwise.
    np.bitwise_or.reduce(data[:: max(1, min(mmap.PAGESIZE, len(data) // _LEAST_WITHOUT_GIL))])


class Span:
    """A stretch of addresses into which files are mapped side by side, so that one call can gather from all of them.

    Args:
        num_bytes: Its size.

    Attributes:
        bytes: `(num_bytes,)` uint8, read-only. Reading it where no file is mapped ends the process.
    """

    def __init__(self, num_bytes: int) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        self._start = _map(None, num_bytes, _PROT_NONE, flags, -1)
        self.bytes: np.ndarray = np.asarray(_Addresses(self._start, num_bytes))

    @classmethod
    def reserve(cls, num_bytes: int) -> Span | None:
        """A span; None if this system has no spans, or not so many free addresses."""
        if _calls() is None or not 0 < num_bytes <= _MOST_ADDRESSES:
            return None
        try:
            return cls(num_bytes)
        except OSError:
            return None

    def map_file(self, offset: int, descriptor: int, num_bytes: int) -> np.ndarray:
        """Map an open file, which may be closed afterwards, at `offset` in `bytes`, a multiple of the page size.

        Returns:
            `(num_bytes,)` uint8, read-only: that part of `bytes`.

        Raises:
            OSError: If the operating system refuses.
        """
        _map(self._start + offset, num_bytes, mmap.PROT_READ, mmap.MAP_SHARED | _MAP_FIXED, descriptor)
        return self.bytes[offset : offset + num_bytes]

    def offset_of(self, array: np.ndarray) -> int:
        """Where an array begins in `bytes`; below 0 or beyond the end for an array that does not lie in the span."""
        return _address(array) - self._start


class _Addresses:
    """A stretch of addresses that is given back when no array refers to it any more."""

    def __init__(self, address: int, num_bytes: int) -> None:
        self.__array_interface__ = {"data": (address, True), "shape": (num_bytes,), "typestr": "|u1", "version": 3}
        self._unmap = functools.partial(_calls().munmap, address, num_bytes)

    def __del__(self) -> None:
        self._unmap()


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


@functools.cache
def _calls() -> Any:
    """mmap, munmap and madvise of the C library, which hold no GIL; None except on Linux, whose constants these are.

    Python's mmap keeps a descriptor open for each map until 3.13, and cannot map at a chosen address.
    """
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    try:
        library = ctypes.CDLL(None, use_errno=True)
    except (OSError, TypeError):
        return None
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
    library.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return library


def _map(address: int | None, num_bytes: int, protection: int, flags: int, descriptor: int) -> int:
    """The address of a new map.

    Raises:
        OSError: If the operating system refuses.
    """
    mapped: int = _calls().mmap(address, num_bytes, protection, flags, descriptor, 0)
    if mapped == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return mapped
