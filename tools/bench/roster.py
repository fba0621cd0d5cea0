"""Who takes part: each contestant's script, what it needs from PyPI and Debian, and in which tables it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["BARE_DECODE", "CONTESTANTS", "COPY", "DALI", "FFCV", "GRAIN", "H5PY", "KSEQ", "TFDATA", "Contestant", "contestant"]

KSEQ = "kseq"
COPY = "plain memory copy"
BARE_DECODE = "bare decode of kseq's whole images"
FFCV = "FFCV"
DALI = "DALI, CPU"
TFDATA = "tf.data, TFRecord"
GRAIN = "Grain, ArrayRecord"
H5PY = "h5py by hand"


@dataclass(frozen=True)
class Contestant:
    """One row of the tables.

    Attributes:
        name: As it stands in the tables.
        script: In `contestants/`.
        tables: The tables that it stands in, of "RJN".
        package: Whose version is reported.
        requirements: For pip; none: it runs in the environment of the benchmark itself.
        debian: Packages of Debian that pip needs to build it.
        pip_options: Such as a pin that must be there before the build.
        options: Passed to the script.
        variables: Of its environment.
    """

    name: str
    script: str
    tables: str
    package: str = ""
    requirements: tuple[str, ...] = ()
    debian: tuple[str, ...] = ()
    pip_options: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)


_CROPS = ("opencv-python-headless>=4.10", "simplejpeg>=1.8")
# PyPI's own build for Linux brings several GB of CUDA. A build for CPUs, "2.13.0+cpu", fits this pin too, and pip takes it
# where its configuration names an index or a folder that has one.
_TORCH = "torch==2.13.0"

CONTESTANTS = (
    Contestant(KSEQ, "kseq_shards.py", "R", "kseq"),
    Contestant(KSEQ, "kseq_shards.py", "JN", "kseq", options={"encoding": "jpeg"}),
    Contestant("kseq, files as they are", "kseq_shards.py", "JN", "kseq", options={"encoding": "keep"}),
    Contestant(COPY, "memory_copy.py", "R"),
    Contestant(BARE_DECODE, "bare_decode.py", "JN", "simplejpeg", options={"of": "kseq"}),
    Contestant("bare decode of the whole files", "bare_decode.py", "JN", "simplejpeg", options={"of": "files"}),
    Contestant(
        FFCV, "ffcv_beton.py", "RJN", "ffcv", ("ffcv", "pillow"), ("libopencv-dev", "libturbojpeg0-dev", "pkg-config", "g++")
    ),
    Contestant(DALI, "dali_cpu.py", "RJN", "nvidia-dali-cuda130", ("nvidia-dali-cuda130", "numpy")),
    Contestant(TFDATA, "tfdata_tfrecord.py", "RJN", "tensorflow"),
    Contestant(GRAIN, "grain_arrayrecord.py", "RJN", "grain", ("grain", "array-record", *_CROPS)),
    Contestant("LMDB", "lmdb_records.py", "RJN", "lmdb", ("lmdb", *_CROPS)),
    Contestant("LitData", "litdata_optimized.py", "RJN", "litdata", ("litdata", "pillow")),
    Contestant("MosaicML Streaming", "mosaicml_streaming.py", "RJN", "mosaicml-streaming", ("mosaicml-streaming",)),
    Contestant("WebDataset", "webdataset_tar.py", "RJN", "webdataset", ("webdataset", _TORCH, *_CROPS)),
    Contestant("image_dataset_from_directory", "keras_directory.py", "JN", "keras"),
    Contestant(H5PY, "h5py_by_hand.py", "RJN", "h5py"),
)


def contestant(name: str, table: str) -> Contestant:
    """The one of this name that stands in a table of "RJN"."""
    return next(each for each in CONTESTANTS if each.name == name and table in each.tables)
