"""Files as tables name them, found where a table writes a name otherwise than the file system does.

The rules, for names of files of this machine at which nothing lies:

- A backslash stands for a slash. Spaces at the ends count for nothing, `%20` stands for a space, and `1.0` for `1`.
- A name may be written in another Unicode form, or in other capitals, if that fits one file or folder alone.
- A name of no folder stands for the file of this name in the folders below, if there is one alone.
- A number stands for the file of that number whose zeros in front a spreadsheet took, if there is one alone.
- A name without the suffix of an image stands for the file with one, if there is one alone; a suffix that the caller gives is
  added to every name that has not got it, and nothing is guessed.
- What was found so is told in one line for each of these reasons.

Two names of one file, such as `a.png`, `./a.png`, `b/../a.png` and the absolute path, are one name: `identity`.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from kseq.arguments import is_url
from kseq.errors import tell
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.platforms.files import path_bytes
from kseq.sources.folder_tree import is_hidden
from kseq.sources.text import decode_name, describe_text
from kseq.sources.url_files import FileSizes

__all__ = ["NamedFiles", "look_for"]

_SUFFIXES = tuple(suffix.encode() for suffix in IMAGE_SUFFIXES)
# A name has one of these if two spellings of it are possible.
_SPECIAL = (b"//", b"/./", b"..", b"\0./", b"\0/")
_SHOWN = 3
_WITHOUT_FOLDER = "without their folder"
# Names of more files below are not kept in memory.
_MOST_BELOW = 1_000_000
# The longest path, in bytes, that a cell may have to be looked for.
_LONGEST = 1024
_DRIVE = re.compile(rb"[A-Za-z]:[/\\]")
# An id, as pandas writes it where one is missing.
_WHOLE_AS_FLOAT = re.compile(rb"\d+\.0")


class NamedFiles:
    """The files that the rows of a table name.

    Args:
        root: The folder or the URL that paths are relative to.
        sizes: Tells the sizes of files.
        suffix: Added to names that do not end with it; None to look for files.

    Attributes:
        found_otherwise: For each way in which names differ from files how many do.
    """

    def __init__(self, root: str, sizes: FileSizes, suffix: str | None) -> None:
        self._root = os.path.join(os.fsencode(root), b"")
        self._real_root = os.path.join(os.path.realpath(self._root), b"")
        self._is_local = not is_url(root)
        self._sizes = sizes
        self._suffix = None if suffix is None else os.fsencode(suffix)
        # Folder to the names in it, by what they have in common with other spellings; of names of images also without suffix.
        self._names: dict[bytes, dict[str, list[bytes]]] = {}
        self._folders: dict[bytes, bytes | None] = {}
        # The files in folders below, by what names have in common; None until a name is found nowhere else.
        self._below: dict[str, list[bytes]] | None = None
        self.found_otherwise: Counter[str] = Counter()
        # The first name of each way, and the file.
        self._examples: dict[str, tuple[bytes, bytes]] = {}

    def inspect_all(self, names: Sequence[bytes]) -> tuple[list[bytes], list[int], list[str | None]]:
        """The path of each file, its size, 0 if it is not known, and why it may not be read, or None.

        Args:
            names: Names of files; none is empty, or has a zero byte.
        """
        paths = list(names)
        if self._suffix is not None:
            end = self._suffix.lower()
            paths = [path if path.lower().endswith(end) else path + self._suffix for path in paths]
        sizes, rejections = self._sizes.inspect_all(paths)
        if self._is_local:
            for row, path in enumerate(paths):
                if not sizes[row] and rejections[row] is None and not is_url(path):
                    found, why = self._find(path)
                    if found is None:
                        rejections[row] = why
                    elif found != path:
                        paths[row] = found
                        sizes[row], rejections[row] = self._sizes.inspect(found)
        return paths, sizes, rejections

    def is_there(self, cell: Any, *, in_folders: bool) -> bool:
        """Whether a cell names a file, in whichever way that is found, also in the folders below or not; none is counted."""
        try:
            name = b"" if isinstance(cell, (list, dict)) else path_bytes(str(cell))
        except UnicodeEncodeError:
            # JSON may hold what no name of a file has.
            return False
        if not name or b"\0" in name or len(name) > _LONGEST or not self._is_local or is_url(name):
            return False
        counted, examples, below = Counter(self.found_otherwise), dict(self._examples), self._below
        # All folders are listed for a name that is found nowhere else.
        self._below = below if in_folders else {}
        path = name if self._suffix is None or name.lower().endswith(self._suffix.lower()) else name + self._suffix
        found, _ = self._find(path)
        self.found_otherwise, self._examples = counted, examples
        self._below = self._below if in_folders else below
        return found is not None and os.path.isfile(os.path.join(self._root, found))

    def _find(self, path: bytes) -> tuple[bytes | None, str | None]:
        """The path at which a file lies; or why there is none, if more is known of it than that."""
        if self._exists(path):
            return path, None
        reason = None
        for spelling, ways in _spellings(path):
            found, way, why = self._look(spelling)
            reason = reason or why
            if found is not None:
                for taken in dict.fromkeys([*ways, *([way] if way else [])]):
                    self.found_otherwise[taken] += 1
                    self._examples.setdefault(taken, (path, found))
                return found, None
        if reason is None:
            found, reason = self._look_below(path)
            if found is not None:
                self.found_otherwise[_WITHOUT_FOLDER] += 1
                self._examples.setdefault(_WITHOUT_FOLDER, (path, found))
                return found, None
        if reason is None:
            reason = self._describe_tail(path.replace(b"\\", b"/"))
        return None, reason

    def _look(self, path: bytes) -> tuple[bytes | None, str | None, str | None]:
        """The file that a path in one spelling stands for, in which way it differs, and why there is none."""
        if self._exists(path):
            return path, None, None
        folder, name = os.path.split(path)
        actual = self._find_folder(folder)
        if actual is None:
            return None, None, None
        matches, way = self._matches(actual, name)
        if len(matches) > 1:
            alternatives = " or ".join(describe_text(decode_name(match)) for match in matches[:_SHOWN])
            return None, None, f"is not there, is it {alternatives}?"
        if not matches:
            others = self._names_in(actual).get(f"/{_key(os.path.splitext(name)[0])}", []) if self._suffix is None else []
            other = f"is not there, but {describe_text(decode_name(others[0]))} is" if others else None
            return None, None, other
        ways = [way] if actual == folder else ["in another Unicode form or other capitals"]
        return os.path.join(actual, matches[0]), ways[0] or None, None

    def _exists(self, path: bytes) -> bool:
        return os.path.lexists(self._root + path) if not os.path.isabs(path) else os.path.lexists(path)

    def _find_folder(self, folder: bytes) -> bytes | None:
        """The folder that a name stands for; None if there is none, or more than one."""
        if folder not in self._folders:
            self._folders[folder] = None
            if not folder or self._exists(folder):
                self._folders[folder] = folder
            else:
                parent, name = os.path.split(folder)
                actual = self._find_folder(parent) if parent != folder else None
                matches = [] if actual is None else self._names_in(actual).get(_key(name), [])
                if len(matches) == 1 and actual is not None:
                    self._folders[folder] = os.path.join(actual, matches[0])
        return self._folders[folder]

    def _matches(self, folder: bytes, name: bytes) -> tuple[list[bytes], str]:
        """The files in a folder that a name may stand for, and in which way it differs from theirs."""
        names = self._names_in(folder)
        matches = names.get(_key(name), [])
        if matches:
            return matches, "in another Unicode form or other capitals"
        is_image = name.lower().endswith(_SUFFIXES)
        stem, suffix = os.path.splitext(name) if is_image else (name, b"")
        if stem.isdigit() and len(stem) <= _MOST_DIGITS:
            padded = [match for match in names.get(f"0/{int(stem)}", []) if match.lower().endswith(suffix.lower())]
            if padded and not names.get(f"/{_key(stem)}"):
                return padded, "without zeros in front"
        if is_image or self._suffix is not None:
            return [], ""
        with_suffix = names.get(f"/{_key(name)}", [])
        # Of names that differ in their capitals alone, the one that is written so.
        exact = [match for match in with_suffix if os.path.splitext(match)[0] == name]
        return exact or with_suffix, "without their suffix"

    def _names_in(self, folder: bytes) -> dict[str, list[bytes]]:
        if folder not in self._names:
            names: dict[str, list[bytes]] = {}
            try:
                listed = sorted(os.listdir(os.path.join(self._root, folder)))
            except OSError:
                listed = []
            for name in listed:
                names.setdefault(_key(name), []).append(name)
                stem, suffix = os.path.splitext(name)
                if suffix.lower() in _SUFFIXES:
                    names.setdefault(f"/{_key(stem)}", []).append(name)
                    if stem.startswith(b"0") and stem.isdigit() and len(stem) <= _MOST_DIGITS:
                        names.setdefault(f"0/{int(stem)}", []).append(name)
            self._names[folder] = names
        return self._names[folder]

    def _look_below(self, name: bytes) -> tuple[bytes | None, str | None]:
        """The file in a folder below that a name without folders stands for; or why it is not known which one."""
        if b"/" in name or b"\\" in name:
            return None, None
        if self._below is None:
            self._below = self._list_below()
        found = self._below.get(_key(name.strip()), [])
        if not found and self._suffix is None and not name.lower().endswith(_SUFFIXES):
            found = self._below.get(f"/{_key(name.strip())}", [])
        if len(found) > 1:
            alternatives = " or ".join(describe_text(decode_name(path)) for path in found[:_SHOWN])
            return None, f"is not there, is it {alternatives}?"
        return (found[0] if found else None), None

    def _list_below(self) -> dict[str, list[bytes]]:
        """The image files in folders below the root; none, if there are too many to keep."""
        below: dict[str, list[bytes]] = {}
        count = 0
        for folder, folders, files in os.walk(self._root):
            folders[:] = sorted(name for name in folders if not is_hidden(decode_name(name)))
            count += len(files)
            if count > _MOST_BELOW:
                return {}
            inner = os.path.relpath(folder, self._root)
            for name in sorted(files) if inner != b"." else ():
                stem, suffix = os.path.splitext(name)
                if suffix.lower() in _SUFFIXES and not name.startswith(b"."):
                    path = os.path.join(inner, name)
                    below.setdefault(_key(name), []).append(path)
                    below.setdefault(f"/{_key(stem)}", []).append(path)
        return below

    def _describe_tail(self, path: bytes) -> str | None:
        """Says which end of a path of another machine or of another folder is there."""
        parts = path.split(b"/")
        for start in range(1, len(parts)):
            tail = b"/".join(parts[start:])
            if tail and os.path.isfile(self._root + tail):
                cut = describe_text(decode_name(path[: len(path) - len(tail)]))
                return f"is not there, but {describe_text(decode_name(tail))} is: cut {cut} from the paths"
        return "is not there, with slashes for backslashes neither" if _DRIVE.match(path) else None

    def identity(self, names: Sequence[bytes]) -> list[bytes]:
        """For each name bytes that another name has only if it is of the same file; as far as names tell, not links."""
        joined = b"\0" + b"\0".join(names)
        if not self._is_local or not any(special in joined for special in _SPECIAL):
            return list(names)
        return [self._identity(name) if any(special in b"\0" + name for special in _SPECIAL) else name for name in names]

    def _identity(self, name: bytes) -> bytes:
        if is_url(name):
            return name
        if b".." in name or os.path.isabs(name):
            # Only the file system knows what `..` is after a link.
            folder, last = os.path.split(os.path.join(self._root, name))
            name = os.path.join(os.path.realpath(folder), last)
            return name[len(self._real_root) :] if name.startswith(self._real_root) else name
        return os.path.normpath(name)

    def tell(self, table: str) -> None:
        """Tell in one line for each way that names differ from files, how many do."""
        for way, count in self.found_otherwise.items():
            written, found = (describe_text(decode_name(path)) for path in self._examples[way])
            tell(f"{table}: {count} of its paths are written {way}, such as {written}: taken for {found}")


def _spellings(path: bytes) -> Iterator[tuple[bytes, list[str]]]:
    """What a path may mean, and in which ways that differs from it: the path itself first, if it has no backslashes."""
    plain, ways = path.replace(b"\\", b"/"), ["with backslashes"] if b"\\" in path else []
    yield plain, ways
    for other, way in (
        (plain.strip(), "with spaces at their ends"),
        (unquote_to_bytes(plain) if b"%" in plain else plain, "with %20 and the like"),
        (plain[:-2] if _WHOLE_AS_FLOAT.fullmatch(plain) else plain, "as numbers with .0"),
    ):
        if other and other != plain and b"\0" not in other:
            yield other, [*ways, way]


# Names of more digits are no numbers whose zeros a spreadsheet took.
_MOST_DIGITS = 18


def _key(name: bytes) -> str:
    """What different spellings of a name have in common."""
    return unicodedata.normalize("NFC", decode_name(name)).casefold()


# So many folders are looked into.
_MOST_FOLDERS = 1000


def look_for(root: str, name: str) -> str | None:
    """The folder below `root` to which the name of a file is relative; None if none is found soon."""
    wanted, last = name.replace("\\", "/").lstrip("./"), os.path.basename(name.replace("\\", "/"))
    for number, (folder, _, files) in enumerate(os.walk(root)):
        if number >= _MOST_FOLDERS:
            return None
        stems = {os.path.splitext(file)[0] for file in files if file.lower().endswith(IMAGE_SUFFIXES)}
        if last and (last in files or last in stems):
            path = os.path.join(folder, last)
            end = os.path.join(*wanted.split("/"))
            found = path[: -len(end) - 1] if path.endswith(os.sep + end) else folder
            return None if os.path.normpath(found) == os.path.normpath(root) else found
    return None
