"""Which formats of image collections there are. Each is loaded when it is asked for: most collections are plain folders.

To add one, write a module with a `SourceFormat`, and add its name and its home here.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from kseq.sources.source_format import SourceFormat

__all__ = ["SOURCE_FORMATS", "load_format", "load_formats"]

# The name of each format, and where its `SourceFormat` is. A folder is tried as the last format first: a plain folder of
# images, the most general format, comes first in the list.
_HOMES = {
    "folder": ("folder", "FOLDER"),
    "lists": ("label_lists", "LISTS"),
    "pixels": ("pixel_rows", "PIXEL_ROWS"),
    "celeba": ("celeba", "CELEBA"),
    "imagenet": ("imagenet", "IMAGENET"),
    "json": ("tool_json", "TOOL_JSON"),
    "via": ("via", "VIA"),
    "rle": ("run_length_tables", "RUN_LENGTHS"),
    "boxes": ("box_tables", "BOX_TABLE"),
    "labelstudio": ("labelstudio", "LABELSTUDIO"),
    "csv": ("table", "CSV"),
    "jsonl": ("table", "JSONL"),
    "parquet": ("parquet", "PARQUET"),
    "labelme": ("labelme", "LABELME"),
    "coco": ("coco_folder", "COCO"),
    "cvat": ("cvat", "CVAT"),
    "voc": ("voc", "VOC"),
    "yolo": ("yolo", "YOLO"),
    "dota": ("dota", "DOTA"),
    "webdataset": ("webdataset", "WEBDATASET"),
    "zip": ("zip_archive", "ZIP"),
    "tfrecord": ("tfrecord", "TFRECORD"),
    "arrayrecord": ("arrayrecord", "ARRAYRECORD"),
    "huggingface": ("huggingface", "HUGGINGFACE"),
    "imagefolder": ("image_folder", "IMAGE_FOLDER"),
    "arrays": ("arrays", "ARRAYS"),
    "idx": ("idx", "IDX"),
    "cifar": ("cifar", "CIFAR"),
    "lmdb": ("lmdb_files", "LMDB"),
    "benchmark": ("benchmarks", "BENCHMARK"),
    "objectpngs": ("object_pngs", "OBJECT_PNGS"),
    "masks": ("mask_folders", "MASK_FOLDERS"),
}
SOURCE_FORMATS = tuple(_HOMES)
"""The names of the formats that `pack` and `append` read, for the argument `source_format`."""


@cache
def load_format(name: str) -> SourceFormat:
    """The format of one of the `SOURCE_FORMATS`."""
    module, constant = _HOMES[name]
    loaded: SourceFormat = getattr(import_module(f"kseq.sources.{module}"), constant)
    return loaded


@cache
def load_formats() -> tuple[SourceFormat, ...]:
    """All formats, in the order of `SOURCE_FORMATS`."""
    return tuple(map(load_format, SOURCE_FORMATS))
