"""Opening what is to be packed as a source: a path, a URL, or an iterable that is spooled."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from kseq.arguments import is_url, path_or_url, shown_url, spelled
from kseq.errors import ArgumentError
from kseq.images.pixel_form import PLAIN_FORM, PixelForm
from kseq.sources.archive_outline import ArchiveOutline
from kseq.sources.base import Source
from kseq.sources.column_roles import Columns
from kseq.sources.compressed import Unpacker
from kseq.sources.iterables import spool_samples
from kseq.sources.outline import Outline
from kseq.sources.registry import choose_format, is_outlined, open_source, recognise_outline, unpack_archive
from kseq.storage.output_folder import check_apart
from kseq.storage.url_place import spool_folder

__all__ = ["check_source_apart", "open_or_spool"]

_PATHS = (str, bytes, os.PathLike)


@contextmanager
def open_or_spool(
    source: Any,
    folder: str,
    source_format: str | None,
    columns: Columns,
    root: str | os.PathLike[str] | None,
    class_names: Sequence[str] | None,
    *,
    follow_links: bool = False,
    suffix: str | None = None,
    shape: Sequence[int] | None = None,
    text_encoding: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    form: PixelForm = PLAIN_FORM,
) -> Iterator[Source]:
    """Gives the source, which is valid until the end of the block; the arguments are those of `kseq.pack`.

    Args:
        folder: Where an iterable may be spooled, and compressed files are unpacked; `""` for no iterable, and for the folder
            for temporary files.
        form: What the pixels of images become.

    Raises:
        ArgumentError: If arguments do not go together.
        SourceError: If there is nothing that can be packed.
        WriteError: If the disk refuses to spool.
    """
    unpacker = Unpacker(folder)
    of_files = (source_format, root, suffix, shape, text_encoding)
    if isinstance(source, _PATHS) or follow_links or any(argument is not None for argument in of_files):
        path, root_path = path_or_url("source", source), None if root is None else path_or_url("root", root)
        _check_no_links(path, root_path, follow_links)
        how = (source_format, columns, root_path, class_names)
        further: dict[str, Any] = {
            "suffix": suffix,
            "shape": shape,
            "text_encoding": text_encoding,
            "storage_options": storage_options,
            "unpacker": unpacker,
            "form": form,
        }
        with closing(unpacker):
            if is_url(path):
                with _opened_from_url(path, *how, **further) as opened:
                    yield opened
            else:
                with _opened_path(path, *how, follow_links=follow_links, **further) as opened:
                    yield opened
        return
    if not folder:
        raise ArgumentError(f"{spelled('dry_run', True)}: goes with a path, an iterable can be read only once")
    with spool_samples(source, folder, columns, class_names, form) as spooled_source:
        yield spooled_source


@contextmanager
def _opened_path(
    path: str,
    source_format: str | None,
    columns: Columns,
    root: str | None,
    class_names: Sequence[str] | None,
    *,
    follow_links: bool,
    **options: Any,
) -> Iterator[Source]:
    """A source on this machine; that of annotations in an archive is valid until the end of the block."""
    unpacker: Unpacker = options["unpacker"]
    if follow_links or not is_outlined(path, source_format, unpacker):
        how = {**options, "follow_links": follow_links}
        yield open_source(path, source_format, columns, root, class_names, **how)
        return
    with spool_folder() as folder:
        outline = ArchiveOutline(path, folder, unpack_archive(path, unpacker) or path)
        with outline.naming_archive():
            top, chosen = recognise_outline(outline.tops, source_format)
            if chosen is None:
                yield open_source(path, source_format, columns, root, class_names, **options)
                return
            inner = root if root is None or is_url(root) or os.path.isabs(root) else os.path.join(top, root)
            opened = outline.adopt(open_source(top, chosen, columns, inner, class_names, **options))
        yield opened


@contextmanager
def _opened_from_url(
    url: str,
    source_format: str | None,
    columns: Columns,
    root: str | None,
    class_names: Sequence[str] | None,
    *,
    storage_options: Mapping[str, Any] | None,
    **further: Any,
) -> Iterator[Source]:
    with spool_folder() as folder:
        outline = Outline(url, folder, storage_options)
        with outline.naming_urls():
            if source_format is None:
                outline.download_telling()
            chosen = choose_format(outline.path, source_format)
            outline.download(chosen)
            opened = open_source(
                outline.path,
                chosen.name,
                columns,
                root,
                class_names,
                is_recognised=source_format is None,
                folder=outline.parent,
                storage_options=storage_options,
                **further,
            )
            yield outline.adopt(opened)


def _check_no_links(path: str, root: str | None, follow_links: bool) -> None:
    url = next((each for each in (path, root) if each is not None and is_url(each)), None)
    if follow_links and url is not None:
        raise ArgumentError(f"{spelled('follow_links', True)}: goes with folders of this machine, found {shown_url(url)}")


def check_source_apart(source: Any, target: str) -> None:
    """Raise ArgumentError if a source, where it is a path or a URL, and a dataset lie in each other, or one has no name."""
    if isinstance(source, _PATHS):
        check_apart(path_or_url("source", source), target)
    elif not target:
        raise ArgumentError(f"{spelled('dataset', target)}: allowed is a path that is not empty")
