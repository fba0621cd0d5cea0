"""What the HDF5 reader of Hugging Face's `datasets` makes of shards."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import datasets
import numpy as np
import pytest

import kseq
from tests.helpers.messages import assert_says
from tests.helpers.photos import write_photos

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("datasets.packaged_modules.hdf5") is None,
    reason=f"datasets {datasets.__version__} reads no HDF5, 4.0 and later do",
)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw")
    write_photos(root / "photos", {"cat": 7, "dog": 6})
    kseq.pack(root / "photos", root / "packed", images=kseq.ImageSettings("raw", (8, 9)), shard_bytes=1000, workers=0)
    return root / "packed"


def test_raw_shards_are_read_where_the_features_name_the_arrays(raw: Path, tmp_path: Path) -> None:
    kinds = {"image": datasets.Array3D((8, 9, 3), "uint8"), "label": datasets.ClassLabel(names=["cat", "dog"])}
    found = datasets.load_dataset(
        "hdf5",
        data_files=f"{raw}/shard-*.h5",
        features=datasets.Features(kinds),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    expected = kseq.ShardDataset(raw).read(range(13))
    assert kseq.ShardDataset(raw).num_shards > 1
    rows = found.with_format("numpy")[:]
    np.testing.assert_array_equal(rows["image"], expected["image"])
    np.testing.assert_array_equal(rows["label"], expected["label"])


def test_without_features_the_groups_of_a_shard_are_taken_for_columns(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(datasets.exceptions.DatasetGenerationError) as caught:
        datasets.load_dataset("hdf5", data_files=f"{raw}/shard-*.h5", cache_dir=str(tmp_path / "cache"))
    assert_says(str(caught.value.__cause__), "Mismatching child array lengths")
