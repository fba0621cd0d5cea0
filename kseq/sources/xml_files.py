"""Reading XML files of annotation tools; whatever is wrong with one is an error that continues its name."""

from __future__ import annotations

import os
from xml.etree import ElementTree

from kseq.errors import ImageError, one_line

__all__ = ["read_xml"]


def read_xml(path: str) -> ElementTree.Element:
    """The outermost element of a file, in the encoding that it declares.

    Raises:
        ImageError: If it cannot be read, is no regular file, such as a pipe, or no XML.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise ImageError("is not a regular file")
        with open(path, "rb") as file:
            return ElementTree.fromstring(file.read())
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise ImageError(f"is not XML: {one_line(error)}") from error
