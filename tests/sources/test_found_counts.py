"""What is found is packed or rejected, in generated tables and records, whatever they hold and whichever options are given."""

from __future__ import annotations

import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kseq
from kseq.errors import SourceError
from kseq.sources.example_message import example_class
from kseq.sources.tfrecord import frame_record
from tests.helpers.records import detection, example, png

# Files that lie there, of which two differ in their suffix alone, and two in their bytes alone; one is no image.
FILES = {
    "a.png": 1,
    "b.PNG": 2,
    "sub/c.png": 3,
    "d.png": 4,
    "d.jpg": 4,
    "e.f.png": 5,
    "copy of a.png": 1,
    "ä.png": 6,
    "no.txt": -1,
}
NAMED = ["a.png", "./a.png", "sub/c.png", "sub\\c.png", "b.png", "b.PNG", "d", "e.f", "no.txt", "gone.png", "copy of a.png"]
NAMED += ["ä.png", "a\u0308.png", "", " ", "../x/a.png", "a.png ", "A.png", "sub", "nan", "0", "\0", "x" * 300]
LABELS: list[Any] = ["cat", "dog", "1", "1.0", "", "nan", "-1", "caf\udce9", "a|b", "[1, 2]"]
BOXES = [
    "[[1, 2, 3, 4]]",
    "[[1, 2, 3]]",
    "[]",
    "",
    "[[9, 9, 1, 1]]",
    "[[0, 0, 900, 900], [5, 5, 5, 5]]",
    "junk",
    "[[1, 2, NaN, 4]]",
]
KINDS = ['["cat"]', '["cat", "dog"]', "[]", "", "cat", "cat|dog"]
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "duplicates": st.sampled_from(["keep", "drop", "group"]),
        "class_names": st.sampled_from([["cat", "dog"], ["cat"], ["1"]]),
        "val": st.sampled_from([0.2, 0.5]),
        "suffix": st.just(".png"),
    },
)
ROWS = st.lists(st.tuples(*map(st.sampled_from, (NAMED, LABELS, BOXES, KINDS))), min_size=1, max_size=10)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for name, colour in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(png((colour, 0, 0), (20, 20)) if colour >= 0 else b"no image")
    return root


def check(source: Path, target: Path, **options: Any) -> kseq.PackReport | None:
    """The report, whose numbers agree with each other and with the dataset; None if nothing could be packed."""
    try:
        report = kseq.pack(source, target, workers=0, overwrite=True, **options)
    except (SourceError, kseq.errors.ArgumentError):
        return None
    assert report.num_found == report.num_samples + len(report.rejected)
    dataset = kseq.ShardDataset(target)
    assert len(dataset) == report.num_samples == sum(report.splits.values())
    assert len(dataset.rejected()) == len(report.rejected)
    names = [*report.class_names, *(name for field in dataset.fields.values() for name in field.class_names)]
    assert all(name.encode() for name in names)
    return report


# A table says once what its paths were taken for.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=60, deadline=None)
@given(rows=ROWS, options=OPTIONS, kind=st.sampled_from(["csv", "jsonl"]), has_boxes=st.booleans())
def test_every_row_of_a_table_is_packed_or_rejected(
    photos: Path,
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, ...]],
    options: dict[str, Any],
    kind: str,
    has_boxes: bool,
) -> None:
    folder = tmp_path_factory.mktemp("table")
    names = ("image", "label", "boxes", "kinds")
    with open(folder / f"t.{kind}", "w", newline="", errors="surrogateescape") as file:
        if kind == "csv":
            csv.writer(file).writerows([names, *([cell.replace("\0", "") for cell in row] for row in rows)])
        else:
            file.writelines(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=True) + "\n" for row in rows)
    columns = kseq.Columns(label="", boxes="boxes", box_labels="kinds") if has_boxes else kseq.Columns()
    report = check(folder / f"t.{kind}", folder / "packed", columns=columns, root=photos, **options)
    assert report is None or report.num_found == len(rows)


def sequence() -> bytes:
    message = example_class()()
    message.features.feature["image/encoded"].bytes_list.value.append(png())
    message.feature_lists = b"\n\0"
    written: bytes = message.SerializeToString()
    return written


def labelled(label: Any) -> bytes:
    return example({"image/encoded": [png()], "image/class/label": [label]})


RECORDS = {
    "boxed": detection([(0.1, 0.1, 0.5, 0.5)], text=["cat"], label=[1]),
    "two": detection([(0.1, 0.1, 0.5, 0.5), (0.2, 0.2, 0.2, 0.9)], text=["cat", "dog"], label=[1, 5]),
    "empty": detection([], text=[]),
    "uneven": detection([(0.1, 0.1, 0.5, 0.5)], text=["cat", "dog"]),
    "turned": detection([(0.5, 0.1, 0.1, 0.5)], text=["cat"]),
    "pixels": detection([(10, 10, 50, 50)], text=["cat"]),
    "latin": detection([(0.1, 0.1, 0.5, 0.5)], text=[b"caf\xe9"]),
    "broken": detection([(0.1, 0.1, 0.5, 0.5)], png()[:60], text=["cat"]),
    "no picture": detection([(0.1, 0.1, 0.5, 0.5)], b"no picture", text=["cat"]),
    "bare": png(),
    "labelled": labelled(3),
    "named": labelled("cat"),
    "unknown": labelled(-1),
    "imageless": example({"label": [1]}),
    "sequence": sequence(),
    "nothing": b"",
    "junk": b"\xff\xfe junk",
}


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(
    chosen=st.lists(st.sampled_from(sorted(RECORDS)), min_size=1, max_size=8),
    options=OPTIONS,
    flipped=st.none() | st.integers(0, 5000),
    cut=st.none() | st.integers(1, 5000),
    is_compressed=st.booleans(),
)
def test_every_record_is_packed_or_rejected(
    tmp_path_factory: pytest.TempPathFactory,
    chosen: list[str],
    options: dict[str, Any],
    flipped: int | None,
    cut: int | None,
    is_compressed: bool,
) -> None:
    folder = tmp_path_factory.mktemp("records")
    data = bytearray(b"".join(frame_record(RECORDS[name]) for name in chosen))
    if flipped is not None:
        data[flipped % len(data)] ^= 1
    whole = bytes(data if cut is None else data[: max(1, cut % len(data))])
    path = folder / f"train-00000-of-00001{'.gz' if is_compressed else ''}"
    path.write_bytes(gzip.compress(whole) if is_compressed else whole)
    options.pop("suffix", None)
    report = check(path, folder / "packed", **options)
    if report is not None and flipped is None and cut is None:
        assert report.num_found == len(chosen)
    if report is not None:
        # Of a file that is cut off or damaged, the rest counts as one.
        assert report.num_found <= len(chosen)
    assert not [name for name in os.listdir(folder) if name.startswith(".kseq-tmp-")]
