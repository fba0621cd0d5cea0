"""Folders that each platform has a custom for."""

from __future__ import annotations

import os
import sys

__all__ = ["cache_folder"]


def cache_folder(program: str) -> str:
    """Where a program keeps what it can fetch again, by the custom of the platform."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser(r"~\AppData\Local")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or ""
        # The specification of these folders has relative paths ignored.
        base = base if os.path.isabs(base) else os.path.expanduser("~/.cache")
    return os.path.join(base, program)
