"""The class names and the splits that the files of a YOLO data set name: `data.yaml`, `obj.data` and lists.

The rules:

- Class names come from `data.yaml`, or from another `.yaml` that has `names`, the outermost first: a list, or a mapping from
  class numbers. Else from the `names` of Darknet's `obj.data`, from a `.names` or `.labels` file, or from `classes.txt`: a name
  a line.
- `train`, `val` (`valid`, `validation`) and `test` in the YAML file, else in `obj.data`, name folders of images, or text files
  that list images. Of such a path that part counts which is there: files written on another machine name its folders
  (`/content/data/train/images`, `../train/images`).
- Where neither names any, `train.txt`, `val.txt` and `test.txt` (also `autosplit_train.txt`) do that list images which are
  there, and a line says so.
- An image belongs to the innermost folder that is named. If it is in two splits, the first counts: train, val, test.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from kseq.arguments import spelled
from kseq.errors import ArgumentError, SourceError, one_line
from kseq.sources.point_names import mirror_order
from kseq.sources.split_names import SPLITS
from kseq.sources.yolo_pairs import has_label_role

__all__ = ["TextFiles", "YoloConfig", "YoloSplits", "find_splits", "read_config"]

_SHOWN = 5

_LIST = re.compile(r"(?:autosplit_)?(train|valid|validation|val|test)\.txt")


class TextFiles(Protocol):
    """The files of a data set, in a folder or in an archive."""

    @property
    def paths(self) -> Iterable[str]:
        """The paths of all files, with `/` between folders."""
        ...

    def shown(self, path: str) -> str:
        """What messages call a file."""
        ...

    def text(self, path: str) -> str:
        """The text of a file. Raises SourceError if it cannot be read."""
        ...


@dataclass(frozen=True)
class YoloConfig:
    """What the files beside the images say.

    Attributes:
        file: The file with the class names, for messages; empty if no file has them.
        folder: The folder of the file that names the splits.
        class_names: The class names; None if no file has them.
        splits: Split to the paths that the file names.
        path: The folder that these paths are relative to, by `path` in the YAML file.
        keypoint_shape: Keypoints for each object, and numbers for each of them, by `kpt_shape`.
        mirror_order: Which keypoint takes the place of each in a mirrored image, by `flip_idx`, or by names in `kpt_names`;
            empty where the file does not say.
        notes: What is to be told.
    """

    file: str = ""
    folder: str = ""
    class_names: tuple[str, ...] | None = None
    splits: tuple[tuple[str, tuple[str, ...]], ...] = ()
    path: str = ""
    keypoint_shape: tuple[int, int] | None = None
    mirror_order: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def read_config(files: TextFiles) -> YoloConfig:
    """Read the files that name classes and splits.

    Raises:
        SourceError: If one of them cannot be read, or makes no sense.
    """
    by_depth = sorted(files.paths, key=lambda path: (path.count("/"), path.rpartition("/")[2].lower() != "data.yaml", path))
    found, unreadable = _yaml_files(files, by_depth)
    if found:
        path, content = found[0]
        config = _from_yaml(files, path, content, [other for other, _ in found[1:] if other.count("/") == path.count("/")])
    else:
        broken = next((error for path, error in unreadable.items() if path.rpartition("/")[2].lower() == "data.yaml"), None)
        if broken is not None:
            raise broken
        config = _from_darknet(files, by_depth)
    return replace(config, notes=(*config.notes, *(f"{error}: not used" for error in unreadable.values())))


def _yaml_files(files: TextFiles, paths: Sequence[str]) -> tuple[list[tuple[str, Mapping[str, Any]]], dict[str, SourceError]]:
    """The YAML files that name classes, and why others cannot be read: files of other programs may lie there too."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    unreadable: dict[str, SourceError] = {}
    for path in (path for path in paths if path.lower().endswith((".yaml", ".yml"))):
        try:
            documents = _load_yaml(files, path)
        except SourceError as error:
            unreadable[path] = error
            continue
        found += [(path, content) for content in documents if isinstance(content, dict) and "names" in content][:1]
    return found, unreadable


def _load_yaml(files: TextFiles, path: str) -> list[Any]:
    """The documents of a YAML file.

    Raises:
        SourceError: If it cannot be read.
        ArgumentError: If PyYAML is missing.
    """
    try:
        import yaml
    except ImportError as error:
        raise ArgumentError(
            f"{files.shown(path)}: reading it needs PyYAML: pip install 'kseq[yolo]' "
            f"(or take the file away, and give the names: {spelled('class_names')})"
        ) from error
    try:
        # All scalars stay text: a class may be called no, null or 1.0.
        return list(yaml.load_all(files.text(path), Loader=yaml.BaseLoader))  # it makes texts, lists and dicts only
    except SourceError:
        raise
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise SourceError(f"{files.shown(path)}: cannot be read: {one_line(error)}") from error


