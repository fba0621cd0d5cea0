"""Byte strings as arrays of a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseq.errors import DamagedError
from kseq.storage.hdf5_writer import write_file
from kseq.storage.strings import pack_strings, read_string, read_strings, string_schema
from tests.helpers.messages import raises
from tests.helpers.plain_hdf5 import ATTRIBUTES, mapped


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_byte_strings_come_back(tmp_path_factory: pytest.TempPathFactory, strings: list[bytes]) -> None:
    path = str(tmp_path_factory.mktemp("strings") / "strings.h5")
    write_file(path, ATTRIBUTES, pack_strings("text", strings))
    file = mapped(path, string_schema("text", len(strings)))
    assert read_strings(file, "text") == strings


@pytest.mark.parametrize("offsets", [[0, 3, 1, 5], [0, 1, 6, 6], [0, 2**63, 2**63, 5]])
def test_refuses_offsets_that_do_not_lie_in_the_bytes(tmp_path: Path, offsets: list[int]) -> None:
    path = str(tmp_path / "strings.h5")
    arrays = {"text/bytes": np.zeros(5, np.uint8), "text/offsets": np.array(offsets, "<u8")}
    write_file(path, ATTRIBUTES, arrays)
    file = mapped(path, string_schema("text", 3))
    with raises(DamagedError, path, "text/offsets", "row 1", f"{offsets[1]}", f"{offsets[2]}"):
        read_string(file, "text", 1)
