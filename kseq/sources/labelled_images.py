"""Images that an annotation file gives classes and no boxes: a label each, or several where an image has several."""

from __future__ import annotations

from collections.abc import Sequence

from kseq.sources.annotated_images import AnnotatedImage
from kseq.sources.column_roles import Columns
from kseq.sources.named_files import NamedFiles
from kseq.sources.source_format import SourceRequest
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.table import TableSource
from kseq.sources.url_files import FileSizes

__all__ = ["label_images"]


def label_images(
    request: SourceRequest,
    path: str,
    root: str,
    images: Sequence[AnnotatedImage],
    labels: Sequence[Sequence[str]],
    *,
    class_names: Sequence[str] | None = None,
    notes: Sequence[str] = (),
) -> TableSource:
    """A source of some images.

    Args:
        request: Which classes are wanted, and how files are reached.
        path: The file, for messages.
        root: The folder or URL that the paths of images are relative to.
        images: The images; their objects do not count.
        labels: For each image its classes.
        class_names: All classes, in the order of their numbers; None for those that there are, sorted.
        notes: What a user should know of the source.

    Raises:
        SourceError: If no image can be packed.
    """
    distinct = [list(dict.fromkeys(filter(None, own))) for own in labels]
    has_several = any(len(own) > 1 for own in distinct)
    columns = Columns(image="image", label="label", split="split")
    if has_several:
        columns = Columns(image="image", targets={"labels": "label"}, kinds={"labels": "multi_label"}, split="split")
    cells = {
        "image": SpooledColumn(image.path for image in images),
        "label": SpooledColumn(own if has_several else next(iter(own), None) for own in distinct),
        "split": SpooledColumn(image.split for image in images),
    }
    names = class_names if request.class_names is None else request.class_names
    return TableSource.of_cells(
        path,
        root,
        NamedFiles(root, FileSizes(root, request.follow_links, request.storage_options), request.suffix),
        columns,
        cells,
        SpooledColumn(image.rejection for image in images),
        names,
        target_classes={"labels": names} if has_several and names is not None else None,
        storage_options=request.storage_options,
        notes=notes,
    )
