"""What Pillow finds wrong with the header of an image file, in words of the file."""

from __future__ import annotations

import struct

from kseq.errors import one_line

__all__ = ["describe_fault"]


def describe_fault(error: BaseException) -> str:
    """What is wrong with a header, by the error that Pillow raised where it opened the file."""
    text, cause = one_line(error), error.__cause__
    if "not identified by this driver" in text:
        return "has no rows or no columns"
    if isinstance(cause, struct.error):
        return "breaks off"
    # Where Pillow adds no words, its error is the key that one of its tables lacks.
    if not isinstance(cause, KeyError) or text != one_line(cause):
        return text
    if text.isdigit():
        return f"lacks the field {text}"
    return f"has a mode and a depth, {text}, that are not read: convert it to JPEG or PNG first"
