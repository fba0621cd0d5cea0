"""Layouts of known tools and collections that kseq does not read, told by names of files: refused with the way out.

They would become classes called like folders of the tool, or be no images to anybody; each is named, with what packs it.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from kseq.arguments import spelled, spelled_call
from kseq.images.formats import IMAGE_END
from kseq.sources.listing import Listing

__all__ = ["find_spreadsheet", "find_tool", "refused_file", "refused_source"]

_TABLE = "list its images in a table: {columns}, and " + "{call}"
_BOXES = "image,xmin,ymin,xmax,ymax,class, a line for each box"
_CLASSES = "image,label"
_MASKS = "image,mask"
_IMAGES = "a column for each image of a line"
_NUMBERS = "image, and a column for each of the numbers"
# A list that is read, if somebody says which one, and where the images are.
_LISTED = "one list, and the folder that its paths are relative to, are given by {call}"


class _Tool(NamedTuple):
    """A layout.

    Attributes:
        name: What it is called.
        file: A regular expression for the path of a file that tells it.
        head: One for the beginning of this file; None where the name is enough.
        columns: The columns of the table that packs it.
        is_image: Whether the file is one of the images.
    """

    name: str
    file: str
    head: str | None
    columns: str
    is_image: bool = False


_TOOLS = (
    _Tool("KITTI", r"(^|/)label_2/[^/]+\.txt", r"^\S+ -?[\d.]+ -?\d( -?[\d.]+){12}", _BOXES),
    _Tool("WIDER FACE", r"wider_face_\w+_bbx_gt\.txt", None, _BOXES),
    _Tool("Keras YOLO", r"(^|/)_annotations\.txt", r"^\S+\.\w+ \d+,\d+,\d+,\d+,\d+", _BOXES),
    _Tool("Lightly's predictions", r"(^|/)predictions/[^/]+\.json", r'"predictions"\s*:', _BOXES),
    _Tool("Scale", r"\.json", r'"task_id"\s*:(.|\n)*"response"\s*:', _BOXES),
    _Tool("Labelbox", r"\.(nd)?json", r'"data_row"\s*:', _BOXES),
    _Tool("FiftyOne", r"(^|/)samples\.json", r'"_cls"\s*:|"filepath"\s*:', _BOXES),
    _Tool("FiftyOne", r"(^|/)labels\.json", r'"classes"\s*:\s*\[(.|\n)*"labels"\s*:\s*\{', _CLASSES),
    _Tool("SageMaker's labels of images", r"\.manifest", r'"source-ref"\s*:', _CLASSES),
    _Tool("Flowers102", r"(^|/)imagelabels\.mat", None, _CLASSES),
    _Tool("Stanford Cars", r"(^|/)cars_(\w+_)?annos(_\w+)?\.mat", None, _CLASSES),
    _Tool("DeepFashion", r"(^|/)list_category_img\.txt", None, _CLASSES),
    _Tool("Market-1501", r"(^|/)bounding_box_(train|test)/-?\d+_c\d+[^/]*\.\w+", None, _CLASSES, is_image=True),
    _Tool("Visual Genome", r"(^|/)objects\.json", r'"synsets"\s*:', _BOXES),
    _Tool("COCO-Text", r"(^|/)cocotext[^/]*\.json", None, _BOXES),
    _Tool("CelebAMask-HQ", r"(^|/)CelebAMask-HQ-mask-anno/.*\.png", None, _MASKS, is_image=True),
    _Tool("Tiny ImageNet without wnids.txt", r"(^|/)val_annotations\.txt", None, _CLASSES),
    _Tool("Cityscapes", r"_leftImg8bit\.\w+", None, _MASKS, is_image=True),
    _Tool("images and masks", r"_mask\.png", None, _MASKS, is_image=True),
    _Tool("VisDrone", r"(^|/)annotations/[^/]+\.txt", r"^\d+,\d+,\d+,\d+,[01],\d+,-?\d,\d,?\s*$", _BOXES),
    _Tool("a list of several images a line", r"\.(txt|lst)", rf"\A\S+{IMAGE_END}[ \t,]+\S+{IMAGE_END}[ \t,]+\S", _IMAGES),
    _Tool("a list of paths and numbers", r"\.(txt|lst)", rf"\A\S+{IMAGE_END}([ \t,]+-?[\d.]+){{2,}}\s*$", _NUMBERS),
    _Tool("a list of paths and labels", r"\.(txt|lst)", rf"^\S+{IMAGE_END}[ \t]+\d+\s*$", _LISTED),
    _Tool("a list of paths and texts", r"\.txt", rf"\A\S+{IMAGE_END}[ \t,]+\S", _LISTED),
)
_OPENED = 3
# Of the images one in so many is called like those of a tool, or more.
_LEAST_SHARE = 10

_SPREADSHEETS = r"\.(xlsx?|xlsm|ods|numbers)"
_SPREADSHEET = re.compile(rf"{_SPREADSHEETS}$", re.IGNORECASE)

# Files that hold images and are not read, by their suffix.
_FILES = {
    r"\.mat": (
        "is a file of MATLAB: scipy.io.loadmat reads it, and kseq.pack((images, labels), ...) takes its arrays, samples first: "
        "of SVHN m['X'].transpose(3, 0, 1, 2) and m['y'].ravel() % 10; one of version 7.3 is HDF5: give {arrays}"
    ),
    r"\.(pkl|pickle|p|joblib)": (
        "is a pickle, which may run any program when it is read: load it where you trust it, and give kseq.pack its arrays, "
        "or save them by numpy.savez"
    ),
    r"\.(pt|pth)": (
        "is a file of PyTorch, a pickle, which may run any program when it is read: load it where you trust it, and give "
        "kseq.pack((images.numpy(), labels.numpy()), ...)"
    ),
    r"\.beton": "is a file of FFCV: read it by ffcv.Loader, and give kseq.pack its samples as an iterable",
    r"\.mds(\.\w+)?": (
        "is a shard of MosaicML: kseq.pack(streaming.StreamingDataset(local=FOLDER, batch_size=1), ...) packs its folder"
    ),
    r"\.rec": "is a file of MXNet's RecordIO: read it by mxnet.recordio, and give kseq.pack its samples as an iterable",
    r"\.ya?ml": "names the classes and the splits of a data set: give the folder that it lies in",
    _SPREADSHEETS: "is a spreadsheet: save it as CSV in UTF-8, and give that",
    r"\.(csv|tsv|jsonl?|ndjson|parquet)\.(gz|bz2|xz|zst)": "is a compressed table or annotation file: unpack it first",
    r"\.odgt": "is of a form that is not read: write a table with image,xmin,ymin,xmax,ymax,class, a line for each box",
    r"\.xml": "is no XML of CVAT: give the folder of XML files and images, as of Pascal VOC",
    r"\.nii(\.gz)?": "is a volume of NIfTI: read it by nibabel, and give kseq.pack its slices as arrays, samples first",
    r"\.(mha|mhd|nrrd)": "is a volume: read it by SimpleITK, and give kseq.pack its slices as arrays, samples first",
    r"\.safetensors": "is a file of tensors: load it, and give kseq.pack((images, labels), ...)",
}

# Other files that people give as a source, and what to give.
_SOURCES = {
    r"\.(z\d\d|(zip|7z)\.\d+|part\d+(\.rar)?)": "is one of several parts of an archive: unpack it, and pack what is in it",
    r"(data|test)_batch(_\d)?|batches\.meta": "is a pickle of CIFAR, which may run any program: pack the binary version",
    r"\.(7z|rar|zipx|iso|cab|dmg|z|gz|bz2|xz|zst|lz4|lzma|br)": "is packed or compressed: unpack it, and pack what is in it",
    r"\.(feather|orc|avro)": "is a table in a format that is not read: save it as Parquet or CSV, and pack that",
    r"\.(db|sqlite3?)": "is a database: save its table as CSV, or give kseq.pack its rows as an iterable",
    r"\.(txt|lst|dat|data)": (
        "is text: give the folder of a data set; a table with a first line of names of columns is packed by {csv}"
    ),
    r"\.(mp4|avi|mov|mkv|webm|mpe?g)": "is a video: save its frames as images first, in a folder for each class",
    IMAGE_END: "is one image: pack the folder of its class folders, or a table that names it",
}


def refused_source(path: str) -> str | None:
    """Why a file that was given as a source is not read, and the way out; None if its name is that of no such file."""
    found = next((reason for end, reason in _SOURCES.items() if re.search(rf"{end}$", path, re.IGNORECASE)), None)
    return refused_file(path) or (None if found is None else found.replace("{csv}", spelled("source_format", "csv")))


def refused_file(path: str) -> str | None:
    """Why a file that holds images is not read, and the way out; None if its name is that of no such file."""
    found = next((reason for end, reason in _FILES.items() if re.search(rf"{end}$", path, re.IGNORECASE)), None)
    return None if found is None else found.replace("{arrays}", spelled("source_format", "arrays"))


def find_tool(listing: Listing) -> tuple[str, str, str] | None:
    """What a folder or a zip looks like: a name, the file that tells it, and the way out; None if it is nothing known."""
    if not listing.images:
        reasons = ((name, refused_file(name)) for name in listing.others)
        refused = next(((name, reason) for name, reason in reasons if reason is not None), None)
        return None if refused is None else _refused_collection(*refused)
    for tool in _TOOLS:
        file = _telling_file(listing, tool)
        if file is not None:
            if tool.columns is _LISTED:
                call = spelled_call("pack", listing.full_path(file), "DATASET", source_format="lists", root="FOLDER")
                return tool.name, file, _LISTED.format(call=call)
            given = {
                _MASKS: spelled("columns", mask="mask", label=""),
                _NUMBERS: spelled("columns", label="", targets=["COLUMN"]),
            }
            roles = f" with {given[tool.columns]}" if tool.columns in given else ""
            call = spelled_call("pack", "table.csv", "DATASET", root=listing.path) + roles
            return tool.name, file, _TABLE.format(columns=tool.columns, call=call)
    return None


def find_spreadsheet(listing: Listing) -> tuple[str, str] | None:
    """A spreadsheet beside images, and the way to what it says; None if there is none."""
    # A program that has it open keeps another beside it.
    sheets = (name for name in listing.others if _SPREADSHEET.search(name) and "~$" not in name)
    file = next(sheets, None)
    if file is None or not listing.images:
        return None
    call = spelled_call("pack", f"{os.path.splitext(listing.full_path(file))[0]}.csv", "DATASET", root=_root(listing))
    return file, f"save it as CSV in UTF-8, and {call}"


def _root(listing: Listing) -> str:
    """The folder of all images, if there is one; else the listed one."""
    folders = listing.image_folders
    return listing.full_path(folders[0]) if len(folders) == 1 and folders[0] else listing.path


def _telling_file(listing: Listing, tool: _Tool) -> str | None:
    """A file that tells a layout; None if none of the first that are called so does."""
    names = listing.images if tool.is_image else listing.others
    # There may be a hundred thousand names.
    is_told = re.compile(rf"({tool.file})$").search
    files = [name for name in names if is_told(name)]
    if not files or (tool.is_image and _LEAST_SHARE * len(files) < len(names)):
        return None
    if tool.head is None:
        return files[0]
    # Lists of names belong to many layouts that are read.
    return next((name for name in files[:_OPENED] if re.search(tool.head, listing.head(name), re.MULTILINE)), None)


def _refused_collection(name: str, reason: str) -> tuple[str, str, str]:
    what, _, way_out = reason.partition(": ")
    return f"a collection whose {os.path.basename(name)} {what}", name, way_out
