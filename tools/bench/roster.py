"""Who takes part: each contestant's script, what it needs from PyPI and Debian, and in which tables it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "BARE_DECODE",
    "CONTESTANTS",
    "COPY",
    "COPY_LIKE_KSEQ",
    "DALI",
    "FFCV",
    "FILES",
    "GRAIN",
    "H5PY",
    "KERAS",
    "KERAS_GRAIN",
    "KSEQ",
    "TFDATA",
    "Contestant",
    "contestant",
]

KSEQ = "kseq"
COPY = "plain memory copy"
COPY_LIKE_KSEQ = "plain copy with as many buffers"
BARE_DECODE = "bare decode of kseq's whole images"
FFCV = "FFCV"
DALI = "DALI, CPU"
TFDATA = "tf.data, TFRecord"
GRAIN = "Grain, ArrayRecord"
H5PY = "h5py by hand"
KERAS = "image_dataset_from_directory"
KERAS_GRAIN = "image_dataset_from_directory, grain"
FILES = "tf.data, files"


@dataclass(frozen=True)
class Contestant:
    """One row of the tables.

    Attributes:
        name: As it stands in the tables.
        script: In `contestants/`.
        tables: The tables that it stands in.
        package: Whose version is reported.
        requirements: For pip; none: it runs in the environment of the benchmark itself.
        debian: Packages of Debian that pip needs to build it.
        pip_options: Such as a pin that must be there before the build.
        options: Passed to the script.
        variables: Of its environment.
        baseline: It is no loader, but what a loader can reach at most.
    """

    name: str
    script: str
    tables: tuple[str, ...]
    package: str = ""
    requirements: tuple[str, ...] = ()
    debian: tuple[str, ...] = ()
    pip_options: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    baseline: bool = False

    @property
    def is_rival(self) -> bool:
        """It is a loader of somebody else."""
        return not self.baseline and self.package != "kseq"


_CROPS = ("opencv-python-headless>=4.10", "simplejpeg>=1.8")
# PyPI's own build for Linux brings several GB of CUDA. A build for CPUs, "2.13.0+cpu", fits this pin too, and pip takes it
# where its configuration names an index or a folder that has one.
_TORCH = "torch==2.13.0"

_RAW, _JPEG = ("R", "RC"), ("J", "N")
_ALL = (*_RAW, *_JPEG)
_KERAS = ("grain", "keras>=3.15", "tensorflow>=2.18", "pillow")
_SPDL = ("spdl==0.8.*", "numpy", *_CROPS)

CONTESTANTS = (
    Contestant(KSEQ, "kseq_shards.py", _RAW, "kseq"),
    Contestant(KSEQ, "kseq_shards.py", _JPEG, "kseq", options={"encoding": "jpeg"}),
    Contestant("kseq, files as they are", "kseq_shards.py", _JPEG, "kseq", options={"encoding": "keep"}),
    Contestant(COPY, "memory_copy.py", ("R",), baseline=True),
    Contestant(COPY_LIKE_KSEQ, "memory_copy.py", ("R",), baseline=True),
    Contestant(BARE_DECODE, "bare_decode.py", _JPEG, "simplejpeg", options={"of": "kseq"}, baseline=True),
    Contestant("bare decode of the whole files", "bare_decode.py", _JPEG, "simplejpeg", options={"of": "files"}, baseline=True),
    Contestant(
        FFCV, "ffcv_beton.py", _ALL, "ffcv", ("ffcv", "pillow"), ("libopencv-dev", "libturbojpeg0-dev", "pkg-config", "g++")
    ),
    Contestant(DALI, "dali_cpu.py", _ALL, "nvidia-dali-cuda130", ("nvidia-dali-cuda130", "numpy")),
    Contestant(TFDATA, "tfdata_tfrecord.py", _ALL, "tensorflow"),
    Contestant(GRAIN, "grain_arrayrecord.py", _ALL, "grain", ("grain", "array-record", *_CROPS)),
    Contestant("SPDL", "spdl_pipeline.py", _RAW, "spdl", _SPDL),
    Contestant("SPDL", "spdl_pipeline.py", _JPEG, "spdl", _SPDL, options={"decoder": "spdl"}),
    Contestant("SPDL, simplejpeg", "spdl_pipeline.py", _JPEG, "spdl", _SPDL, options={"decoder": "simplejpeg"}),
    Contestant("LMDB", "lmdb_records.py", _ALL, "lmdb", ("lmdb", *_CROPS)),
    Contestant("LitData", "litdata_optimized.py", ("R", *_JPEG), "litdata", ("litdata", "pillow")),
    Contestant("MosaicML Streaming", "mosaicml_streaming.py", ("R", *_JPEG), "mosaicml-streaming", ("mosaicml-streaming",)),
    Contestant("WebDataset", "webdataset_tar.py", ("R", *_JPEG), "webdataset", ("webdataset", _TORCH, *_CROPS)),
    Contestant(KERAS, "keras_directory.py", _JPEG, "keras"),
    Contestant(KERAS_GRAIN, "keras_directory.py", _JPEG, "grain", _KERAS, options={"format": "grain"}),
    Contestant(H5PY, "h5py_by_hand.py", ("R", *_JPEG), "h5py"),
)


def contestant(name: str, table: str) -> Contestant:
    """The one of this name that stands in a table."""
    return next(each for each in CONTESTANTS if each.name == name and table in each.tables)
