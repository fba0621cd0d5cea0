"""JSON files of boxes as annotation tools write them: one dialect for each tool, read from a folder or a file.

The rules, besides those of `kseq/sources/annotated_images.py`:

- Dialects: Apple's CreateML, BDD100K, Supervisely, V7's Darwin, SuperAnnotate, Datumaro, VoTT, FiftyOne's detections, and the
  manifests of AWS SageMaker (an object on each line). Of polygons, ellipses and masks the box around them is taken; points,
  lines and all that has no place in the image are left out, and counted.
- What has an outline becomes a mask if `Columns(mask=...)` asks for one, see `kseq/sources/object_masks.py`; all paths of a
  polygon of Darwin are filled.
- An image is found by its name among all images of the folder. Of several of one name, the one counts whose path has most in
  common with that of the JSON file, where `ann` and `annotations` stand for `img` and `images`; if none has most, it is
  rejected.
- Folders, or else the name of the JSON file, tell the split. Classes are sorted by name; CreateML's, BDD's and all others
  alike.
- JSON files of no dialect are not read; images that none names are not packed. A line counts each.

Source: the documentation of these tools, and files that they write.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from kseq.arguments import counted
from kseq.errors import ImageError, SourceError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.annotated_images import AnnotatedImage, AnnotatedSource, FoundObject, check_box, unused_outlines
from kseq.sources.file_sets import split_from_name
from kseq.sources.folder_tree import FolderTree
from kseq.sources.json_files import load_json
from kseq.sources.listing import Listing
from kseq.sources.object_masks import WHOLE_BOX
from kseq.sources.source_format import SourceFormat, SourceRequest
from kseq.sources.split_names import split_of_path
from kseq.sources.text import describe_bytes, open_text
from kseq.sources.tool_dialects import TOOL_DIALECTS, FoundImage, ToolDialect, find_tool_dialect

__all__ = ["TOOL_JSON"]

_FILE_NAMES = r"\.(json|manifest)"
# So many files in each of so many folders are opened to tell the tool.
_MOST_FOLDERS, _MOST_OPENED = 7, 3
_ROLES = {"ann": "img", "annotations": "images", "labels": "images", "annotation": "image"}


@dataclass(frozen=True)
class ToolJsonSource(AnnotatedSource):
    """The images that such files name, in the order of the files."""

    @classmethod
    def open(cls, request: SourceRequest) -> ToolJsonSource:
        """Open such a folder or file as a source.

        Raises:
            SourceError: If no file is of a dialect, or no image can be packed.
        """
        path = request.path
        folder = path if os.path.isdir(path) else os.path.dirname(path) or "."
        root = folder if request.image_root is None else request.image_root
        tree = FolderTree(folder, request.follow_links)
        files = list(tree.files(tree.top))
        images = _Images([entry.path for entry in _image_entries(root, folder, files, request.follow_links)])
        texts = [
            entry.path for entry in files if re.search(rf"{_FILE_NAMES}$", entry.name, re.IGNORECASE) and not entry.rejection
        ]
        if folder != path:
            texts = [os.path.basename(path)]
        found: list[AnnotatedImage] = []
        facts: Counter[str] = Counter()
        tools: Counter[str] = Counter()
        for text in texts:
            dialect = find_tool_dialect(os.path.join(folder, text))
            tools[dialect.name if dialect else ""] += 1
            if dialect is not None:
                found += _read(folder, text, dialect, images, facts)
        others = tools.pop("", 0)
        if not tools:
            raise SourceError(f"{path}: has no JSON file of {', '.join(known.name for known in TOOL_DIALECTS)}")
        notes = [f"{path}: its JSON files are taken for those of {', '.join(tools)}"]
        if others:
            notes.append(f"{path}: {others:,} other JSON files are not read")
        unnamed = len(images.paths) - len(images.paths & {image.path for image in found})
        if unnamed and folder == path:
            notes.append(f"{path}: {counted(unnamed, 'image is', 'images are')} named by no JSON file, and not packed")
        return cls.of(request, path, root, found, facts=facts, notes=[*notes, *unused_outlines(request, facts)])


def _image_entries(root: str, folder: str, files: Sequence[Any], follow_links: bool) -> list[Any]:
    if root != folder:
        tree = FolderTree(root, follow_links)
        files = list(tree.files(tree.top))
    return [entry for entry in files if entry.name.lower().endswith(IMAGE_SUFFIXES)]


def _is_folder(listing: Listing) -> bool:
    """Whether files of one dialect lie in a folder, or in those in it: a few of the first folders that have such files tell."""
    by_folder: dict[str, list[str]] = {}
    for name in listing.ending(".json", ".manifest"):
        by_folder.setdefault(name.rpartition("/")[0], []).append(name)
    some = [name for names in islice(by_folder.values(), _MOST_FOLDERS) for name in names[:_MOST_OPENED]]
    return any(find_tool_dialect(listing.full_path(name)) is not None for name in some)


TOOL_JSON = SourceFormat(
    "json",
    ToolJsonSource.open,
    (".json", ".manifest"),
    _FILE_NAMES,
    _is_folder,
    lambda path: find_tool_dialect(path) is not None,
    has_root=True,
    has_links=True,
    has_outlines=True,
    downloads=_FILE_NAMES,
)


class _Images:
    """The images of a folder by their names, with and without suffix."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = set(paths)
        self._by_name: dict[str, list[str]] = {}
        for path in paths:
            name = path.rpartition("/")[2]
            for key in {name, os.path.splitext(name)[0]}:
                self._by_name.setdefault(key, []).append(path)

    def find(self, name: str, text: str) -> str:
        """The path of an image that a JSON file names.

        Raises:
            ImageError: If there are several, and none is nearest to the file.
        """
        plain = name.replace("\\", "/")
        candidates = self._by_name.get(plain.rpartition("/")[2], [])
        if len(candidates) < 2:
            return candidates[0] if candidates else plain
        folders = [_ROLES.get(part.lower(), part) for part in text.split("/")[:-1]]
        wanted = [*folders, *plain.split("/")]
        ranked = sorted(candidates, key=lambda path: -_common(path.split("/"), wanted))
        best = [path for path in ranked if _common(path.split("/"), wanted) == _common(ranked[0].split("/"), wanted)]
        if len(best) > 1:
            raise ImageError(f"has the name of {len(best)} images, such as {best[0]} and {best[1]}")
        return best[0]