def _from_yaml(files: TextFiles, path: str, content: Mapping[Any, Any], others: Sequence[str]) -> YoloConfig:
    shown = files.shown(path)
    names = _names_in_yaml(shown, content["names"])
    notes = [f"{shown} names the classes, {', '.join(map(files.shown, others[:_SHOWN]))} not used"] if others else []
    count = content.get("nc")
    if isinstance(count, str) and count and count != str(len(names)):
        notes.append(f"{shown} has nc {count} and {len(names)} names: the names count")
    splits: dict[str, tuple[str, ...]] = {}
    for key, split in SPLITS.items():
        value = content.get(key)
        paths = tuple(str(entry) for entry in (value if isinstance(value, list) else [value]) if entry and entry != "null")
        if value is not None and paths:
            splits[split] = splits.get(split, ()) + paths
    root, keypoint_shape = content.get("path"), _keypoint_shape(shown, content.get("kpt_shape"))
    return YoloConfig(
        shown,
        path.rpartition("/")[0],
        names or None,
        tuple(splits.items()),
        root if isinstance(root, str) else "",
        keypoint_shape,
        _mirror_order(shown, content, keypoint_shape[0]) if keypoint_shape else (),
        tuple(notes),
    )


def _names_in_yaml(shown: str, names: Any) -> tuple[str, ...]:
    """The class names, a list or a mapping from class numbers."""
    if isinstance(names, dict):
        keys = [str(key) for key in names]
        numbers = {int(key): value for key, value in zip(keys, names.values(), strict=True) if key.isascii() and key.isdigit()}
        if len(numbers) < len(keys) or set(numbers) != set(range(len(keys))):
            raise SourceError(f"{shown}: names are numbered {', '.join(sorted(keys)[:20])}, expected are 0, 1, 2 and so on")
        names = [numbers[number] for number in range(len(numbers))]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        found = f"{names!r}"[:60]
        raise SourceError(f"{shown}: names are {found}, expected is a list of names, or a mapping from class numbers to names")
    return _different(shown, names)


def _different(shown: str, names: Sequence[str]) -> tuple[str, ...]:
    again = [name for number, name in enumerate(names) if name in names[:number]] if len(set(names)) < len(names) else []
    if again:
        raise SourceError(f"{shown}: two classes are called {again[0]!r}, expected are names that differ")
    return tuple(names)


