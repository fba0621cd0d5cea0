"""WebDataset: tar files in which the files of a sample share a key.

The rules:

- The key is the sample id in nine digits. The image is `KEY.jpg` or `KEY.png`, as it is stored; raw pixels are PNG. Of several
  images, each is `KEY.FIELD.jpg` or `KEY.FIELD.png`. The mask is `KEY.mask.png`.
- The class number is `KEY.cls`. All but images, class names included, and the name of the source, is in `KEY.json`.
- A tar holds samples of one split, in the order of their ids, and is called like it: `train-000000.tar`; samples in no split
  are in `rest-000000.tar`. A sample in several splits is in the first of train, val and test, or else in the first by name.
- Tars say nothing of when and by whom they were written, so that the same samples make the same bytes.

Source: the WebDataset format, github.com/webdataset/webdataset.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping

from kseq.exporting.exported_samples import Exported, Sample
from kseq.exporting.rolling_files import RollingWriter
from kseq.images.formats import PNG
from kseq.storage.fields import Field

__all__ = ["TarsWriter"]


class TarsWriter(RollingWriter):
    """Writes samples into tars.

    Args:
        folder: An empty folder.
        exported: Where the samples are from.
        file_bytes: About how large each tar is.
    """

    def __init__(self, folder: str, exported: Exported, file_bytes: int) -> None:
        super().__init__(folder, ".tar", lambda path: _Tar(path, exported), file_bytes, _columns(exported.fields))


def _columns(fields: Mapping[str, Field]) -> dict[str, str]:
    """What holds each field; an image that is alone, `kseq pack` finds by itself."""
    images = [name for name, each in fields.items() if each.kind == "image"]
    others = [name for name in fields if name not in images]
    columns = {name: f"{name}{PNG.suffixes[0]}" if fields[name].is_pixels else f"json.{name}" for name in others}
    return columns if len(images) == 1 else {name: name for name in images} | columns


class _Tar:
    def __init__(self, path: str, exported: Exported) -> None:
        self._exported = exported
        self._file = open(path, "wb")  # noqa: SIM115  # see close
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115  # close
        self._num_images = sum(each.kind == "image" for each in exported.fields.values())

    def add(self, sample: Sample) -> int:
        for column, data in self._files(sample):
            # Its other attributes are what no machine or hour changes.
            member = tarfile.TarInfo(f"{sample.number:09d}.{column}")
            member.size = len(data)
            self._tar.addfile(member, io.BytesIO(data))
        return self._file.tell()

    def _files(self, sample: Sample) -> Iterator[tuple[str, bytes]]:
        """Column and content of each file of a sample."""
        exported = self._exported
        for name, picture in sample.pictures.items():
            is_alone = exported.fields[name].kind == "image" and self._num_images == 1
            yield f"{'' if is_alone else name}{picture.suffix}".removeprefix("."), picture.data
        if "label" in sample.values:
            yield "cls", str(int(sample.values["label"])).encode()
        told = {name: exported.told(name, value) for name, value in sample.values.items()}
        yield "json", json.dumps({"source": os.fsdecode(sample.source), **told}).encode()

    def close(self) -> None:
        with self._file:
            self._tar.close()
            self._file.flush()
            os.fsync(self._file.fileno())
