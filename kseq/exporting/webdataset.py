"""WebDataset: tar files in which the files of a sample share a key.

The rules:

- The key is the sample id in nine digits. The image is `KEY.jpg` or `KEY.png`, as it is stored; raw pixels become PNG, or
  `KEY.npy` if they have more than 8 bits or other channels than colours. Of
  several images, or of one that is not called `image`, each is `KEY.FIELD.jpg` or `KEY.FIELD.png`. A mask is `KEY.FIELD.png`.
- The class number is `KEY.cls`. All values but images, with classes by their names, and the source of the sample are in
  `KEY.json`.
- A tar holds samples of one split, in the order of their ids, and is named like the split: `train-000000.tar`. Samples in no
  split are in `rest-000000.tar`. A sample in several splits is in the first of train, val and test, or else in the first by
  name.
- Tars do not say when and by whom they were written, so that the same samples make the same bytes.

Source: the WebDataset format, github.com/webdataset/webdataset.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator

from kseq.exporting.exported_samples import ExportedSample, ExportedSamples
from kseq.exporting.rolling_files import RollingWriter
from kseq.exporting.writer import ExportFormat, close_durably
from kseq.images.formats import PNG
from kseq.images.number_files import ARRAY_SUFFIXES
from kseq.storage.fields import Field

__all__ = ["WEBDATASET", "WebDatasetWriter"]


class WebDatasetWriter(RollingWriter):
    """Writes samples into tars.

    Args:
        folder: An empty folder.
        samples: The samples that will be written.
        file_bytes: About how large each tar is to be, in bytes.
    """

    def __init__(self, folder: str, samples: ExportedSamples, file_bytes: int) -> None:
        super().__init__(folder, ".tar", lambda path: _Tar(path, samples), file_bytes, _columns(samples))


WEBDATASET = ExportFormat("webdataset", WebDatasetWriter, has_file_bytes=True)


def _columns(samples: ExportedSamples) -> dict[str, str]:
    """Which column holds each field; `kseq pack` finds the image by itself if there is one image field."""
    fields = samples.fields
    images = [name for name, field in fields.items() if field.is_image]
    others = [name for name in fields if name not in images]
    columns = {name: f"{name}{_suffix(fields[name])}" if fields[name].is_pixels else f"json.{name}" for name in others}
    if _has_plain_image(samples):
        # The usual image is no array.
        return columns if fields["image"].handler.fits_png else {"image": _suffix(fields["image"])[1:]} | columns
    named = {name: name if fields[name].handler.fits_png else f"{name}{_suffix(fields[name])}" for name in images}
    return named | columns


def _suffix(field: Field) -> str:
    return PNG.suffixes[0] if field.handler.fits_png else ARRAY_SUFFIXES[0]


def _has_plain_image(samples: ExportedSamples) -> bool:
    """Whether the only image is called as that of a file without a name is."""
    return samples.has_one_image and "image" in samples.fields


class _Tar:
    """A tar, open for writing.

    Args:
        path: The file to make.
        samples: The samples that will be written.
    """

    def __init__(self, path: str, samples: ExportedSamples) -> None:
        self._samples = samples
        self._file = open(path, "wb")  # noqa: SIM115  # see close
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115  # close

    def add(self, sample: ExportedSample) -> int:
        for column, data in self._files(sample):
            # The defaults of all other attributes are the same on every machine and at any time.
            member = tarfile.TarInfo(f"{sample.sample_id:09d}.{column}")
            member.size = len(data)
            self._tar.addfile(member, io.BytesIO(data))
        return self._file.tell()

    def _files(self, sample: ExportedSample) -> Iterator[tuple[str, bytes]]:
        """Column and bytes of each file of a sample."""
        samples = self._samples
        for name, image in sample.images.items():
            is_only_image = samples.fields[name].is_image and _has_plain_image(samples)
            yield f"{'' if is_only_image else name}{image.suffix}".removeprefix("."), image.data
        if "label" in sample.values:
            yield "cls", str(int(sample.values["label"])).encode()
        values = {name: samples.json_value(name, value) for name, value in sample.values.items()}
        yield "json", json.dumps({"source": os.fsdecode(sample.source), **values}).encode()

    def close(self) -> None:
        with self._file:
            self._tar.close()
            close_durably(self._file)
