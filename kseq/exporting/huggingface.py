"""Parquet files and a card, as `datasets.load_dataset` and the Hub of Hugging Face read them.

The rules:

- Each field is a column of its name. Images and masks are of the feature `Image`, with the bytes that are stored, and the
  source of the sample as their path; raw pixels become PNG. Pixels of more than 8 bits or other channels than colours, and
  maps, are the bytes of a `.npy`, which `numpy.load` reads.
- Class numbers are of the feature `ClassLabel`, alone or in lists, with the names of all classes in the order of their numbers.
  Numbers, vectors and boxes are numbers in lists of their shape. Text is text, or bytes if one of the texts is not UTF-8.
- The features stand in the metadata of each file, with what each column is to kseq, and again in the card `README.md`, which
  names the files of each split. A `-` in the name of a split is `_` there, as `datasets` allows it; samples in no split are the
  split `rest`.
- Files are named as at the top of `kseq/exporting/webdataset.py`: `train-000000.parquet` and so on. They are written in row
  groups of some megabytes, and not compressed, as images are already.

Source: the package `datasets`, its documentation of Parquet, and that of dataset cards.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from kseq.exporting.data_card import CARD_NAME, Statements, card_text, dataset_name
from kseq.exporting.exported_samples import ExportedSample, ExportedSamples
from kseq.exporting.hub_columns import METADATA_KEY, HubColumn, hub_column
from kseq.exporting.rolling_files import RollingWriter
from kseq.exporting.writer import ExportFormat, close_durably, pack_options
from kseq.sources.arrow_files import load_pyarrow
from kseq.sources.described_columns import COLUMNS_KEY, describe_columns

__all__ = ["HUGGINGFACE", "HuggingFaceWriter"]

_LOADING = """```python
import datasets

dataset = datasets.load_dataset("FOLDER")  # the folder of this card, or its name on the Hub
```"""
# A row group is written when its rows hold so many bytes, or are so many: readers take a row group at a time.
_GROUP_BYTES = 8 << 20
_GROUP_ROWS = 1000


class HuggingFaceWriter(RollingWriter):
    """Writes samples into Parquet files, and a card.

    Args:
        folder: An empty folder.
        samples: The samples that will be written.
        file_bytes: About how large each file is to be, in bytes.

    Raises:
        ArgumentError: If pyarrow is not installed.
    """

    numbers_classes = True

    def __init__(self, folder: str, samples: ExportedSamples, file_bytes: int) -> None:
        load_pyarrow()
        self._samples = samples
        self._hub_columns = [hub_column(field, samples) for field in samples.fields.values()]
        self._rows: Counter[str] = Counter()
        columns = {name: name for name in samples.fields}
        metadata = {METADATA_KEY: _features(self._hub_columns), COLUMNS_KEY: describe_columns(pack_options(columns, samples))}
        super().__init__(folder, ".parquet", lambda path: _ParquetFile(path, self._hub_columns, metadata), file_bytes, columns)

    def add(self, sample: ExportedSample) -> None:
        super().add(sample)
        self._rows[self.split_of(sample)] += 1

    def close(self) -> None:
        super().close()
        with open(os.path.join(self._folder, CARD_NAME), "w", encoding="utf-8", newline="\n") as file:
            statements = Statements(dataset_name(self._samples.dataset.path))
            splits = [] if self._samples.split is None else [self._samples.split]
            file.write(card_text(self._samples.dataset, statements, self._front_matter(), _LOADING, splits))
            close_durably(file)

    def _front_matter(self) -> dict[str, Any]:
        """What tells `datasets` where the splits are, and what the columns hold."""
        names = _hub_names(self._rows)
        files = [{"split": names[split], "path": f"{split}-??????.parquet"} for split in names]
        splits = [
            {"name": names[split], "num_bytes": self.num_bytes(split), "num_examples": self._rows[split]} for split in names
        ]
        features = [{"name": column.name, **column.feature.in_card} for column in self._hub_columns]
        return {
            "configs": [{"config_name": "default", "data_files": files}],
            "dataset_info": {"features": features, "splits": splits},
        }


def _hub_names(splits: Iterable[str]) -> dict[str, str]:
    """What each split is called where names have letters, digits, `_` and single dots alone, no two alike."""
    names: dict[str, str] = {}
    for split in splits:
        name = plain = ".".join(filter(None, re.sub(r"[^\w.]", "_", split).split("."))) or "_"
        for number in itertools.count(2):
            if name not in names.values() and name != "all":
                break
            name = f"{plain}_{number}"
        names[split] = name
    return names


def _features(columns: list[HubColumn]) -> str:
    return json.dumps({"info": {"features": {column.name: column.feature.in_schema for column in columns}}})


HUGGINGFACE = ExportFormat("huggingface", HuggingFaceWriter, has_file_bytes=True)


class _ParquetFile:
    """A Parquet file, open for writing; it holds the rows of one row group in memory.

    Args:
        path: The file to make.
        columns: What the columns are.
        metadata: What stands beside the schema.
    """

    def __init__(self, path: str, columns: list[HubColumn], metadata: Mapping[bytes, str]) -> None:
        pyarrow = load_pyarrow()
        self._columns = columns
        self._schema = pyarrow.schema(
            [(column.name, column.feature.arrow_type) for column in columns],
            metadata,
        )
        file = open(path, "wb")  # noqa: SIM115  # see close
        small = [column.name for column in columns if not column.is_large]
        # Before the file, so that it is freed before: it writes there then, if an interrupt has kept it from being closed.
        self._writer = pyarrow.parquet.ParquetWriter(
            file, self._schema, compression="none", use_dictionary=small, write_statistics=small
        )
        self._file = file
        self._cells: list[list[Any]] = [[] for _ in columns]
        self._num_bytes = 0

    def add(self, sample: ExportedSample) -> int:
        for column, cells in zip(self._columns, self._cells, strict=True):
            cells.append(column.cell(sample))
        self._num_bytes += sum(len(image.data) for image in sample.images.values())
        self._num_bytes += sum(value.nbytes for value in sample.values.values())
        if self._num_bytes >= _GROUP_BYTES or len(self._cells[0]) >= _GROUP_ROWS:
            self._write_group()
        size: int = self._file.tell() + self._num_bytes
        return size

    def _write_group(self) -> None:
        pyarrow = load_pyarrow()
        arrays = [
            pyarrow.array(cells, column.feature.arrow_type) for column, cells in zip(self._columns, self._cells, strict=True)
        ]
        self._writer.write_table(pyarrow.Table.from_arrays(arrays, schema=self._schema))
        self._cells = [[] for _ in self._columns]
        self._num_bytes = 0

    def close(self) -> None:
        with self._file:
            with self._writer:
                if self._cells[0]:
                    self._write_group()
            close_durably(self._file)
