"""Datasets as somebody may hand them over who means harm: how they are forged, and all that is done with one."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import kseq
from kseq.errors import KseqError
from kseq.storage.hdf5_writer import write_file
from kseq.storage.index import Index
from kseq.storage.index_schema import contents_digest, tables_digest
from kseq.training.augment import RandomResizedCrop
from kseq.training.batch_maker import BatchMaker
from kseq.training.image_spec import ImageSpec
from kseq.training.transforms import AugmentationList
from kseq_tools.main import main

# So many samples are read in each way.
_SAMPLES = 6


class UnexpectedError(Exception):
    """Something other than a KseqError came, or a file was written where none belongs."""


def forge_index(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change the arrays of an index, which may then be anything, and write it with digests that fit.

    Args:
        path: The dataset's folder.
        edit: Changes a dict of the arrays by name.
    """
    index = Index.open(str(path))
    arrays = {name: np.array(array) for name, array in index.file.arrays.items()}
    attributes = {name: value for name, value in index.header.attributes.items() if name != "complete"}
    edit(arrays)
    attributes |= {"digest": contents_digest(arrays), "tables_digest": tables_digest(arrays)}
    os.remove(path / "index.h5")
    write_file(str(path / "index.h5"), attributes, arrays)


def exercise(path: Path, scratch: Path) -> list[str]:
    """Do with a dataset what users do; returns the texts of the errors with which kseq refused something.

    Args:
        path: The dataset's folder, which may be changed.
        scratch: A folder for what is exported. Nothing may be written beside `scratch/out`.

    Raises:
        UnexpectedError: If anything but a KseqError of one line comes, or a file is written elsewhere.
    """
    scratch.mkdir(exist_ok=True)
    before = {name: file.stat().st_size for name, file in _files(path).items()}
    refusals: list[str] = []
    for name, use in _USES.items():
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                use(str(path), scratch)
        except KseqError as error:
            if "\n" in str(error):
                raise UnexpectedError(f"{name}: a message of several lines: {error}") from error
            refusals.append(f"{name}: {type(error).__name__}: {error}")
        except Exception as error:
            raise UnexpectedError(f"{name}: {type(error).__name__}: {error}") from error
        strangers = [file.name for file in scratch.iterdir() if file.name != "out"]
        if strangers or {name: file.stat().st_size for name, file in _files(path).items()} != before:
            raise UnexpectedError(f"{name}: wrote {strangers or 'into the dataset'}")
        shutil.rmtree(scratch / "out", ignore_errors=True)
    return refusals


def _files(path: Path) -> Mapping[str, Path]:
    return {file.name: file for file in path.iterdir()}


def _look(path: str, _: Path) -> None:
    dataset = kseq.ShardDataset(path)
    print(dataset, dataset.splits, dataset.num_bytes, dataset.changes, dataset.dropped, dataset.digest, dataset.class_names)
    print(dataset.settings, dataset.rejected(), [field.describe_storage(dataset.settings) for field in dataset.fields.values()])


def _count(path: str, _: Path) -> None:
    kseq.ShardDataset(path).counts()


def _read(verify: str, how: str = "map") -> Callable[[str, Path], None]:
    def read(path: str, _: Path) -> None:
        for split in [None, *kseq.ShardDataset(path).splits]:
            dataset = kseq.ShardDataset(path, split, verify=verify, read=how)
            positions = range(min(len(dataset), _SAMPLES))
            dataset.read(positions)
            for position in positions:
                dataset.source(position)

    return read


def _read_one_by_one(path: str, _: Path) -> None:
    """Each sample alone, so that one that is refused hides no other."""
    dataset, errors = kseq.ShardDataset(path, verify="never"), []
    for position in range(min(len(dataset), _SAMPLES)):
        try:
            print(dataset[position])
        except KseqError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _values(path: str, _: Path) -> None:
    dataset = kseq.ShardDataset(path)
    for name in (name for name, field in dataset.fields.items() if not field.is_pixels):
        dataset.take(range(min(len(dataset), _SAMPLES))).values(name)


def _batches(augmentations: AugmentationList | None, how: str = "map") -> Callable[[str, Path], None]:
    def fill(path: str, _: Path) -> None:
        dataset = kseq.ShardDataset(path, verify="never", read=how)
        maker = BatchMaker(dataset, list(dataset.fields), ImageSpec(8, 8), augmentations)
        ids = np.arange(min(len(dataset), _SAMPLES))
        specs = maker.specs(ids)
        num_bytes = sum(spec.num_bytes for spec in specs.values())
        if num_bytes > 1 << 28:
            raise UnexpectedError(f"a batch of {len(ids)} samples takes {num_bytes} bytes")
        maker.fill({name: np.empty(spec.shape, spec.dtype) for name, spec in specs.items()}, 0, ids, 0)

    return fill


def _verify(path: str, _: Path) -> None:
    for line in kseq.verify(path).damaged:
        if "\n" in line:
            raise UnexpectedError(f"a line of several lines: {line}")


def _info(path: str, _: Path) -> None:
    with contextlib.suppress(SystemExit):
        main(["info", path])


def _export(target: str) -> Callable[[str, Path], None]:
    return lambda path, scratch: print(kseq.export(path, str(scratch / "out"), format=target))


def _merge(path: str, scratch: Path) -> None:
    changed = scratch / "out" / "changed"
    shutil.copytree(path, changed)
    try:
        kseq.drop(changed, ids=[0])
        kseq.compact(changed)
    finally:
        kseq.merge([path, changed], scratch / "out" / "merged", copy=True)


_USES: dict[str, Callable[[str, Path], None]] = {
    "look": _look,
    "count": _count,
    "read": _read("first"),
    "read unverified": _read("never"),
    "read by pread": _read("first", "pread"),
    "read by pread unverified": _read("never", "pread"),
    "read one by one": _read_one_by_one,
    "values": _values,
    "batches": _batches(None),
    "batches by pread": _batches(None, "pread"),
    "crops": _batches(AugmentationList([RandomResizedCrop(8)])),
    "verify": _verify,
    "info": _info,
    "export to a folder": _export("folder"),
    "export to webdataset": _export("webdataset"),
    "merge": _merge,
}
