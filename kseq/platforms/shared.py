"""Memory that several processes use: files without a name where the system has them, else blocks with a name."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
from multiprocessing import shared_memory

__all__ = ["attach", "has_files_without_name", "make_file_without_name"]

# Separates the path of a file without a name from its label, which no other file has, though another may have its path later.
_LABEL = "#"

# From Linux's prctl.h: asks whether other processes of the same user may read the memory of this one.
_PR_GET_DUMPABLE = 3


def has_files_without_name() -> bool:
    """Whether this system has files without a name, and lets other processes of the same user open those of this process."""
    return hasattr(os, "memfd_create") and os.access("/proc/self/fd", os.R_OK | os.X_OK) and _is_dumpable()


def _is_dumpable() -> bool:
    """Whether child processes may open /proc/PID/fd of this one: not after a change of the user, or if it was forbidden."""
    return bool(_c_library().prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 1)


@functools.cache
def _c_library() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def make_file_without_name(label: str, num_bytes: int) -> tuple[int, str, mmap.mmap]:
    """Memory that other processes can map through a file that has no name (Linux's memfd).

    It cannot be left behind: it is freed when the last process that has it open ends, in whatever way. It does not count
    against the size of /dev/shm, which is 64 MiB in a container by default.

    Args:
        label: No other file of this process ever has it: the number of a descriptor is used again, the label is not.
        num_bytes: Its size.

    Returns:
        A descriptor, without which nobody can map it any more; the name for `attach`; and the memory.
    """
    descriptor = os.memfd_create(label, os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, num_bytes)
        return descriptor, f"/proc/{os.getpid()}/fd/{descriptor}{_LABEL}{label}", mmap.mmap(descriptor, num_bytes)
    except BaseException:
        os.close(descriptor)
        raise


def attach(name: str) -> mmap.mmap | shared_memory.SharedMemory:
    """Map memory that another process made: a file without a name, or a block of `multiprocessing.shared_memory`, by its name.

    Raises:
        FileNotFoundError: If it was freed meanwhile.
    """
    path, separator, label = name.partition(_LABEL)
    if not separator:
        return shared_memory.SharedMemory(name)
    descriptor = os.open(path, os.O_RDWR)
    try:
        # If the descriptor was closed, its number may belong to any other file by now.
        target = os.readlink(f"/proc/self/fd/{descriptor}")
        if target != f"/memfd:{label} (deleted)":
            raise FileNotFoundError(f"{path}: is {target}, expected is the memory {label}: it was freed meanwhile")
        return mmap.mmap(descriptor, 0)
    finally:
        os.close(descriptor)
