"""Which text file goes with which image of a YOLO data set, in all its layouts.

The rules:

- A text file goes with the images of the same name without suffix (`a.txt` or `a.jpg.txt` with `a.jpg`) in the same folder,
  or in the folder whose path is the same but for the words `images` and `labels` (also `imgs`, `JPEGImages`, `photos`,
  `frames`, `lbls`, `annotations`, `annos`, `ann`, `txt`, `bboxes`, with `yolo` before or after them; upper or lower case):
  `images/train/a.jpg` and `labels/train/a.txt`, `train/images` and `train/labels`, `obj_train_data/a.jpg` and
  `obj_train_data/a.txt`, `train_images` and `train_labels`. Names in two forms of Unicode are equal.
- What is left on both sides goes together where these words are left out, or upper case counts as lower case, if one image
  alone and one text file alone have such a name: `train/a.jpg` and `labels/train/A.txt`.
- Of several text files for an image, that below `labels` counts, and the others are rejected.
- Where there are folders called `images`, other images are no samples, unless a text file lies beside them: they are rejected.
- A text file that no image goes with is rejected if it lies below `labels`, or if it looks like one of YOLO's; other texts,
  such as `classes.txt`, are ignored.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.folder_tree import Entry

__all__ = ["Pair", "has_image_role", "has_label_role", "is_plain_text", "pair_files"]

_IMAGE_WORDS = r"(?:yolo[_-]?)?(?:jpegimages|images?|imgs?|photos?|pics?|pictures?|frames?)(?:[_-]?yolo)?"
_LABEL_WORDS = (
    r"(?:(?:yolo|darknet|txt)[_-]?)?(?:labels?|lbls?|annotations?|annots?|annos?|anns?|txts?|b(?:ounding[_-]?)?box(?:es)?)"
    r"(?:[_-]?(?:yolo|darknet|txts?))?"
)
_IMAGES = re.compile(rf"(?<![a-z])({_IMAGE_WORDS})(?![a-z])", re.IGNORECASE)
_LABELS = re.compile(rf"(?<![a-z])({_LABEL_WORDS})(?![a-z])", re.IGNORECASE)
_ROLES = re.compile(rf"(?<![a-z])({_IMAGE_WORDS}|{_LABEL_WORDS})(?![a-z])", re.IGNORECASE)

# Texts that tools put beside label files.
_PLAIN = re.compile(
    r"(classes|predefined_classes|obj\.names|train|val|valid|test|notes|(readme|license|requirements)[^/]*)\.txt"
)


@dataclass
class Pair:
    """An image file with its text file; or a file that is rejected.

    Attributes:
        image: The image file, or the file that is rejected.
        text: The text file; None if there is none.
        rejection: Why the file cannot be packed.
    """

    image: Entry
    text: Entry | None = None
    rejection: str | None = None


def pair_files(files: Iterable[Entry], is_box_text: Callable[[Entry], bool]) -> list[Pair]:
    """Find the text file of each image.

    Args:
        files: All files of the data set.
        is_box_text: Tells whether a text file looks like one of YOLO's.
    """
    images: list[Pair] = []
    texts: list[Entry] = []
    rejected: list[Pair] = []
    for entry in files:
        name = entry.name.lower()
        if name.endswith(IMAGE_SUFFIXES):
            images.append(Pair(entry, rejection=entry.rejection))
        elif name.endswith(".txt"):
            texts.append(entry)
        elif entry.rejection is not None:
            rejected.append(Pair(entry, rejection=entry.rejection))
    used = _pair(images, texts, _key)
    left = [text for text in texts if text.path not in used]
    used |= _pair_alone([pair for pair in images if pair.text is None], left)
    _reject_strays(images)
    rejected += _unused(images, [text for text in left if text.path not in used], is_box_text)
    return images + rejected


def has_image_role(folder: str) -> bool:
    """Whether a part of the path of a folder says that images lie in it."""
    return _IMAGES.search(folder) is not None


def has_label_role(folder: str) -> bool:
    """Whether a part of the path of a folder says that text files with boxes lie in it."""
    return _LABELS.search(folder) is not None


def is_plain_text(name: str) -> bool:
    """Whether a text file has a name of which it is known that it holds no boxes."""
    return _PLAIN.fullmatch(name.lower()) is not None


def _pair(images: Sequence[Pair], texts: Sequence[Entry], key: Callable[[str], str]) -> set[str]:
    """Give images their text files; returns the paths of these."""
    by_key: dict[str, list[Entry]] = {}
    for text in texts:
        by_key.setdefault(key(text.path), []).append(text)
    used = set()
    for pair in images:
        path = pair.image.path
        found = by_key.get(key(path)) or by_key.get(key(f"{path}.txt"))
        if found:
            pair.text = found[0] if len(found) == 1 else min(found, key=lambda text: _preference(text, path))
            used.add(pair.text.path)
    return used


def _preference(text: Entry, image: str) -> tuple[bool, bool, bytes]:
    is_same_name = text.name.rpartition(".")[0] == image.rpartition("/")[2].rpartition(".")[0]
    return not has_label_role(text.path.rpartition("/")[0]), not is_same_name, text.path.encode(errors="surrogateescape")


def _pair_alone(images: Sequence[Pair], texts: Sequence[Entry]) -> set[str]:
    """Give images text files of a similar name, where one image alone and one text alone have it."""
    by_key: dict[str, tuple[list[Pair], list[Entry]]] = {}
    for pair in images:
        by_key.setdefault(_loose_key(pair.image.path), ([], []))[0].append(pair)
    for text in texts:
        if (similar := by_key.get(_loose_key(text.path))) is not None:
            similar[1].append(text)
    used = set()
    for pairs, found in by_key.values():
        if len(pairs) == 1 and len(found) == 1:
            pairs[0].text = found[0]
            used.add(found[0].path)
    return used


def _reject_strays(images: Sequence[Pair]) -> None:
    """Reject images outside of the folders of images, where there are such folders."""
    if not any(has_image_role(pair.image.path.rpartition("/")[0]) for pair in images):
        return
    for pair in images:
        folder = pair.image.path.rpartition("/")[0]
        beside = pair.text is not None and pair.text.path.rpartition("/")[0] == folder and not has_label_role(folder)
        if not (pair.rejection or beside or has_image_role(folder)):
            pair.text, pair.rejection = None, "lies in no folder of images, and no text file lies beside it"


def _unused(images: Sequence[Pair], texts: Sequence[Entry], is_box_text: Callable[[Entry], bool]) -> list[Pair]:
    """Text files that no image has, rejected; without those that are no label files."""
    owners = {_key(pair.text.path): pair.image.path for pair in images if pair.text is not None}
    unused = []
    for text in texts:
        if text.rejection is not None:
            unused.append(Pair(text, rejection=text.rejection))
        elif (owner := owners.get(_key(text.path))) is not None:
            unused.append(Pair(text, rejection=f"another text file goes with the image: {owner}"))
        elif is_box_text(text) or (has_label_role(text.path.rpartition("/")[0]) and not is_plain_text(text.name)):
            unused.append(Pair(text, rejection="no image goes with it"))
    return unused


@lru_cache(maxsize=1024)
def _folder_key(folder: str) -> str:
    """A folder's path with a sign in place of the words for images and for labels."""
    return unicodedata.normalize("NFC", _ROLES.sub("*", folder))


def _key(path: str) -> str:
    folder, _, name = path.rpartition("/")
    stem = name.rpartition(".")[0]
    return f"{_folder_key(folder)}/{stem if stem.isascii() else unicodedata.normalize('NFC', stem)}"


def _loose_key(path: str) -> str:
    """The same in lower case, without these words."""
    return re.sub(r"[*/]+", "/", f"/{_key(path)}").casefold()
