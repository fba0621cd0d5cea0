"""The names of a dataset's files, and the kind and version of each."""

from __future__ import annotations

from pathlib import Path

import pytest

import kseq
from kseq.errors import FormatError
from kseq.storage import layout
from kseq.storage.hdf5_writer import write_file
from kseq.storage.layout import FORMAT_VERSION, INDEX_KIND, SHARD_KIND, check_version, is_dataset_file, shard_name, shard_number
from tests.helpers.code import texts_of
from tests.helpers.messages import Parts, assert_says, raises
from tests.helpers.plain_hdf5 import ARRAYS, ATTRIBUTES, header_refusal

LIBRARY = Path(kseq.__path__[0])


@pytest.mark.parametrize(
    ("kind", "version", "message"),
    [
        (INDEX_KIND, 1, ("'kseq shard'", "'kseq index'")),
        (SHARD_KIND, FORMAT_VERSION + 1, ("version", FORMAT_VERSION + 1, FORMAT_VERSION, "newer")),
        (SHARD_KIND, 1, ("version", 1, FORMAT_VERSION, "older")),
        (SHARD_KIND, "1", ("version", FORMAT_VERSION)),
    ],
)
def test_refuses_another_kind_or_version(kind: str, version: int | str, message: Parts) -> None:
    with raises(FormatError, "a.h5", *message):
        check_version("a.h5", {**ATTRIBUTES, "version": version}, kind)


def test_a_newer_version_is_refused_as_such_whatever_it_holds(path: str) -> None:
    write_file(path, {**ATTRIBUTES, "version": FORMAT_VERSION + 1}, {**ARRAYS, "unheard_of": ARRAYS["label"]})
    assert_says(str(header_refusal(path)), "version", FORMAT_VERSION + 1, "newer")


@pytest.mark.parametrize("number", [0, 7, 99_999, 100_000, 12_345_678])
def test_a_shard_is_known_by_its_name(number: int) -> None:
    assert shard_number(shard_name(number)) == number
    assert is_dataset_file(shard_name(number))


@pytest.mark.parametrize("name", ["shard-1.h5", "shard-000001.h5", "shard-00000.h5.bak", "shard-cats.h5", "a/shard-00000.h5"])
def test_other_names_are_no_shards(name: str) -> None:
    assert shard_number(name) is None
    assert not is_dataset_file(name)


def test_no_other_module_spells_out_the_name_of_a_file() -> None:
    names = (layout.INDEX_NAME, layout.SHARD_PREFIX, layout.TEMPORARY_PREFIX.removesuffix("tmp-"))
    texts = [
        (module.name, text.value)
        for module in LIBRARY.rglob("*.py")
        if module != Path(layout.__file__)
        for text in texts_of(module)
    ]
    assert not [(module, text) for module, text in texts if any(name in text for name in names)]
