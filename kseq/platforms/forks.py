"""Forks of this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

__all__ = ["at_fork"]


def at_fork(**callbacks: Callable[[], Any]) -> None:
    """Call functions whenever this process forks, as `os.register_at_fork` says; where no process forks, never."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(**callbacks)
