"""Blocks of values: what comes back is what went in, and equal values have equal bytes."""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseq.sources.cell_types import Rejection
from kseq.sources.value_blocks import Block, add_block, decode, encode, stored_sizes
from kseq.storage.checksums import Digest


class Place(NamedTuple):
    """A location, as sources have them."""

    name: str
    row: int | None


class Told(str):
    """Text that is made of more than a text."""

    def __new__(cls, text: str, teller: str) -> Told:
        told = super().__new__(cls, text)
        told.teller = teller
        return told

    def __reduce__(self) -> tuple[Any, ...]:
        return Told, (str(self), self.teller)

    def __repr__(self) -> str:
        return f"Told({str(self)!r}, {self.teller!r})"

    teller: str


TEXTS = st.text(st.characters(), max_size=5)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    TEXTS,
    st.binary(max_size=5),
    TEXTS.map(Rejection),
    st.builds(Told, TEXTS, TEXTS),
    st.builds(Place, TEXTS, st.none() | st.integers()),
    st.tuples(TEXTS, st.binary(max_size=3)),
    st.just(()),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(TEXTS, st.integers(), max_size=2),
)
ARRAYS = st.one_of(
    st.lists(st.integers(-9, 9), max_size=4).map(lambda values: np.array(values, np.int32)),
    st.lists(st.floats(width=32, allow_nan=False), max_size=3).map(lambda values: np.array(values, np.float32)),
    st.integers(0, 3).map(lambda count: np.zeros((count, 4), np.float32)),
    st.integers(-9, 9).map(np.int64),
    st.floats(width=32, allow_nan=False).map(np.float32),
)


def digest(block: Block) -> str:
    total = Digest()
    add_block(total, block)
    return total.hexdigest()


@given(st.one_of(st.lists(PLAIN, min_size=1), PLAIN.flatmap(lambda value: st.lists(st.just(value), min_size=1))))
def test_values_come_back_with_their_types(values: list[Any]) -> None:
    found = decode(pickle.loads(pickle.dumps(encode(values))))
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@given(st.lists(st.one_of(ARRAYS, st.none()), min_size=1))
def test_arrays_come_back_in_their_dtypes_and_shapes(values: list[Any]) -> None:
    block = encode(values)
    sizes = stored_sizes(block).tolist()
    for found, value, size in zip(decode(block), values, sizes, strict=True):
        assert (found is None) == (value is None)
        if value is not None:
            assert (found.dtype, found.shape) == (value.dtype, value.shape)
            np.testing.assert_array_equal(found, value)
            # Arrays that do not go together are pickled.
            assert size == value.nbytes or len({(each.dtype, each.shape[1:]) for each in values if each is not None}) > 1


@given(st.lists(PLAIN, min_size=1), st.lists(PLAIN, min_size=1))
def test_only_equal_values_have_one_digest(values: list[Any], others: list[Any]) -> None:
    copy = pickle.loads(pickle.dumps(values))
    assert digest(encode(copy)) == digest(encode(values))
    are_equal = [(type(value), repr(value)) for value in values] == [(type(value), repr(value)) for value in others]
    assert (digest(encode(others)) == digest(encode(values))) == are_equal


@pytest.mark.parametrize(
    ("values", "most_bytes"),
    [
        ([None] * 1000, 200),
        ([number % 3 for number in range(1000)], 1500),
        (["cat", "dog"] * 500, 1500),
        ([b"photo-%06d.jpg" % number for number in range(1000)], 18_000),
        ([("images", number) for number in range(1000)], 4_000),
        ([np.float32(number) for number in range(1000)], 5_000),
    ],
)
def test_a_block_is_about_as_large_as_what_it_holds(values: list[Any], most_bytes: int) -> None:
    assert len(pickle.dumps(encode(values), protocol=5)) < most_bytes
