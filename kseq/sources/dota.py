"""DOTA's text files of oriented boxes: one for each image, four corners and a class in each line.

The rules:

- The source is a folder with text files in folders called `labelTxt` (or `labelTxt-v1.0` and so on). The image of the same
  name, without its suffix, is in a folder beside `labelTxt`, or with the text. Images without a text have no objects, and
  are counted.
- A line is x1 y1 x2 y2 x3 y3 x4 y4 in pixels, a class and perhaps whether the object is difficult, which is not used. The
  corners are kept, with the upright box around them. Lines such as `imagesource:` and `gsd:` are passed over.
- A fault in a line rejects its image. A text without an image is rejected.
- Classes are sorted by name. A folder called `train`, `val` or `test` on the way is the split.

Source: the DOTA data set, "Annotation format".
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass

from kseq.arguments import counted
from kseq.errors import ImageError, SourceError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.annotated_images import AnnotatedImage, AnnotatedSource, FoundObject
from kseq.sources.assemble import CORNERS
from kseq.sources.folder_tree import Entry, FolderTree
from kseq.sources.listing import Listing
from kseq.sources.shape_outlines import outline_box
from kseq.sources.source_format import SourceFormat, SourceRequest
from kseq.sources.split_names import split_of_path
from kseq.sources.text import open_text

__all__ = ["DOTA", "DotaSource"]

_TEXT_FOLDER = re.compile(r"labeltxt.*", re.IGNORECASE)
_REMARK = re.compile(r"\s*(imagesource|gsd|acquisition ?dates)\s*:", re.IGNORECASE)


@dataclass(frozen=True)
class DotaSource(AnnotatedSource):
    """The images of such a folder, sorted by their paths."""

    @staticmethod
    def is_at(listing: Listing) -> bool:
        """Whether a folder holds such text files."""
        return any(map(_is_text, listing.ending(".txt")))

    @classmethod
    def open(cls, request: SourceRequest) -> DotaSource:
        """Open such a folder as a source.

        Raises:
            SourceError: If it is none, or holds no image that can be packed.
        """
        root = request.path
        if not os.path.isdir(root):
            raise SourceError(f"{root}: is {'a file' if os.path.exists(root) else 'not there'}, expected is a folder (dota)")
        tree = FolderTree(root, request.follow_links)
        entries = list(tree.files(tree.top))
        texts = [entry for entry in entries if _is_text(entry.path)]
        pictures = sorted((entry for entry in entries if entry.name.lower().endswith(IMAGE_SUFFIXES)), key=lambda e: e.path)
        if not texts:
            raise SourceError(f"{root}: holds no text file in a folder labelTxt, expected are those of DOTA beside the images")
        by_place: defaultdict[tuple[str, str], list[Entry]] = defaultdict(list)
        for text in texts:
            by_place[_place(text.path)].append(text)
        places = [_place(picture.path) for picture in pictures]
        images = [_read(root, picture.path, by_place.get(place, [])) for picture, place in zip(pictures, places, strict=True)]
        strangers = (text for place in sorted(by_place.keys() - set(places)) for text in by_place[place])
        images += [
            AnnotatedImage(text.path, rejection="is a text file of DOTA without an image of its name") for text in strangers
        ]
        num_without = sum(place not in by_place for place in places)
        num_shared = sum(place in by_place for place in places) - len(by_place.keys() & set(places))
        notes = []
        if num_shared:
            notes.append(
                f"{root}: {counted(num_shared, 'image shares', 'images share')} a text file with another image of the same name"
            )
        if num_without:
            notes.append(
                f"{root}: {num_without:,} of {len(pictures):,} images have no text file: they are packed without objects"
            )
        return cls.of(request, root, root, images, facts=Counter(), keypoints=CORNERS, notes=notes)


DOTA = SourceFormat("dota", DotaSource.open, is_folder=DotaSource.is_at, has_links=True, downloads=r"\.txt")


def _is_text(path: str) -> bool:
    folder = path.rpartition("/")[0].rpartition("/")[2]
    return path.lower().endswith(".txt") and _TEXT_FOLDER.fullmatch(folder) is not None


def _place(path: str) -> tuple[str, str]:
    """What a text file and its image have in common: the folder around their folders, and the name without its suffix."""
    folder, _, name = path.rpartition("/")
    around = folder if _TEXT_FOLDER.fullmatch(folder.rpartition("/")[2]) is None else folder.rpartition("/")[0]
    # Images lie in a folder of their own, or right beside the folder of the texts.
    inner = around.rpartition("/")[2].lower()
    return around.rpartition("/")[0] if inner in ("images", "image", "img", "imgs") else around, name.rpartition(".")[0]


def _read(root: str, path: str, texts: list[Entry]) -> AnnotatedImage:
    if len(texts) > 1:
        return AnnotatedImage(path, rejection=f"has two text files: {texts[0].path} and {texts[1].path}")
    try:
        objects = _objects(root, texts[0]) if texts else []
    except ImageError as error:
        return AnnotatedImage(path, rejection=str(error))
    return AnnotatedImage(path, objects, split=split_of_path(path))


def _objects(root: str, text: Entry) -> list[FoundObject]:
    """The objects of a text file.

    Raises:
        ImageError: If it cannot be read, or a line makes no sense.
    """
    if text.rejection is not None:
        raise ImageError(f"has a text file that {text.rejection}")
    try:
        with open_text(os.path.join(root, text.path)) as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeError) as error:
        raise ImageError(f"has a text file that cannot be read: {text.path}: {error}") from error
    numbered = enumerate(lines, 1)
    return [_object(line, f"{text.path}, line {at}") for at, line in numbered if line.strip() and not _REMARK.match(line)]


def _object(line: str, place: str) -> FoundObject:
    words = line.split()
    try:
        corners = [float(word) for word in words[:8]]
    except ValueError:
        corners = []
    if len(corners) != 8 or not all(map(math.isfinite, corners)) or len(words) not in (9, 10):
        raise ImageError(
            f"has a text file with a bad line: {place} is {line.strip()[:60]!r}, expected are x1 y1 x2 y2 x3 y3 x4 y4 in "
            "pixels, a class and perhaps 0 or 1"
        )
    box = outline_box(corners)
    assert box is not None
    return FoundObject(words[8], box, corners)
