"""Generated rubbish as a source of every kind: the command ends with one line or a count, and never with a traceback."""

from __future__ import annotations

import io
import json
import random
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from kseq_tools.main import main


def image_bytes() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 20, 20)).save(data, "PNG")
    return data.getvalue()


IMAGE = image_bytes()
VALUES: tuple[Any, ...] = (
    "a.png", "", "x", "\udce9", "\0", "nan", "1e999", "[[1,2,3,4]]", "[", '"', "\u2028", None, 1, -1, 2.5, 10**400, True, [],
    {}, [["x"]], {"a": [1]}, "1,5", "../../a.png", "C:\\a.png", "file:///a.png", "9" * 30, float("nan"), [1, "a"], "train",
    "\ud800",
)  # fmt: skip
NAMES = ("image", "label", "boxes", "xmin", "ymin", "xmax", "ymax", "split", "", "images", "annotations", "categories", "id")


def csv_text(rng: random.Random) -> bytes:
    lines = [",".join(["image", *rng.choices(NAMES, k=rng.randrange(6))])]
    lines += [",".join(str(value) for value in rng.choices(VALUES, k=rng.randrange(7))) for _ in range(8)]
    return "\n".join(["a.png,x" if rng.random() < 0.2 else line for line in lines]).encode(errors="surrogatepass")


def jsonl_text(rng: random.Random) -> bytes:
    rows: list[Any] = [{name: rng.choice(VALUES) for name in rng.sample(NAMES, 4)} for _ in range(8)]
    return "\n".join(json.dumps(row) for row in [*rows, rng.choice(VALUES)]).encode()


def coco_text(rng: random.Random) -> bytes:
    def entry(names: str) -> dict[str, Any]:
        return {name: rng.choice((*VALUES, 1, 1, 1)) for name in names.split()}

    lists = {
        "images": [{**entry("id width height"), "file_name": rng.choice(("a.png", *VALUES))} for _ in range(3)],
        "annotations": [entry("id image_id category_id bbox segmentation iscrowd") for _ in range(3)],
        "categories": [entry("id name supercategory") for _ in range(2)],
    }
    if rng.random() < 0.3:
        lists[rng.choice(list(lists))] = rng.choice(VALUES)
    return json.dumps(lists).encode()


def parquet_file(rng: random.Random) -> bytes:
    columns: list[list[Any]] = [
        [b"x", IMAGE],
        ["a.png", None],
        [1.5, 2.0],
        [[1], [2, 3]],
        [{"bytes": IMAGE}, None],
        [True, False],
    ]
    data = io.BytesIO()
    names = ["image", *rng.sample([name for name in NAMES if name], 3)]
    table = pyarrow.table({name: pyarrow.array(rng.choice(columns)) for name in names})
    pyarrow.parquet.write_table(table, data)
    return broken(rng, data.getvalue())


def arrays(rng: random.Random) -> dict[str, np.ndarray]:
    shapes = [(3, 8, 8), (3, 8, 8, 3), (), (3,), (3, 2), (0, 8, 8), (1, 1, 1, 1, 1), (3, 9, 9, 4)]
    names = ("images", "labels", "x_train", "y_train", "class_names", "train")
    return {
        name: np.zeros(rng.choice(shapes), rng.choice(("u1", "f4", "i8", "S3", "U2", "?"))) for name in rng.sample(names, 3)
    }


def npz_file(rng: random.Random) -> bytes:
    data = io.BytesIO()
    np.savez(data, allow_pickle=False, **arrays(rng))  # type: ignore[arg-type]  # arrays by their names
    return broken(rng, data.getvalue())


def hdf5_file(rng: random.Random) -> bytes:
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        for name, array in arrays(rng).items():
            if array.dtype.kind != "U":
                file[f"{rng.choice(('', 'val/', 'g/'))}{name}"] = array
    return broken(rng, data.getvalue())


MEMBERS = (
    "a/x.png",
    "a/x.cls",
    "a/x.json",
    "b.png",
    "train/c/d.png",
    "images/e.png",
    "labels/e.txt",
    "x.box.json",
    "../f.png",
    "a",
)


def zip_file(rng: random.Random) -> bytes:
    data = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(data, "w") as file:
        warnings.simplefilter("ignore")
        for name in rng.choices(MEMBERS, k=6):
            file.writestr(name, rng.choice((IMAGE, b"", b"\xff[1")))
    return broken(rng, data.getvalue())


def tar_file(rng: random.Random) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as file:
        for name in rng.choices(MEMBERS, k=6):
            info = tarfile.TarInfo(name)
            content = rng.choice((IMAGE, b"", b"\xff[1"))
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return broken(rng, data.getvalue())


def noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 40, 5000)))


def broken(rng: random.Random, data: bytes) -> bytes:
    """The same bytes, cut off or with some of them changed, now and then."""
    kind = rng.randrange(4)
    if kind == 0:
        return data[: rng.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(3 if kind == 1 else 0):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


MAKERS: dict[str, tuple[Callable[[random.Random], bytes], ...]] = {
    "t.csv": (csv_text, noise, jsonl_text),
    "t.jsonl": (jsonl_text, noise, csv_text),
    "t.json": (coco_text, jsonl_text, noise),
    "t.parquet": (parquet_file, noise),
    "t.npz": (npz_file, noise),
    "t.npy": (noise,),
    "t.h5": (hdf5_file, noise),
    "t.zip": (zip_file, noise),
    "t.tar": (tar_file, noise),
    "t.tfrecord": (noise,),
    "t.array_record": (noise,),
    "t.arrow": (noise, parquet_file),
}
OPTIONS = (
    [],
    ["--label", ""],
    ["--label", "label", "--boxes", "boxes"],
    ["--target", "v=label"],
    ["--label", "", "--target", "v=id"],
)


@pytest.mark.parametrize("name", MAKERS)
def test_no_rubbish_of_any_kind_ends_in_a_traceback(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(name)
    (tmp_path / "a.png").write_bytes(IMAGE)
    for number in range(24):
        (tmp_path / name).write_bytes(rng.choice(MAKERS[name])(rng))
        # An exception that is no KseqError leaves `main`, and fails the test.
        code = main(["pack", str(tmp_path / name), str(tmp_path / f"packed{number}"), "--workers", "0", *rng.choice(OPTIONS)])
        output = capsys.readouterr()
        assert code in (0, 1)
        assert code == 0 or [line for line in output.err.splitlines() if line.startswith("kseq: ")]


def test_no_rubbish_in_a_folder_ends_in_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(0)
    names = (
        "images/a.png",
        "labels/a.txt",
        "labels/classes.txt",
        "data.yaml",
        "images/a.xml",
        "train/b.png",
        "a.csv",
        "x/y/z.png",
    )
    for number in range(24):
        folder = tmp_path / str(number)
        for name in rng.sample(names, 5):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(
                rng.choice((IMAGE, b"0 0.5 0.5 1 1\n", b"names: [\xff", b"1: {a: b}\nnames: 3\n", noise(rng)))
            )
        assert main(["pack", str(folder), str(tmp_path / f"packed{number}"), "--workers", "0"]) in (0, 1)
    capsys.readouterr()
