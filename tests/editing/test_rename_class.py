"""Other names for the classes of a packed dataset."""

from __future__ import annotations

from pathlib import Path

import pytest

import kseq
from kseq.errors import ArgumentError
from tests.helpers.edited import check_undo, class_names_of, labels_of, published_files
from tests.helpers.messages import Parts, raises


def test_a_class_gets_another_name_and_keeps_its_samples(packed: Path) -> None:
    before, old = published_files(packed), labels_of(packed)
    report = kseq.rename_class(packed, "b", "ünïque")
    assert (report.class_number, report.class_names) == (1, ("a", "ünïque", "c"))
    dataset = kseq.ShardDataset(packed)
    assert dataset.class_names == report.class_names
    assert labels_of(packed) == old
    assert dataset.changes == ("rename-class 'b' to 'ünïque'",)
    check_undo(packed, before)


def test_a_class_of_several_labels_gets_another_name(objects: Path) -> None:
    before, old = published_files(objects), class_names_of(objects, "labels")
    kseq.rename_class(objects, "bee", "wasp", field="labels")
    assert class_names_of(objects, "labels") == [["wasp" if name == "bee" else name for name in entry] for entry in old]
    # Not the first field that has classes.
    assert kseq.ShardDataset(objects).class_names == ("garden", "summer", "weg")
    check_undo(objects, before)
    kseq.rename_class(objects, "weg", "path", field="topics")
    assert kseq.ShardDataset(objects).class_names == ("garden", "summer", "path")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kat", "x", ("label", "'kat'", "'cat'")),
        ("x", "y", ("label", "'x'", "'cat'", "'dog'")),
        ("cat", "dog", ("label", "'dog'", "kseq.relabel(...)")),
        ("cat", "", ("new=''", "'nan'")),
        ("cat", " x", ("new=' x'",)),
        ("cat", "x\udcff", ("new='x\\udcff'",)),
    ],
)
def test_names_that_classes_cannot_have_are_refused(packed_photos: Path, old: str, new: str, message: Parts) -> None:
    before = published_files(packed_photos)
    with raises(ArgumentError, *message):
        kseq.rename_class(packed_photos, old, new)
    assert published_files(packed_photos) == before