def _keypoint_shape(shown: str, value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    numbers = [int(entry) for entry in value if str(entry).isdecimal()] if isinstance(value, list) else []
    if len(numbers) != 2 or numbers[0] < 1 or numbers[1] not in (2, 3):
        raise SourceError(f"{shown}: kpt_shape is {value!r}, expected are a number of keypoints, and 2 or 3")
    return numbers[0], numbers[1]


def _mirror_order(shown: str, content: Mapping[Any, Any], num_points: int) -> tuple[int, ...]:
    value = content.get("flip_idx")
    if value is None or value in ([], "null", ""):
        # Names for each class: those of the first one stand for all, where all have the same.
        listed = content.get("kpt_names")
        lists = list(listed.values()) if isinstance(listed, dict) else [listed]
        names = [str(name) for name in lists[0]] if lists and isinstance(lists[0], list) else []
        return mirror_order(names) if len(names) == num_points and all(other == lists[0] for other in lists) else ()
    numbers = [int(entry) for entry in value if str(entry).isdecimal()] if isinstance(value, list) else []
    if sorted(numbers) != list(range(num_points)):
        raise SourceError(f"{shown}: flip_idx is {str(value)[:60]}, expected is each number in [0, {num_points}) once")
    return tuple(numbers)


def _from_darknet(files: TextFiles, by_depth: Sequence[str]) -> YoloConfig:
    known = _Known(files.paths)
    data = next((path for path in by_depth if path.lower().endswith(".data")), "")
    folder = data.rpartition("/")[0]
    entries: dict[str, str] = {}
    for line in files.text(data).splitlines() if data else ():
        key, is_pair, value = line.partition("=")
        if is_pair:
            entries[key.strip().lower()] = value.strip()
    splits = [(SPLITS[key], (value,)) for key, value in entries.items() if key in SPLITS and value]
    named = known.find(entries.get("names", ""), folder, "")
    lists = [path for path in by_depth if path.lower().endswith((".names", ".labels"))]
    lists += [path for path in by_depth if path.rpartition("/")[2].lower() == "classes.txt"]
    path = named if named in known.files else next(iter(lists), None)
    if path is None:
        return YoloConfig("", folder, None, tuple(splits))
    lines = [line.strip() for line in files.text(path).strip().splitlines()]
    names, shown = [line for line in lines if line], files.shown(path)
    notes = [f"{shown}: a blank line stands between its names, and for no class"] if len(names) < len(lines) else []
    same = {
        path,
        *(other for other in lists if [line.strip() for line in files.text(other).split("\n") if line.strip()] == names),
    }
    others = [files.shown(other) for other in lists if other not in same]
    notes += [f"{shown} names the classes, {', '.join(others[:_SHOWN])} not used"] if others else []
    return YoloConfig(shown, folder, _different(shown, names) or None, tuple(splits), notes=tuple(notes))


class _Known:
    """The files and folders of a data set, found by paths of any machine."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.files = set(paths)
        self.folders = {""}
        for path in self.files:
            folder = path.rpartition("/")[0]
            while folder not in self.folders:
                self.folders.add(folder)
                folder = folder.rpartition("/")[0]

    def find(self, path: str, base: str, root: str) -> str | None:
        """The file or folder that a path means; None if there is none.

        Args:
            path: As it is written.
            base: The folder of the file that names it.
            root: What the path is relative to, as it is written.
        """
        parts = [part for part in f"{root}/{path}".replace("\\", "/").split("/") if part not in ("", ".", "..")]
        if not parts:
            return base if path else None
        for start in range(len(parts)):
            tail = "/".join(parts[start:])
            for candidate in (f"{base}/{tail}" if base else tail, tail):
                if candidate in self.files or candidate in self.folders:
                    return candidate
        return None


@dataclass(frozen=True)
class YoloSplits:
    """Which split each image is in.

    Attributes:
        by_folder: Folder to split, for all images below it.
        by_image: Image to split.
        notes: What is to be told.
    """

    by_folder: Mapping[str, str]
    by_image: Mapping[str, str]
    notes: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.by_folder or self.by_image)

    def split(self, path: str) -> str | None:
        """The split of an image; None if none is named for it."""
        if path in self.by_image:
            return self.by_image[path]
        folder = path.rpartition("/")[0]
        while folder and folder not in self.by_folder:
            folder = folder.rpartition("/")[0]
        return self.by_folder.get(folder)


def find_splits(files: TextFiles, config: YoloConfig) -> YoloSplits:
    """The splits that a data set names, as far as their folders and lists are there.

    Raises:
        SourceError: If a list cannot be read.
    """
    known = _Known(files.paths)
    by_folder: dict[str, str] = {}
    by_image: dict[str, str] = {}
    notes = []
    for path, split in _plain_lists(known) if not config.splits else ():
        listed = dict(by_image)
        told = _add_list(files, known, path, split, listed)
        if len(listed) > len(by_image):
            by_image = listed
            notes += [f"{files.shown(path)}: lists the images of {split}", *told]
    for split, paths in sorted(config.splits, key=lambda named: ("train", "val", "test").index(named[0])):
        for written in paths:
            place = known.find(written, config.folder, config.path)
            if place is None:
                notes.append(f"{split} is {written!r} by the files of the data set, which is not there: not used")
            elif place in known.files:
                notes += _add_list(files, known, place, split, by_image)
            elif by_folder.setdefault(place, split) != split:
                notes.append(
                    f"{split} and {by_folder[place]} are the same folder ({written}): its images are in {by_folder[place]}"
                )
    return YoloSplits(by_folder, by_image, tuple(notes))


def _plain_lists(known: _Known) -> Iterator[tuple[str, str]]:
    """Text files that are called like splits, as far as they are not in a folder of labels, with their splits."""
    named = [(path, _LIST.fullmatch(path.rpartition("/")[2].lower())) for path in sorted(known.files)]
    found = [(path, SPLITS[match[1]]) for path, match in named if match and not has_label_role(path.rpartition("/")[0])]
    yield from sorted(found, key=lambda each: ("train", "val", "test").index(each[1]))


def _add_list(files: TextFiles, known: _Known, path: str, split: str, by_image: dict[str, str]) -> list[str]:
    """Add the images that a file lists; returns what is to be told."""
    folder = path.rpartition("/")[0]
    lines = [line.strip() for line in files.text(path).splitlines() if line.strip()]
    num_missing = num_again = 0
    for line in lines:
        image = known.find(line, folder, "")
        if image not in known.files or image is None:
            num_missing += 1
        elif by_image.setdefault(image, split) != split:
            num_again += 1
    notes = []
    if num_missing:
        notes.append(f"{files.shown(path)}: {num_missing:,} of its {len(lines):,} lines name no file that is there")
    if num_again:
        notes.append(f"{files.shown(path)}: {num_again:,} of its images are in an earlier split already, and stay there")
    return notes
