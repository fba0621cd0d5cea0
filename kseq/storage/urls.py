"""URLs as fsspec has them, taken apart and put together as texts: chains such as `zip://photos::s3://bucket/a.zip` too."""

from __future__ import annotations

import posixpath

__all__ = ["join_url", "split_store", "split_url"]


def join_url(url: str, path: str) -> str:
    """The URL of a file or a folder below a URL.

    Args:
        url: The URL of a folder.
        path: A path below it, with `/`. Parts `..` lead out of the folder, as on a disk: no object store knows them.
    """
    before, scheme, place, after = _parts(url)
    return f"{before}{scheme}{posixpath.normpath(posixpath.join(place, path)) if path else place}{after}"


def split_url(url: str) -> tuple[str, str]:
    """The URL of the folder that a file or a folder lies in, and its name there, without a query."""
    before, scheme, place, after = _parts(url)
    folder, _, name = place.rstrip("/").rpartition("/")
    if scheme.startswith("http"):
        name, after = name.partition("?")[0], ""
    return f"{before}{scheme}{folder}{after}", name


def split_store(url: str) -> tuple[str, str]:
    """The URL of the store that a file or a folder lies in, such as that of a bucket or a host, and its path there."""
    before, scheme, place, after = _parts(url)
    store, _, path = place.partition("/")
    if not store or before or after:
        # A path of a file system without hosts; or one in a chain, where the store is what the other URLs say.
        folder, name = split_url(url)
        return (folder, name) if name else (url, "")
    return f"{scheme}{store}", path


def _parts(url: str) -> tuple[str, str, str, str]:
    """What comes before the scheme, the scheme with its slashes, the place, and what comes after: other URLs of a chain."""
    links = url.split("::")
    number = next((number for number, link in enumerate(links) if "://" in link), 0)
    scheme, separator, place = links[number].partition("://")
    before, after = ("".join(f"{link}::" for link in links[:number]), "".join(f"::{link}" for link in links[number + 1 :]))
    return before, f"{scheme}{separator}", place, after