def _common(path: Sequence[str], wanted: Sequence[str]) -> int:
    return len(set(path) & set(wanted))


def _read(folder: str, text: str, dialect: ToolDialect, images: _Images, facts: Counter[str]) -> Iterator[AnnotatedImage]:
    file = os.path.join(folder, text)
    try:
        contents = _lines(file) if dialect.has_lines else [load_json(file)]
    except OSError as error:
        yield AnnotatedImage(text, rejection=f"cannot be read: {error.strerror}")
        return
    except UnicodeError as error:
        yield AnnotatedImage(text, rejection=describe_bytes(error))
        return
    except (ImageError, SourceError) as error:
        yield AnnotatedImage(text, rejection=str(error).removeprefix(f"{file}: "))
        return
    # A fault concerns its entry alone, where there are entries.
    parts = [part for content in contents for part in _parts(content, dialect)]
    for number, (entry, part) in enumerate(parts, 1):
        try:
            found = list(dialect.read(part, text))
        except (ImageError, KeyError, TypeError, ValueError, OverflowError, AttributeError, IndexError) as error:
            where = f"entry {number}" if len(parts) > 1 else "it"
            reason, path = f"{where} makes no sense to {dialect.name}: {error}", _named(entry, images, text)
            if path is None:
                yield AnnotatedImage(f"{text} ({number})" if len(parts) > 1 else text, rejection=reason)
            else:
                yield AnnotatedImage(path, rejection=f"{text}: {reason}")
            continue
        yield from (_annotated(entry, text, images, facts) for entry in found)


def _parts(content: Any, dialect: ToolDialect) -> Iterator[tuple[Any, Any]]:
    """The entries of a file, each with what a file would hold that has it alone; the whole, if it has no entries."""
    if dialect.has_lines:
        yield content, [content]
    elif isinstance(content, list) and dialect.is_list:
        yield from ((entry, [entry]) for entry in content)
    elif isinstance(content, dict) and isinstance(listed := content.get(dialect.entries), (list, dict)):
        pairs = listed.items() if isinstance(listed, dict) else enumerate(listed)
        for key, entry in pairs:
            yield (
                entry if isinstance(entry, dict) else {"name": key},
                {**content, dialect.entries: {key: entry} if isinstance(listed, dict) else [entry]},
            )
    else:
        yield content, content


def _named(entry: Any, images: _Images, text: str) -> str | None:
    """The image that an entry that makes no sense is of."""
    described = entry if isinstance(entry, dict) else {}
    inner = [described[key] for key in ("asset", "image") if isinstance(described.get(key), dict)]
    keys = ("image", "imagefilename", "name", "source-ref", "path", "id")
    names = [found[key] for found in (*inner, described) for key in keys if isinstance(found.get(key), str)]
    try:
        return images.find(names[0], text) if names else None
    except ImageError:
        return None


def _lines(file: str) -> list[Any]:
    with open_text(file) as opened:
        entries = []
        for line in opened:
            try:
                entries += [json.loads(line)] if line.strip() else []
            except (ValueError, RecursionError):
                entries.append(line.strip()[:40])
    return entries


def _annotated(found: FoundImage, text: str, images: _Images, facts: Counter[str]) -> AnnotatedImage:
    try:
        path = images.find(found.name, text)
        objects = []
        for name, sides, outline in found.objects:
            if sides is None:
                facts["other_shape"] += 1
            else:
                facts["outline"] += outline is not None and outline is not WHOLE_BOX
                objects.append(FoundObject(name.strip(), check_box(sides, "a box"), outline=outline))
    except ImageError as error:
        return AnnotatedImage(found.name, rejection=f"{text}: {error}")
    split = split_of_path(path) or split_of_path(text) or split_from_name(text.rpartition("/")[2])
    return AnnotatedImage(path, objects, found.size, split, in_shares=found.in_shares)
