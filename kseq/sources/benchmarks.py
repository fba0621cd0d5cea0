"""Image collections of well-known benchmarks, whose text lists name the images, their classes and their splits.

The rules:

- A collection is told by its lists, in a folder or in the one folder in it: CUB-200, Oxford-IIIT Pet, DTD, FGVC-Aircraft,
  Food-101, GTSRB (Kaggle's copy too), SUN397, Tiny ImageNet and Places365 (`kseq/sources/benchmark_lists.py` has the files).
- Classes have the numbers of their list; without one, they are sorted by name. Splits are those of the lists: `trainval` is
  train. An image that no list of splits names goes by `val` and `test` of the packing, or to train.
- CUB-200 and GTSRB: their box is the field `boxes`. Oxford-IIIT Pet: its trimap is the field `mask`, with 1 for the animal, 2
  for what is around it and 3 for the edge; an image without a trimap is rejected.
- Of several partitions (DTD, SUN397) the first is taken, and a note says so.
- Images that no list names are not packed; a line counts them.

Source: the readme of each collection.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from kseq.arguments import counted
from kseq.errors import SourceError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.benchmark_lists import Benchmark, find_benchmark
from kseq.sources.column_roles import Columns
from kseq.sources.folder_tree import FolderTree
from kseq.sources.listing import Listing
from kseq.sources.named_files import NamedFiles
from kseq.sources.source_format import SourceFormat, SourceRequest
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.table import TableSource
from kseq.sources.url_files import FileSizes

__all__ = ["BENCHMARK"]


def _open(request: SourceRequest) -> TableSource:
    """Open such a folder as a source.

    Raises:
        SourceError: If it is none, a list makes no sense, or no image lies where they say.
    """
    found = next((known for folder in _tops(request.path) if (known := find_benchmark(folder)) is not None), None)
    if found is None:
        raise SourceError(f"{request.path}: has the lists of no benchmark that is known, such as images.txt of CUB-200")
    root = found.root if request.root is None else request.root
    cells = {
        "image": SpooledColumn(row.image for row in found.rows),
        "label": SpooledColumn(row.class_name for row in found.rows),
        "split": SpooledColumn(row.split for row in found.rows),
    }
    if found.has_boxes:
        cells["boxes"] = SpooledColumn(None if row.box is None else [list(row.box)] for row in found.rows)
    if found.has_masks:
        cells["mask"] = SpooledColumn(row.mask for row in found.rows)
    columns = Columns(
        image="image",
        label="label",
        split="split",
        boxes="boxes" if found.has_boxes else None,
        mask="mask" if found.has_masks else None,
    )
    faults = SpooledColumn(row.fault for row in found.rows)
    return TableSource.of_cells(
        request.path,
        root,
        NamedFiles(root, FileSizes(root, request.follow_links, request.storage_options), None),
        columns,
        cells,
        faults,
        request.class_names or found.class_names or None,
        storage_options=request.storage_options,
        notes=[f"{request.path}: is {found.name}", *found.notes, *_unlisted(request, root, found)],
    )


def _is_folder(listing: Listing) -> bool:
    return any(find_benchmark(folder, reads=False) is not None for folder in _tops(listing.path))


BENCHMARK = SourceFormat("benchmark", _open, is_folder=_is_folder, has_root=True, has_links=True, downloads=r"\.(txt|csv)")


def _tops(path: str) -> Iterator[str]:
    """A folder, and the folder in it, if there is only one."""
    yield path
    try:
        inner = sorted(entry.path for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith((".", "__")))
    except OSError:
        return
    if len(inner) == 1:
        yield inner[0]


def _unlisted(request: SourceRequest, root: str, found: Benchmark) -> Iterator[str]:
    """How many images no list names."""
    if not os.path.isdir(root):
        return
    named = {os.path.normpath(path) for row in found.rows for path in (row.image, row.mask) if path}
    stems = named if all(os.path.splitext(name)[1] for name in named) else {os.path.splitext(name)[0] for name in named}
    count = 0
    tree = FolderTree(root, request.follow_links)
    for entry in tree.files(tree.top):
        path = os.path.normpath(entry.path)
        if entry.name.lower().endswith(IMAGE_SUFFIXES) and path not in stems and os.path.splitext(path)[0] not in stems:
            count += not _is_mask_folder(path, found.mask_folders)
    if count:
        yield f"{root}: {counted(count, 'image is', 'images are')} in no list, and not packed"


def _is_mask_folder(path: str, folders: Sequence[str]) -> bool:
    return any(path.startswith(folder + os.sep) for folder in folders)
