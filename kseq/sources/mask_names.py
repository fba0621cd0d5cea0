"""What people call masks: the words in names of folders and files, and what all masks add to the names of their images.

The rules:

- A mask has the name of its image, without the suffix; or all masks add the same to that, before or behind it (`_mask`,
  `_labelIds`), where images may have a word of their own (`_leftImg8bit`). What is added has a letter: `1` and `001` are two
  names. Names are compared in the composed form of Unicode, and without their capitals only where that finds more.
- Of several forms one holds for all masks: one that does not say colours, objects or edges, then the one that most masks have,
  then the shortest. Of Cityscapes that is `_gtFine_labelIds`. Masks of another form that half as many have are other masks.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import NamedTuple

__all__ = [
    "AGAIN",
    "IMAGE_FOLDER",
    "MAP_FOLDER",
    "MASK_FOLDER",
    "MASK_NAME",
    "MASK_STEM",
    "OTHER_MASK",
    "Naming",
    "learn_naming",
    "numbers_in",
]

MASK_FOLDER = re.compile(
    r"(?<![a-z])(masks?|msks?|segmentation[^\W_]*|panoptic[^\W_]*|trimaps?|gt(fine|coarse)?|ground_?truth|annotations?|ann_?dir|labels?|"
    r"labeledapproved|instances?|silhouettes?)(?![a-z])|((?<![a-z])|(?<=train)|(?<=val)|(?<=test))annot(?![a-z])",
    re.IGNORECASE,
)
"""Words in the names of folders of masks."""

MAP_FOLDER = re.compile(r"(?<![a-z])(depths?(_?maps?)?|disparit(y|ies)|heat_?maps?)(?![a-z])", re.IGNORECASE)
"""Words in the names of folders of maps."""

MASK_NAME = re.compile(r"(?P<image>.*[^ _-])[ _-]+masks?", re.IGNORECASE | re.DOTALL)
"""The name of a mask that lies beside its image, without its suffix."""

IMAGE_FOLDER = re.compile(
    r"(?<![a-z])((jpe?g)?images?|imgs?|photos?|pictures?|frames?|inputs?|rgb|leftimg8bit|originals?|data|dir|full|raw)(?![a-z])",
    re.IGNORECASE,
)
"""Words in the names of folders of images."""

_MASK_WORD = r"(masks?|segmentation|seg|gt|ground_?truth|labels?|annotation|annot|trimap)"
MASK_STEM = re.compile(rf"{_MASK_WORD}[ _-].+|.+[ _.-]({_MASK_WORD}|lab|l)([ _-]?\(?\d+\)?)?", re.IGNORECASE | re.DOTALL)
"""The name of a file that is called like a mask, without its suffix."""

OTHER_MASK = re.compile(
    r"instance|object|colou?r|panoptic|polygon|edge|bound|border|contour|overlay|preview|visual|(?<![a-z])vis(?![a-z])",
    re.IGNORECASE,
)
"""What says that a mask does not hold the classes of pixels."""

# What the name of a second mask of an image ends in.
_ANOTHER = re.compile(r"[ _-]*\(?\d+\)?$")
# A word at an end of a name, with what sets it apart: `_leftImg8bit`, `img_`, `img` of `img1`.
_LAST_WORD = re.compile(r"[ _.-]+[^ _.-]*[^\W\d_][^ _.-]*$")
_FIRST_WORD = re.compile(r"[^ _.-]*[^\W\d_][^ _.-]*[ _.-]+|[^\W\d_]+(?=\d)")
_LETTER, _NUMBER = re.compile(r"[^\W\d_]"), re.compile(r"\d+", re.ASCII)
_MOST_DIGITS = 100
# What is added to names is learned from so many masks; it holds where it finds half as many pairs as any other does.
_LEARNED = 2000

AGAIN = -1
"""The form of one more mask of an image."""


class Naming(NamedTuple):
    """How the names of masks follow from those of their images, both without suffixes.

    Attributes:
        own: What images have before and behind what their masks have too.
        added: What masks have before and behind it.
        others: What other masks have in place of that.
        is_folded: Whether capitals count for nothing.
        num_pairs: How many of the masks that were looked at agree.
    """

    own: tuple[str, str] = ("", "")
    added: tuple[str, str] = ("", "")
    others: tuple[tuple[str, str], ...] = ()
    is_folded: bool = False
    num_pairs: int = 0

    def core(self, image: str) -> str:
        """What the name of an image has in common with that of its mask."""
        name = _key(image, self.is_folded)
        return _between(name, self.own) or name

    def read(self, mask: str, cores: Container[str]) -> tuple[str, int]:
        """What the name of a mask has in common with that of an image, and its form.

        Args:
            mask: The name.
            cores: What images have in common with their masks.

        Returns:
            One of the cores, `""` if it fits none; and 0 for a mask, a higher number for another one, `AGAIN` for one more.
        """
        name = _key(mask, self.is_folded)
        for form, added in enumerate((self.added, *self.others)):
            core = _between(name, added)
            if core in cores:
                return core, form
        core = _between(_ANOTHER.sub("", name), self.added) if any(self.added) else ""
        return (core, AGAIN) if core in cores else ("", 0)


def learn_naming(images: Sequence[str], masks: Sequence[str]) -> Naming:
    """How the names of some masks follow from those of images, as far as most say."""
    some = masks[:: len(masks) // _LEARNED + 1]
    namings = [_learn(images, some, own, is_folded=False) for own in _own_words(images, is_folded=False)]
    if max(naming.num_pairs for naming in namings) < len(some):
        namings += [_learn(images, some, own, is_folded=True) for own in _own_words(images, is_folded=True)]
    # The first of equal ones: the plainest.
    return max(namings, key=lambda naming: naming.num_pairs)


def numbers_in(name: str) -> tuple[int, ...]:
    """The numbers in a name, whatever zeros stand before them."""
    # Of more digits, Python makes no number.
    return tuple(int(number) for number in _NUMBER.findall(name) if len(number) < _MOST_DIGITS)


def _own_words(images: Sequence[str], *, is_folded: bool) -> Iterator[tuple[str, str]]:
    """What images may have before and behind what their masks have too: nothing, or a word that more than half have."""
    yield "", ""
    names = [_key(image, is_folded) for image in images[:: len(images) // _LEARNED + 1]]
    for pattern, is_first in ((_LAST_WORD, False), (_FIRST_WORD, True)):
        matches = [pattern.match(name) if is_first else pattern.search(name) for name in names]
        for word, count in Counter(match[0] for match in matches if match is not None).most_common(1):
            if 2 * count > len(names):
                yield (word, "") if is_first else ("", word)


def _learn(images: Sequence[str], masks: Sequence[str], own: tuple[str, str], *, is_folded: bool) -> Naming:
    """What masks add to the names of images that have something of their own."""
    naming = Naming(own, is_folded=is_folded)
    cores = set(map(naming.core, images))
    counts: Counter[tuple[str, str]] = Counter()
    for mask in masks:
        name = _key(mask, is_folded)
        for cut in range(1, len(name) + 1):
            if name[:cut] in cores and _may_be_added(name[cut:], name[cut - 1], is_behind=True):
                counts["", name[cut:]] += 1
            if name[cut:] in cores and _may_be_added(name[:cut], name[cut], is_behind=False):
                counts[name[:cut], ""] += 1
    most = max(counts.values(), default=0)
    likely = sorted((added for added, count in counts.items() if 2 * count >= most), key=lambda added: _order(added, counts))
    return naming._replace(added=likely[0], others=tuple(likely[1:]), num_pairs=most) if likely else naming


def _may_be_added(text: str, neighbour: str, *, is_behind: bool) -> bool:
    """Whether all masks may have a text in their names beside a sign: a part of a number is none."""
    nearest = text[:1] if is_behind else text[-1:]
    return not text or (_LETTER.search(text) is not None and not (nearest.isdigit() and neighbour.isdigit()))


def _order(added: tuple[str, str], counts: Mapping[tuple[str, str], int]) -> tuple[bool, int, int, tuple[str, str]]:
    text = "".join(added)
    return OTHER_MASK.search(text) is not None, -counts[added], len(text), added


def _key(stem: str, is_folded: bool) -> str:
    composed = unicodedata.normalize("NFC", stem)
    return composed.casefold() if is_folded else composed


def _between(name: str, ends: tuple[str, str]) -> str:
    """What stands between two ends of a name; empty if it has not got them."""
    before, behind = ends
    fits = name.startswith(before) and name.endswith(behind) and len(name) > len(before) + len(behind)
    return name[len(before) : len(name) - len(behind)] if fits else ""
