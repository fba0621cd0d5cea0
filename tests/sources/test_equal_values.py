"""Equal byte strings and texts are found as a dict finds them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseq.sources import equal_values
from kseq.sources.equal_values import find_first_rows, number_equal
from kseq.storage.checksums import checksums


def first_rows(values: list[bytes]) -> list[int]:
    known: dict[bytes, int] = {}
    return [known.setdefault(value, row) for row, value in enumerate(values)]


@given(st.lists(st.binary(max_size=2)))
def test_the_first_of_equal_strings_is_found(values: list[bytes]) -> None:
    found = find_first_rows(len(values), lambda: iter([values[:3], values[3:]]))
    expected = first_rows(values)
    assert (expected if found is None else found.tolist()) == expected
    assert (found is None) == (len(set(values)) == len(values))


def test_strings_whose_checksums_are_equal_by_chance_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equal_values, "checksums", lambda values: checksums([b"" for _ in values]))
    values = [b"a", b"b", b"a", b"c"]
    found = find_first_rows(4, lambda: iter([values]))
    assert found is not None
    assert found.tolist() == [0, 1, 0, 3]


@pytest.mark.slow
@given(st.lists(st.none() | st.text(max_size=2)))
def test_equal_texts_have_one_number_and_none_has_another(texts: list[str | None]) -> None:
    numbers = number_equal(iter([texts[:2], texts[2:]])).tolist()
    for one, number in zip(texts, numbers, strict=True):
        assert (number == -1) == (one is None)
        assert [other == one for other in texts] == [other_number == number for other_number in numbers]
