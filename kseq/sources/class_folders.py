"""Which folders of a tree are splits and which are classes, on a disk or in an archive.

The rules:

- If all images lie in one folder that holds folders and no image (`photos/CLASS/IMAGE`, as `zip -r photos.zip photos` makes
  it), that folder counts as the top, whichever other files lie beside it. Not if it is called like a split, or as one of the
  class names that were given. A note says so.
- Folders that are called like splits, see `kseq/sources/split_names.py`, are splits if class folders lie in them. Folders whose
  names have a split among other words (`seg_train`, `seg_test`) are splits if there are at least two, and one means train.
  Other folders beside splits are an error. A split that lies in a folder of its own name once more counts once, and
  so does one around a lone folder that is called like no class (`train/images/CLASS`).
- Where every class folder holds folders that are called like splits, one of them train, and no image beside them
  (`CLASS/train/IMAGE`), these are the splits.
- Every folder in a split, or in the top, is a class. What its name says is in `folder_class_name`: a name that is not UTF-8 is
  read by the encoding of all texts, else its bytes are written `\\xe9`; a note says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from kseq.arguments import counted, spelled, spelled_call
from kseq.errors import SourceError
from kseq.images.number_files import ARRAY_SUFFIXES
from kseq.sources.class_names import folder_class_name, is_no_class_name, sort_class_names
from kseq.sources.folder_notes import are_splits, describe_inner_folders, describe_split_words, folders_in_folders
from kseq.sources.folder_tree import Entry, Tree, is_named_like_image
from kseq.sources.path_labels import propose_label_pattern
from kseq.sources.split_names import folder_split, loose_folder_split
from kseq.sources.text import describe_text, is_well_encoded
from kseq.storage.layout import INDEX_NAME
from kseq.storage.rejected import with_remedy

__all__ = ["ClassFolders", "find_class_folders"]

# How many names a message shows.
_SHOWN = 5

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")

_PACKED_ARRAYS = (".npz", ".h5", ".hdf5")
_ARRAY_OF_IMAGES = re.compile(r"((train|test|val)_?)?(x|images?|data)(_?(train|test|val))?\.npy", re.IGNORECASE)

# Folders of images of nothing, in Caltech101 and Caltech256.
_CLUTTER = frozenset({"BACKGROUND_Google", "257.clutter"})


@dataclass(frozen=True)
class ClassFolders:
    """The folders of a tree that are splits and classes.

    Attributes:
        splits: The folders that hold classes, each with its split; the top, with None, if the tree has no splits.
        outside: The folders around these.
        class_names: The classes, in the order of their numbers; empty if images have none.
        notes: What the caller should know of what was guessed.
        has_inner_splits: Whether the splits lie in the classes.
    """

    splits: tuple[tuple[str | None, Entry], ...]
    outside: tuple[Entry, ...] = ()
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    has_inner_splits: bool = False
    _places: dict[str, tuple[str | None, str | None]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def place(self, folder: str) -> tuple[str | None, str | None]:
        """The split and the class that the path of a folder tells; None for none."""
        if folder not in self._places:
            self._places[folder] = self._find_place(folder)
        return self._places[folder]

    def _find_place(self, folder: str) -> tuple[str | None, str | None]:
        for split, entry in self.splits:
            parts, around = folder.split("/"), entry.path.split("/") if entry.path else []
            if parts[: len(around)] == around:
                inner = parts[len(around) :]
                if self.has_inner_splits and len(inner) > 1:
                    split = folder_split(inner[1])
                return split, folder_class_name(inner[0]) if inner and parts[-1] else None
        return None, None


def find_class_folders(tree: Tree, class_names: Sequence[str] | None = None, *, has_classes: bool = True) -> ClassFolders:
    """Find the folders that are splits and classes.

    Args:
        tree: The tree.
        class_names: All classes that are wanted, in the order of their numbers; None for all that there are.
        has_classes: Whether images have classes.

    Raises:
        SourceError: If there is no class folder, or splits and other folders lie beside each other.
    """
    given = None if class_names is None else [folder_class_name(name) for name in class_names]
    levels = list(_enter_wrapping_folders(tree, given or ()))
    top = levels.pop()
    splits = _find_splits(tree, top, has_classes=has_classes)
    outside = (*levels, *((top,) if splits else ()))
    folders = tuple(splits) or ((None, top),)
    notes = (f"{top.path}: counts as the top, since all images lie in it{_unused(tree, levels)}",) if levels else ()
    if not has_classes:
        return ClassFolders(folders, outside, (), notes)
    names = [entry.name for _, folder in folders for entry in tree.folders(folder)]
    found = set(map(folder_class_name, names))
    # Of several splits the first stands for all.
    inner = folders_in_folders(tree, tree.folders(folders[0][1]))
    has_inner_splits = not splits and given is None and are_splits(inner)
    notes = (*notes, *_odd_names(tree, names), *_clutter(found))
    if not has_inner_splits:
        notes = (*notes, *describe_inner_folders(tree.root, inner), *(() if splits else describe_split_words(tree.root, found)))
    if not found:
        raise SourceError(
            f"{tree.root}: holds no class folder{_other_contents(tree)}, expected is {tree.root}/CLASS/IMAGE or "
            f"{tree.root}/train/CLASS/IMAGE"
        )
    notes = (*notes, *_classes_like_splits(tree, splits))
    class_order = _order_classes(tree.root, sort_class_names(found), given)
    return ClassFolders(folders, outside, class_order, notes, has_inner_splits)


def _unused(tree: Tree, levels: Sequence[Entry]) -> str:
    """Which folders beside the top are not used."""
    names = [entry.name for level in levels for entry in tree.folders(level) if _holds_annotations(tree, entry)]
    return f"; {', '.join(names)} beside it {'holds' if len(names) == 1 else 'hold'} no image, and is not used" if names else ""


def _classes_like_splits(tree: Tree, splits: Iterable[tuple[str | None, Entry]]) -> Iterator[str]:
    """What to say of a class that is called like the split that it lies in: images without classes, most likely."""
    for split, folder in splits:
        for entry in tree.folders(folder):
            if split is not None and loose_folder_split(entry.name) == split:
                left_out = spelled("without_class", [entry.name])
                yield f"{entry.path} is packed as a class, and is called like its split: {left_out} leaves it out"


def _clutter(class_names: Iterable[str]) -> Iterator[str]:
    """What to say of folders that are no class of their collection."""
    for name in sorted(_CLUTTER.intersection(class_names)):
        yield f"{name} is packed as a class, and is none of its collection: {spelled('without_class', [name])} leaves it out"


def _odd_names(tree: Tree, names: Iterable[str]) -> Iterator[str]:
    """What to say of class folders whose names are not UTF-8."""
    odd = sorted({name for name in names if not is_well_encoded(name) and "\\x" in folder_class_name(name)})
    if odd:
        yield (
            f"{tree.root}: {counted(len(odd), 'class folder has a name that is', 'class folders have names that are')} not "
            f"UTF-8, such as {describe_text(odd[0])}, whose class "
            f"is called {folder_class_name(odd[0])} ({spelled('text_encoding')} says how names are encoded)"
        )


def _lone_folder(tree: Tree, folder: Entry) -> Entry | None:
    """The folder in which all images of a folder lie, if it holds folders and no image itself."""
    entries = tree.entries(folder)
    folders = [entry for entry in entries if entry.is_folder]
    if len(folders) > 1:
        folders = [entry for entry in folders if not _holds_annotations(tree, entry)]
    if len(folders) != 1 or any(map(is_named_like_image, entries)):
        return None
    inner = tree.entries(folders[0])
    has_folder = any(entry.is_folder for entry in inner)
    return folders[0] if has_folder and not any(map(is_named_like_image, inner)) else None


def _holds_annotations(tree: Tree, folder: Entry) -> bool:
    """Whether a folder is called like no class, holds something, and no image: annotations beside the folder of images."""
    if not is_no_class_name(folder.name) or not tree.entries(folder):
        return False
    return not any(map(is_named_like_image, tree.files(folder)))


def _enter_wrapping_folders(tree: Tree, class_names: Sequence[str]) -> Iterator[Entry]:
    """The outermost folder, then the folder that it wraps, and so on to the innermost."""
    folder: Entry | None = tree.top
    while folder is not None:
        yield folder
        folder = _lone_folder(tree, folder)
        if folder is not None and (folder_split(folder.name) or folder_class_name(folder.name) in class_names):
            return


def _find_splits(tree: Tree, top: Entry, *, has_classes: bool) -> list[tuple[str | None, Entry]]:
    """The split folders in the top, each with its split; empty if its folders are classes.

    A class may be called `train` too (beside `bus`): a folder is a split if class folders lie in it.
    """
    folders = tree.folders(top)
    named = _named_splits(tree, folders)
    if not named:
        return []
    names = ", ".join(folder.name for folder, _ in named)
    with_classes = [folder for folder, _ in named if not has_classes or tree.folders(folder)]
    is_split = {folder.name for folder, _ in named}
    others = [folder.name for folder in folders if folder.name not in is_split]
    if others and not with_classes:
        return []
    if others:
        raise SourceError(
            f"{tree.root}: holds split folders ({names}) beside others ({', '.join(others[:_SHOWN])}): "
            "expected are splits only or classes only: call the others train, val or test if they are that, else move them away"
        )
    if not with_classes:
        # What is to be predicted has no labels.
        labelled = [folder for folder, split in named if split == "train"] or [folder for folder, _ in named]
        names_of_images = (entry.name for folder in labelled for entry in tree.entries(folder))
        told = propose_label_pattern(names_of_images) or "a table with image,label those whose names say them"
        raise SourceError(
            f"{os.path.join(tree.root, named[0][0].path)}: holds no class folder, expected is {tree.root}/train/CLASS/IMAGE; "
            f"{spelled('columns.label', '')} packs images without classes, {told}"
        )
    if len({split for _, split in named}) < len(named):
        raise SourceError(f"{tree.root}: two of its folders mean the same split: {names}: make one of them, or move one away")
    return [(split, _unwrap_split(tree, folder, split)) for folder, split in named]


def _named_splits(tree: Tree, folders: Sequence[Entry]) -> list[tuple[Entry, str]]:
    """The folders that are called like splits, each with its split."""
    named = [(folder, split) for folder in folders if (split := folder_split(folder.name)) is not None]
    loose = [(folder, split) for folder in folders if (split := loose_folder_split(folder.name)) is not None]
    splits = {split for _, split in loose}
    is_meant = len(splits) > 1 and "train" in splits and all(tree.folders(folder) for folder, _ in loose)
    return loose if is_meant else named


def _unwrap_split(tree: Tree, folder: Entry, split: str) -> Entry:
    """The folder in a split that holds its classes: the split, or a lone one in it that is called like it or like no class."""
    inner = _lone_folder(tree, folder)
    while inner is not None and (loose_folder_split(inner.name) == split or is_no_class_name(inner.name)):
        folder, inner = inner, _lone_folder(tree, inner)
    return folder


def _order_classes(root: str, found: list[str], class_names: Sequence[str] | None) -> tuple[str, ...]:
    """The classes: those that were found, or those of them that are wanted."""
    if class_names is None:
        return tuple(found)
    if len(set(class_names)) < len(class_names) or not set(found).issuperset(class_names):
        given, actual = ", ".join(class_names), ", ".join(found)
        raise SourceError(
            f"{root}: {spelled('class_names')} are {given}, allowed are some or all of the class folders: {actual}"
        )
    return tuple(class_names)


def _other_contents(tree: Tree) -> str:
    """What lies in a root that has no class folder."""
    entries = tree.entries(tree.top)
    if any(entry.name == INDEX_NAME for entry in entries):
        return (
            f" (but a dataset: {spelled_call('export')} writes its images as files, {spelled_call('merge')} makes one dataset "
            "of several)"
        )
    rejected = next((entry for entry in entries if entry.rejection is not None), None)
    if rejected is not None:
        return f" (but {rejected.path}: {with_remedy(rejected.rejection or '')})"
    archives = [entry.name for entry in entries if entry.name.lower().endswith(_ARCHIVES)]
    if archives:
        return f" (but {counted(len(archives), 'archive', 'archives')}, such as {archives[0]}: unpack them in place first)"
    arrays = [entry.path for entry in entries if entry.name.lower().endswith(ARRAY_SUFFIXES)]
    if arrays and len(arrays) == sum(map(is_named_like_image, entries)):
        images = next((array for array in arrays if _ARRAY_OF_IMAGES.fullmatch(array)), None)
        call = (
            f"{spelled_call('pack', os.path.join(tree.root, images), 'DATASET')} packs them"
            if images
            else ("kseq.pack((images, labels), ...) packs two arrays")
        )
        return f" (but {counted(len(arrays), 'array', 'arrays')}: {call})"
    packed = [entry.path for entry in entries if entry.name.lower().endswith(_PACKED_ARRAYS)]
    if packed:
        call = spelled_call("pack", os.path.join(tree.root, packed[0]), "DATASET")
        return (
            f" (but {counted(len(packed), 'file of arrays', 'files of arrays')}: {call} packs one, with "
            f"{spelled('columns.label', '')} if it has images alone; of images and labels in two files, "
            "kseq.pack((images, labels), ...) takes the arrays)"
        )
    num_images = sum(map(is_named_like_image, entries))
    if not num_images:
        return ""
    named = propose_label_pattern(entry.name for entry in entries) or "a table with image,label those whose names say the class"
    return f" (but {num_images} images: {spelled('columns.label', '')} packs images without classes, {named})"
