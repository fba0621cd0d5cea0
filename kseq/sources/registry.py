"""Which formats of image collections there are, and which one lies at a path."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from kseq.arguments import choice, spelled, spelled_call
from kseq.errors import ArgumentError, KseqError, SourceError
from kseq.images.pixel_form import PLAIN_FORM, PixelForm
from kseq.sources.archive_members import is_tar
from kseq.sources.archive_outline import ArchiveOutline
from kseq.sources.base import Source
from kseq.sources.class_names import folder_class_name
from kseq.sources.column_roles import OBJECT_MASKS, Columns, mask_of_objects
from kseq.sources.compressed import Unpacker
from kseq.sources.file_sets import is_pattern, match_files
from kseq.sources.folder import FOLDER
from kseq.sources.formats import SOURCE_FORMATS, load_format, load_formats
from kseq.sources.layouts import find_layout
from kseq.sources.listing import Listing, list_folder
from kseq.sources.no_classes import describe_around, refuse_no_classes
from kseq.sources.side_files import CLASS_ORDER
from kseq.sources.source_format import SourceFormat, SourceRequest
from kseq.sources.text import check_text_encoding, describe_text, is_well_encoded, reading_texts_as
from kseq.sources.tool_layouts import refused_source
from kseq.sources.wrong_files import describe_wrong_file
from kseq.sources.zip_archive import ZIP, list_zip

__all__ = ["choose_format", "is_outlined", "open_source", "recognise_outline", "unpack_archive"]

# A pattern is none of these.
_ONE_FILE = ("zip", "csv", "jsonl", "arrays")

# What lies beside images and is no part of a collection; without folders of masks, it is a plain folder of images then.
_DOCUMENT = re.compile(r"(.*/)?((readme|licen[cs]e|copying|notice|citation)[^/]*|[^/]*\.(md|pdf|html?|ini|db))", re.IGNORECASE)
_MASKS = "masks"


def open_source(
    path: str,
    source_format: str | None,
    columns: Columns,
    root: str | None,
    class_names: Sequence[str] | None,
    *,
    is_recognised: bool = False,
    follow_links: bool = False,
    suffix: str | None = None,
    shape: Sequence[int] | None = None,
    text_encoding: str | None = None,
    folder: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    unpacker: Unpacker | None = None,
    form: PixelForm = PLAIN_FORM,
) -> Source:
    """Open what lies at a path as a source.

    Args:
        path: A folder of images, a file that names or holds them, or a pattern of such files.
        source_format: One of `SOURCE_FORMATS`; None to recognise the format by what lies there and by its name.
        columns: Which column, feature, array or kind of file holds what.
        root: The folder or URL that the paths in a file are relative to; None for the folder of the file.
        class_names: All classes, in the order of their numbers.
        is_recognised: Whether the format was recognised, and nobody named it: what looks like no classes is refused then.
        follow_links: Follow links out of the folder of images, and links to folders.
        suffix: Added to the paths in a table that do not end with it, such as `".jpg"`; None to look for files where paths
            have no suffix.
        shape: The shape of the images of a source that has them as plain numbers; None for square ones.
        text_encoding: The encoding of all text files without a byte order mark, as Python calls it; None for UTF-8.
        folder: The URL of the folder that the file was downloaded from.
        storage_options: What fsspec's file systems are made with.
        unpacker: Unpacks compressed files; None where they are refused.
        form: What the pixels of images become.

    Raises:
        ArgumentError: If arguments do not go with each other, or with the format.
        SourceError: If there is nothing that can be packed.
    """
    listing = _list(path) if source_format in (None, FOLDER.name, ZIP.name) else None
    chosen = _choose(path, source_format, listing)
    is_recognised = is_recognised or source_format is None
    layout = find_layout(listing) if chosen in (FOLDER, ZIP) and listing is not None else None
    if layout is not None and layout.is_certain and layout.source_format is not None and is_recognised:
        chosen, layout = load_format(layout.source_format), None
    _check_arguments(path, chosen, columns, root, suffix, shape, follow_links=follow_links)
    layout = layout if columns.label != "" else None
    if layout is not None and layout.is_certain and is_recognised:
        raise SourceError(layout.refusal(path))
    if layout is not None and class_names is not None and layout.name.startswith(CLASS_ORDER):
        # Somebody has said which classes there are.
        layout = None
    request = SourceRequest(
        path=path,
        columns=columns,
        root=root,
        class_names=class_names,
        follow_links=follow_links,
        folder=folder,
        storage_options=storage_options,
        suffix=suffix,
        shape=shape,
        unpacker=unpacker,
        form=form,
    )
    with reading_texts_as(check_text_encoding(text_encoding)):
        try:
            source = chosen.open(request)
        except SourceError as error:
            hint = describe_around(path) if chosen.name in ("folder", "voc") and os.path.isdir(path) else ""
            raise (SourceError(f"{error}{hint}") if hint else error) from error
    if chosen.name in ("folder", "zip", "webdataset") and is_recognised and class_names is None:
        refuse_no_classes(path, source, chosen.name, is_here=folder is None)
    notes = [*source.notes, *(() if unpacker is None else unpacker.notes), *([] if layout is None else [layout.note()])]
    return _with_encoded_classes(replace(source, notes=tuple(notes)))


def _check_arguments(
    path: str,
    chosen: SourceFormat,
    columns: Columns,
    root: str | None,
    suffix: str | None,
    shape: Sequence[int] | None,
    *,
    follow_links: bool,
) -> None:
    """Raise ArgumentError if arguments of `open_source` do not go with the format."""
    is_unlabelled = chosen.may_lack_label and columns == Columns(label="")
    has_mask = chosen.has_outlines and mask_of_objects(columns) is not None and columns == Columns(mask=columns.mask)
    if not (chosen.has_columns or is_unlabelled or has_mask or columns == Columns()):
        allowed = _names_of("has_columns")
        if columns == Columns(label=""):
            asked = f"{spelled('columns.label', '')} and {spelled('label_pattern')}"
            alone = f": {spelled('source_format', FOLDER.name)} packs its images alone" if os.path.isdir(path) else ""
            raise ArgumentError(f"{path}: {asked} go with {allowed}, {_names_of('may_lack_label')}, found {chosen.name}{alone}")
        roles = [role.name for role in fields(columns) if getattr(columns, role.name) not in (None, ())]
        given = ", ".join(spelled(f"columns.{role}") for role in roles)
        outlined = _names_of("has_outlines")
        masks = " or ".join(spelled("columns.mask", kind) for kind in OBJECT_MASKS)
        hint = f"; {masks} with outlines of objects ({outlined})" if columns.mask is not None else ""
        raise ArgumentError(f"{path}: columns ({given}) go with a table or with records ({allowed}){hint}, found {chosen.name}")
    if not chosen.has_root and root is not None:
        allowed = _names_of("has_root")
        raise ArgumentError(f"{path}: {spelled('root', root)} goes with {allowed}, found {chosen.name}")
    if not chosen.has_links and follow_links:
        allowed = _names_of("has_links")
        raise ArgumentError(f"{path}: {spelled('follow_links', True)} goes with {allowed}, found {chosen.name}")
    if suffix is not None and not (chosen.has_suffix and isinstance(suffix, str) and re.fullmatch(r"\.[^/\\\0]+", suffix)):
        allowed = _names_of("has_suffix")
        raise ArgumentError(
            f"{path}: {spelled('suffix', suffix)}: allowed is the end of names of files, such as .jpg, with {allowed}"
        )
    if shape is not None:
        _check_shape(path, shape, chosen)


def _with_encoded_classes(source: Source) -> Source:
    """The source without surrogates in the names of its classes, which nothing can print or store."""
    lists = [source.class_names, *(field.class_names for field in source.fields)]
    odd = [name for names in lists for name in names if not is_well_encoded(name)]
    if not odd:
        return source
    note = f"{source.place}: class {describe_text(odd[0])} is not UTF-8: it is called {folder_class_name(odd[0])!r}"
    return replace(
        source,
        class_names=tuple(map(folder_class_name, source.class_names)),
        fields=tuple(replace(field, class_names=tuple(map(folder_class_name, field.class_names))) for field in source.fields),
        notes=(*source.notes, note),
    )


def is_outlined(path: str, source_format: str | None, unpacker: Unpacker | None) -> bool:
    """Whether a path is an archive of annotations or tables: of nothing that is read in place."""
    if not os.path.isfile(path) or source_format in ("folder", "zip", "webdataset"):
        return False
    if is_tar(path):
        unpacked = unpack_archive(path, unpacker)
        return unpacked is not None and ArchiveOutline.may_outline(path, unpacked)
    if not path.lower().endswith(".zip") or source_format in ("yolo", "masks"):
        return False
    return ArchiveOutline.may_outline(path, path) and (source_format is not None or _recognise_zip(list_zip(path)) is ZIP)


def unpack_archive(path: str, unpacker: Unpacker | None) -> str | None:
    """The archive itself, or what a compressed one was unpacked to; None if that cannot be, or is damaged."""
    if unpacker is None or not is_tar(path):
        return path
    try:
        unpacked = unpacker.unpack(path)
    except KseqError:
        # Opening the source fails again, and tells why.
        return None
    return unpacked.path if unpacked.damage is None else None


def recognise_outline(tops: Sequence[str], source_format: str | None) -> tuple[str, str | None]:
    """Which of some folders is a source, and of which format; None if they are class folders, or nothing."""
    for top in tops:
        found = _recognise_folder(list_folder(top))
        if found is not FOLDER and source_format in (None, found.name):
            return top, found.name
    if source_format is None:
        return tops[0], None
    chosen = choose_format(tops[-1], source_format)
    files = [os.path.join(top, name) for top in tops for name in sorted(os.listdir(top))]
    named = [file for file in files if os.path.isfile(file) and chosen.matches(file)]
    return named[0] if chosen.is_folder is None and named else tops[-1], chosen.name


def _names_of(ability: str) -> str:
    """The formats for which an attribute of `SourceFormat` is true."""
    return ", ".join(known.name for known in load_formats() if getattr(known, ability))


def _check_shape(path: str, shape: Any, chosen: SourceFormat) -> None:
    are_sides = isinstance(shape, Sequence) and all(isinstance(side, int) and side > 0 for side in shape)
    if not (chosen.has_shape and are_sides and len(shape) in (2, 3)):
        allowed = _names_of("has_shape")
        raise ArgumentError(
            f"{path}: {spelled('shape', shape)}: allowed are height and width, with channels before or behind them, with "
            f"{allowed}, found {chosen.name}"
        )


def choose_format(path: str, source_format: str | None) -> SourceFormat:
    """The format that is named, or else the one that lies at a path; the arguments and errors are those of `open_source`."""
    return _choose(path, source_format, _list(path) if source_format is None else None)


def _list(path: str) -> Listing | None:
    """What lies in a folder or a zip; None if it is neither, or cannot be read."""
    if os.path.isdir(path):
        return list_folder(path)
    return list_zip(path) if os.path.isfile(path) and ZIP.matches(path) else None


def _choose(path: str, source_format: str | None, listing: Listing | None) -> SourceFormat:
    if source_format is None:
        return _recognise(path, listing)
    choice("source_format", source_format, SOURCE_FORMATS)
    return load_format(str(source_format))


def _recognise(path: str, listing: Listing | None) -> SourceFormat:
    if is_pattern(path):
        first = match_files(path)[0]
        chosen = _recognise_file(first, _list(first))
        if chosen.name in _ONE_FILE:
            calls = f"{spelled_call('pack')} the first, and {spelled_call('append')} the others"
            raise SourceError(
                f"{path}: is a pattern of several files, and a source of the format {chosen.name} is one: {calls}"
            )
        return chosen
    if not os.path.exists(path):
        raise SourceError(f"{path}: is not there, expected is a folder of images, or a file that names or holds images")
    return _recognise_folder(listing) if listing is not None and listing.is_folder else _recognise_file(path, listing)


def _recognise_file(path: str, listing: Listing | None) -> SourceFormat:
    for source_format in load_formats():
        if not os.path.isfile(path) or not source_format.matches(path):
            continue
        if source_format.is_file is None or source_format.is_file(path):
            return _recognise_zip(listing) if source_format is ZIP else source_format
    reason = (refused_source(path) or describe_wrong_file(path, "")) if os.path.isfile(path) else None
    if reason is not None:
        raise SourceError(f"{path}: {reason}")
    # Several formats share a suffix.
    suffixes = ", ".join(dict.fromkeys(suffix for known in load_formats() for suffix in known.suffixes))
    raise SourceError(
        f"{path}: is neither a folder of images nor a file that its name tells ({suffixes}): "
        f"{spelled('source_format')} says what it is"
    )


def _recognise_zip(listing: Listing | None) -> SourceFormat:
    """The format of a folder in a zip; a folder of images if it is no other, or cannot be read."""
    if listing is None:
        return ZIP
    return next((known for known in load_formats() if known.is_archive is not None and known.is_archive(listing)), ZIP)


def _recognise_folder(listing: Listing) -> SourceFormat:
    """The format of a folder, or of the files in it or one folder deeper; a folder of images if there are none."""
    if _is_plain(listing):
        return FOLDER
    for source_format in reversed(load_formats()):
        if source_format.is_folder is not None and source_format.is_folder(listing):
            return source_format
    names = [name for name in (*listing.images, *listing.others) if name.count("/") <= 1]
    # Beside a tar, img2dataset writes a table of what is in it.
    tars = {os.path.splitext(name)[0] for name in names if name.lower().endswith(".tar")}
    names = [name for name in names if name.lower().endswith(".tar") or os.path.splitext(name)[0] not in tars]
    for name in sorted(names):
        for source_format in load_formats():
            if source_format.in_folders and source_format.matches(name):
                return source_format
    return FOLDER


def _is_plain(listing: Listing) -> bool:
    """Whether no other format than a folder of images can be meant: then the other formats need not be loaded."""
    has_masks = any(folder.rpartition("/")[2] == _MASKS for folder in listing.folders)
    return any("/" in image for image in listing.images) and not has_masks and all(map(_DOCUMENT.fullmatch, listing.others))
