"""The lock that is held around every call of h5py, so that the process does not fork in the middle of one."""

from __future__ import annotations

import threading

from kseq.platforms.forks import at_fork

__all__ = ["H5PY_LOCK"]

# Guards HDF5's state against a fork: a child must not inherit a call that is half done.
H5PY_LOCK = threading.Lock()
at_fork(before=H5PY_LOCK.acquire, after_in_parent=H5PY_LOCK.release, after_in_child=H5PY_LOCK.release)
