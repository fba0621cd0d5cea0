"""What the registry knows of a format: its name, how it is recognised, and how it is opened."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kseq.arguments import is_url
from kseq.errors import SourceError
from kseq.images.pixel_form import PLAIN_FORM, PixelForm
from kseq.sources.base import Source
from kseq.sources.column_roles import Columns
from kseq.sources.compressed import Unpacker
from kseq.sources.listing import Listing

__all__ = ["SourceFormat", "SourceRequest", "check_is_file", "check_root"]


@dataclass(frozen=True)
class SourceRequest:
    """What a source is opened with: the arguments of `kseq.sources.registry.open_source`.

    Attributes:
        suffix: As in `kseq.sources.named_files.NamedFiles`.
        shape: Of the images, where the source has plain numbers.
        folder: The URL of the folder that `path` was downloaded from; None if it lies on this machine.
        storage_options: What fsspec's file systems are made with, for paths that are URLs.
        unpacker: Unpacks compressed files; None where they are refused.
        form: What the pixels of images become, by which a source of arrays tells what it can pack.
    """

    path: str
    columns: Columns
    root: str | None = None
    class_names: Sequence[str] | None = None
    follow_links: bool = False
    folder: str | None = None
    storage_options: Mapping[str, Any] | None = None
    suffix: str | None = None
    shape: Sequence[int] | None = None
    unpacker: Unpacker | None = None
    form: PixelForm = PLAIN_FORM

    @property
    def image_root(self) -> str | None:
        """The folder or URL that paths in the file are relative to; None for the folder of the file, be it in that of the
        path."""
        return self.folder if self.root is None and not os.path.isdir(self.path) else self.root


@dataclass(frozen=True)
class SourceFormat:
    """A format in which people keep images.

    Attributes:
        name: What callers call it: `source_format="zip"`.
        open: Opens a path as a source of this format; raises SourceError if it is none, or nothing in it can be packed.
        is_file: Whether a file of a name of this format is of it; None if the name says enough.
        suffixes: The ends of the names of its files, for messages, such as `(".csv", ".tsv")`.
        file_names: A regular expression for the end of the name of a file, in upper or lower case; None if no name tells it.
        is_folder: Whether a folder is of this format; None if a folder is no source of it, or is told by the files in it.
        is_archive: Whether a zip holds a folder of this format; None if none does.
        in_folders: Whether a folder of such files is one source.
        has_columns: Whether it takes `columns`.
        may_lack_label: Whether it takes `Columns(label="")`, for images without classes, where it takes no other columns.
        has_root: Whether it takes `root`: it names image files by their paths.
        has_links: Whether it takes `follow_links`: its images are files below a folder.
        has_suffix: Whether it takes `suffix`: it may name image files without their suffixes.
        has_shape: Whether it takes `shape`: it may have images as numbers without their shape.
        has_outlines: Whether it takes `Columns(mask="semantic")` and `Columns(mask="instances")`: it may have the outlines of
            objects.
        downloads: A regular expression for the end of the name of a file, in upper or lower case: of a folder at a URL, files
            of such names are downloaded when it is opened, others read in place; None if none are downloaded.
        siblings: The same for files beside a file at a URL, which belong to it; None if none do.
    """

    name: str
    open: Callable[[SourceRequest], Source]
    suffixes: tuple[str, ...] = ()
    file_names: str | None = None
    is_folder: Callable[[Listing], bool] | None = None
    is_file: Callable[[str], bool] | None = None
    is_archive: Callable[[Listing], bool] | None = None
    in_folders: bool = False
    has_columns: bool = False
    may_lack_label: bool = False
    has_root: bool = False
    has_links: bool = False
    has_suffix: bool = False
    has_shape: bool = False
    has_outlines: bool = False
    downloads: str | None = ""
    siblings: str | None = None

    def matches(self, path: str) -> bool:
        """Whether a file has a name of this format."""
        return self.file_names is not None and re.search(rf"{self.file_names}$", path, re.IGNORECASE) is not None


def check_is_file(path: str, format_name: str) -> None:
    """Raise SourceError if something lies at a path that is not a file; a missing file is left to its reader."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise SourceError(f"{path}: is not a file, expected is one ({format_name})")


def check_root(path: str, root: str | None) -> str:
    """The folder that the paths in a file are relative to: the given one, or that of the file.

    Raises:
        SourceError: If there is no such folder.
    """
    if root is not None and is_url(root):
        return root
    root = os.path.dirname(path) or "." if root is None else root
    if not os.path.isdir(root):
        raise SourceError(f"{root}: is not a folder, expected is the one that the paths in {path} are relative to")
    return root
