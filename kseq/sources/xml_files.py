"""Reading XML files of annotation tools; whatever is wrong with one is an error that continues its name.

The rules:

- A file is in the encoding that it declares, also in one of several bytes a letter, such as GBK, which Python's parser refuses;
  else in that of all texts. Blank lines before the declaration do no harm.
- Namespaces, and upper and lower case in the names of elements, make no difference.
"""

from __future__ import annotations

import os
import re
from xml.etree import ElementTree

from kseq.errors import ImageError, one_line
from kseq.sources.text import decode_text

__all__ = ["read_xml"]

_DECLARED = re.compile(rb"<\?xml[^>]*?encoding\s*=\s*[\"']([\w.:-]+)")
# What is declared so holds letters of the larger set, as Windows writes them.
_LARGER = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "euc-kr": "cp949",
    "big5": "cp950",
}


def read_xml(path: str) -> ElementTree.Element:
    """The outermost element of a file, the names of elements in lower case and without namespaces.

    Raises:
        ImageError: If it cannot be read, is no regular file, such as a pipe, or no XML.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise ImageError("is not a regular file")
        with open(path, "rb") as file:
            outermost = _parse(file.read().lstrip())
    except ImageError:
        raise
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise ImageError(f"is not XML: {one_line(error)}") from error
    for element in outermost.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2].lower()
    return outermost


def _parse(data: bytes) -> ElementTree.Element:
    declared = _DECLARED.match(data)
    if declared is None:
        try:
            return ElementTree.fromstring(decode_text(data, strict=True))
        except UnicodeError as error:
            raise ImageError("is not UTF-8 and declares no other encoding") from error
    name = declared[1].decode("ascii", "replace").lower()
    if name in ("utf-8", "utf8"):
        try:
            data.decode()
        except UnicodeError as error:
            raise ImageError("is not UTF-8, which it declares: declare the encoding that it has") from error
    # As text, the declaration does not count.
    return ElementTree.fromstring(data.decode(_LARGER[name]) if name in _LARGER else data)
