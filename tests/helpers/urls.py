"""Files at URLs of fsspec, for tests."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import fsspec

__all__ = ["files_at", "memory_url", "upload"]


def memory_url(name: str = "place") -> str:
    """A URL in the memory of this process that no other test uses."""
    return f"memory://{uuid.uuid4().hex}/{name}"


def _opened(url: str, options: dict[str, Any]) -> tuple[Any, str]:
    """The file system of a URL and the path there; `options` are `storage_options` of kseq."""
    return fsspec.url_to_fs(url, **{name: value for name, value in options.items() if name != "deadline"})


def files_at(url: str, **options: Any) -> dict[str, bytes]:
    """The name and the bytes of each file at a URL; none where there is nothing."""
    system, top = _opened(url, options)
    system.invalidate_cache()
    if not system.exists(top):
        return {}
    return {path.removeprefix(top).lstrip("/"): system.cat_file(path) for path in system.find(top)}


def upload(local: Path, url: str, **options: Any) -> str:
    """Write a file, or every file of a folder, to a URL."""
    system, top = _opened(url, options)
    for path in [local] if local.is_file() else sorted(path for path in local.rglob("*") if path.is_file()):
        below = path.relative_to(local).as_posix()
        system.pipe_file(top if path == local else f"{top}/{below}", path.read_bytes())
    return url
