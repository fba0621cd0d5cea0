"""The members of a zip, by their names, and the bytes of each."""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from contextlib import suppress
from typing import NamedTuple

from kseq.errors import ImageError, one_line
from kseq.images.formats import MAX_PIXELS
from kseq.sources.kept_open import kept_open

__all__ = ["ZIP_ERRORS", "is_of_code_page", "member_rejection", "open_zip", "read_zip_member"]

# Pixels of four channels of 16 bits: no image that may be packed is larger.
_MAX_BYTES = MAX_PIXELS * 8
_ENCRYPTED = 1
_SAYS_UTF8 = 1 << 11
_CODE_PAGE = "cp437"
# Fields after the name: kind and size, and of the one with the name in UTF-8 its version and a checksum of the other name.
_FIELD, _UNICODE_PATH, _PATH_HEAD = struct.Struct("<HH"), 0x7075, struct.Struct("<BI")
# Of a path from the top, or from the folder that somebody was in.
_BEFORE_THE_FIRST = re.compile(r"^(\.?/)+")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
# What zipfile raises if a zip is damaged, or of a kind that it does not know.
ZIP_ERRORS = (OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read_zip_member(path: str, name: str, encoding: str | None = None) -> bytes:
    """The bytes of a member of a zip; its checksum is compared.

    Args:
        path: The zip.
        name: The name of the member.
        encoding: As in `open_zip`.

    Raises:
        ImageError: If it cannot be read.
    """
    try:
        archive = open_zip(path, encoding)
        member = archive.find(name)
        reason = member_rejection(member)
        if reason is not None:
            raise ImageError(reason)
        with archive.file.open(member) as file:
            # There may be more data than the zip states: they are not read.
            return file.read(member.file_size)
    except ZIP_ERRORS as error:
        raise ImageError(f"cannot be read: {one_line(error)}") from error


def member_rejection(member: zipfile.ZipInfo) -> str | None:
    """Why a member may not be read."""
    if member.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link, links in a zip are not followed"
    if member.compress_type not in _METHODS:
        return f"is compressed by method {member.compress_type}, allowed are {', '.join(map(str, _METHODS))}"
    if member.file_size > _MAX_BYTES:
        return f"is {member.file_size} bytes unpacked, by its header, allowed are {_MAX_BYTES}"
    return None


class _Archive(NamedTuple):
    """An open zip, and its members with their names, in its order."""

    file: zipfile.ZipFile
    members: list[tuple[str, zipfile.ZipInfo]]
    by_name: dict[str, zipfile.ZipInfo]

    def find(self, name: str) -> zipfile.ZipInfo:
        return self.by_name.get(name) or self.file.getinfo(name)


@kept_open(2)
def open_zip(path: str, encoding: str | None = None) -> _Archive:
    """A zip, open for this process; raises one of `ZIP_ERRORS`.

    Args:
        path: The zip.
        encoding: That of names which are not UTF-8; None for the code page 437, which the format has for them.
    """
    file = zipfile.ZipFile(path)
    infos = file.infolist()
    has_slash = any("/" in info.filename for info in infos if not info.is_dir())
    members = [(_name(info, encoding or _CODE_PAGE, has_slash=has_slash), info) for info in infos]
    # Only of names that zipfile does not know: there may be millions.
    return _Archive(file, members, {name: info for name, info in members if name != info.filename})


def _name(member: zipfile.ZipInfo, encoding: str, *, has_slash: bool) -> str:
    """The name of a member, with `/` between folders, and none before the first one."""
    # Python does so from 3.12 on.
    stated = _stated_name(member)
    name = stated or member.filename
    if not (stated or name.isascii() or member.flag_bits & _SAYS_UTF8):
        # macOS has UTF-8 without saying it.
        with suppress(UnicodeError):
            name = name.encode(_CODE_PAGE).decode(encoding if is_of_code_page(member) else "utf-8")
    name = name if has_slash else name.replace("\\", "/")
    return _BEFORE_THE_FIRST.sub("", name)


def is_of_code_page(member: zipfile.ZipInfo) -> bool:
    """Whether the name of a member is not UTF-8, so that nobody knows its encoding."""
    if member.filename.isascii() or member.flag_bits & _SAYS_UTF8 or _stated_name(member) is not None:
        return False
    try:
        member.filename.encode(_CODE_PAGE).decode()
    except UnicodeError:
        return True
    return False


def _stated_name(member: zipfile.ZipInfo) -> str | None:
    """The name in UTF-8 that a member has besides the one in a code page (APPNOTE.TXT, 4.6.9); None if it has none."""
    extra = b"" if member.flag_bits & _SAYS_UTF8 else member.extra
    while len(extra) >= _FIELD.size:
        kind, size = _FIELD.unpack_from(extra)
        field, extra = extra[_FIELD.size : _FIELD.size + size], extra[_FIELD.size + size :]
        if kind == _UNICODE_PATH and len(field) > _PATH_HEAD.size:
            version, checksum = _PATH_HEAD.unpack_from(field)
            # A tool that knows nothing of the field may have changed the name.
            if version == 1 and checksum == zlib.crc32(member.orig_filename.encode(_CODE_PAGE)):
                with suppress(UnicodeError):
                    return field[_PATH_HEAD.size :].decode()
    return None
