"""Checksums and digests: of which bytes they are, and what they tell apart."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import xxhash

import kseq
from kseq.storage import checksums
from kseq.storage.checksums import CHECKSUM_DTYPE, DIGEST_BYTES, Digest, arrays_digest, checksum, row_checksum
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


def test_a_row_checksum_is_that_of_its_pieces_in_their_order() -> None:
    pieces = [b"photo", np.arange(5, dtype="<u4"), b""]
    joined = b"photo" + np.arange(5, dtype="<u4").tobytes()
    assert row_checksum(pieces) == checksum(joined) == xxhash.xxh3_64_intdigest(joined)
    assert row_checksum(reversed(pieces)) != row_checksum(pieces)


def test_checksums_and_digests_have_the_sizes_that_files_store() -> None:
    assert np.array(row_checksum([b"any"]), CHECKSUM_DTYPE).tolist() == checksum(b"any")
    digest = Digest(b"a")
    digest.update(b"ny")
    assert len(digest.digest()) == DIGEST_BYTES
    assert digest.hexdigest() == digest.digest().hex() == Digest(b"any").hexdigest()


def test_no_other_module_names_the_algorithm() -> None:
    modules = [path for path in Path(kseq.__path__[0]).rglob("*.py") if path != Path(checksums.__file__)]
    names = {"xxhash", "hashlib"}
    for module in modules:
        nodes = ast.walk(ast.parse(module.read_text()))
        imported = {alias.name for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names}
        assert not imported & names, module
