"""Checksums and digests: of which bytes they are, and what they tell apart."""

from __future__ import annotations

import numpy as np
import pytest
import xxhash

from kseq.storage.checksums import arrays_digest
from tests.helpers.plain_hdf5 import ARRAYS


def test_a_digest_is_the_one_that_is_written_down() -> None:
    lines = b""
    for name in sorted(ARRAYS):
        array = ARRAYS[name]
        lines += f"{name} {array.dtype.str} {array.shape}\n".encode() + xxhash.xxh3_128(array.tobytes()).digest()
    assert arrays_digest(ARRAYS) == xxhash.xxh3_128(lines).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        {**ARRAYS, "label": np.array([0, 1, 2, 4], "<i4")},
        {**ARRAYS, "label": ARRAYS["label"].view("<u4")},
        {**ARRAYS, "image": ARRAYS["image"].reshape(4, 2, 3)},
        {**{name: array for name, array in ARRAYS.items() if name != "label"}, "labels": ARRAYS["label"]},
    ],
    ids=["bytes", "dtype", "shape", "name"],
)
def test_a_digest_stands_for_bytes_dtypes_shapes_and_names(other: dict[str, np.ndarray]) -> None:
    assert arrays_digest(other) != arrays_digest(ARRAYS)
