"""What a file is whose name promises something else: told by its first bytes, for messages."""

from __future__ import annotations

from kseq.images.other_files import describe_other

__all__ = ["describe_wrong_file"]

_HEAD_BYTES = 512
# Where a tar says that it is one, and how.
_TAR = slice(257, 262), b"ustar"
# First bytes to what reads such a file, and the end of its name.
_KNOWN = (
    (b"PK\x03\x04", "a zip", ".zip"),
    (b"PAR1", "Parquet", ".parquet"),
    (b"\x89HDF\r\n\x1a\n", "HDF5", ".h5"),
    (b"\x93NUMPY", "an array of NumPy", ".npy"),
    (b"ARROW1", "Arrow", ".arrow"),
    (b"\x1f\x8b", "gzip", ".gz"),
)


def describe_wrong_file(path: str, end: str) -> str | None:
    """What a file is that cannot be read as its name says, with the way out; None if that is not known.

    Args:
        path: The file.
        end: The end of its name, such as `.zip`: a file that begins as its name says breaks off.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None
    if not head:
        return "is empty: fetch it again"
    place, mark = _TAR
    known = [(name, suffix) for start, name, suffix in _KNOWN if head.startswith(start)]
    name, suffix = ("a tar", ".tar") if head[place] == mark else next(iter(known), (None, None))
    if name is None or suffix is None:
        return describe_other(head)
    if suffix == end:
        return f"begins as {name} and breaks off, or is one of several parts: fetch it again, whole"
    return f"is {name}: give its name the end {suffix}"
