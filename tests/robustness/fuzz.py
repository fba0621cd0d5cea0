"""Changes bytes of datasets, lengths and offsets first, and looks whether anything but a KseqError comes of it.

    python -m tests.robustness.fuzz --minutes 60

A case is a small valid dataset of which the index or a shard was changed: bytes of their HDF5 structure; numbers of their
arrays; or, with digests that fit, whole arrays of the index. What users do with a dataset is then done with it, in a child
process that has a limit of memory and of time, so that a crash, a hang, or memory without end is found as well. A case depends
on its number alone: `--first N --cases 1` runs it again, and `--keep FOLDER` keeps the datasets of all findings.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import kseq
from kseq.storage.index import Index
from tests.helpers.hostile import UnexpectedError, exercise, forge_index
from tests.helpers.objects import pack_objects, write_objects
from tests.helpers.photos import write_numbered, write_photos

# Of one child. Of the memory, a third is what the libraries map when they are imported.
_CASES_PER_CHILD = 100
_SECONDS_PER_CASE = 30
_MEMORY = 3 << 30

# What a length, a count or an offset becomes.
_NUMBERS = (0, 1, 2, 7, 255, 65_535, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_NAMES = (b"..", b"../../x", b"/tmp/x", b".", b"", b"a\0b", b"\xff\xfe", b"CON", b"x" * 300, b"all", b"a/b", b"\n")


def make_templates(folder: Path) -> None:
    """Write the datasets that are changed: raw pixels, photos, and images with masks, boxes, texts and several classes."""
    write_numbered(folder / "numbered", {"a": 3, "b": 3})
    kseq.pack(folder / "numbered", folder / "raw", images=kseq.ImageSettings("raw", (4, 4)), shard_bytes=200, workers=0)
    write_photos(folder / "photos", {"cat": 2, "dog": 1})
    kseq.pack(folder / "photos", folder / "kept", workers=0)
    (folder / "objects").mkdir()
    pack_objects(write_objects(folder / "objects"), folder / "boxes")
    for name in ("numbered", "photos", "objects"):
        shutil.rmtree(folder / name)


def make_case(templates: Path, number: int, target: Path) -> str:
    """Write the dataset of a case; returns what was changed."""
    rng = np.random.default_rng(number)
    template = sorted(templates.iterdir())[int(rng.integers(len(list(templates.iterdir()))))]
    shutil.copytree(template, target)
    change = _CHANGES[int(rng.integers(len(_CHANGES)))]
    return f"{template.name}: {change(target, rng)}"


def _some_file(dataset: Path, rng: np.random.Generator) -> Path:
    files = sorted(dataset.iterdir())
    return dataset / "index.h5" if rng.random() < 0.6 else files[int(rng.integers(len(files)))]


def _change_structure(dataset: Path, rng: np.random.Generator) -> str:
    """Numbers of 1, 2, 4 or 8 bytes outside of the arrays."""
    path = _some_file(dataset, rng)
    data = bytearray(path.read_bytes())
    free = np.ones(len(data), bool)
    index = Index.open(str(dataset))
    locations = index.header.locations if path.name == "index.h5" else index.entry(0).arrays
    for location in locations.values():
        free[location.offset : location.offset + location.num_bytes] = False
    # What is not zero matters most.
    places = np.flatnonzero(free & (np.frombuffer(data, np.uint8) != 0))
    changes = [_put_number(data, int(rng.choice(places)), rng) for _ in range(int(rng.integers(1, 4)))]
    path.write_bytes(data)
    return f"{path.name}: structure, {', '.join(changes)}"


def _put_number(data: bytearray, place: int, rng: np.random.Generator) -> str:
    size = int(rng.choice([1, 1, 2, 4, 8]))
    place = min(place // size * size if rng.random() < 0.7 else place, len(data) - size)
    old = int.from_bytes(data[place : place + size], "little")
    # Another address of the same file makes loops.
    others = [*_NUMBERS, len(data), old + 1, old - 1, old ^ (1 << int(rng.integers(8 * size))), int(rng.integers(len(data)))]
    new = others[int(rng.integers(len(others)))] % (1 << 8 * size)
    data[place : place + size] = new.to_bytes(size, "little")
    return f"{size} bytes at {place}: {old} to {new}"


def _move_bytes(dataset: Path, rng: np.random.Generator) -> str:
    """A stretch of a file over another, or its end cut off, or more of it."""
    path = _some_file(dataset, rng)
    data = bytearray(path.read_bytes())
    start, end, length = (int(rng.integers(len(data))) for _ in range(3))
    kind = int(rng.integers(3))
    if kind == 0:
        data[start : start + length % 200] = data[end : end + length % 200]
    elif kind == 1:
        del data[start:]
    else:
        data += data[start : start + length % 5000]
    path.write_bytes(data)
    return f"{path.name}: {('copied', 'cut', 'lengthened')[kind]} {start}, {end}, {length}"


def _change_array_of_a_shard(dataset: Path, rng: np.random.Generator) -> str:
    """Numbers of an array of a shard, whose digest the index still has: readers that do not verify meet them."""
    index = Index.open(str(dataset))
    position = int(rng.integers(index.num_shards))
    arrays = {name: location for name, location in index.entry(position).arrays.items() if location.num_bytes}
    name = sorted(arrays)[int(rng.integers(len(arrays)))]
    path = Path(index.shard_path(position))
    data = bytearray(path.read_bytes())
    changes = []
    for _ in range(int(rng.integers(1, 4))):
        # Image headers lie at the beginning of their bytes.
        most = min(arrays[name].num_bytes, 64) if rng.random() < 0.5 else arrays[name].num_bytes
        changes.append(_put_number(data, arrays[name].offset + int(rng.integers(most)), rng))
    path.write_bytes(data)
    return f"{path.name}: {name}, {', '.join(changes)}"


def _forge_index(dataset: Path, rng: np.random.Generator) -> str:
    """Arrays of the index, with digests that fit."""
    changes = []

    def edit(arrays: dict[str, Any]) -> None:
        for _ in range(int(rng.integers(1, 3))):
            names = sorted(
                name for name in arrays if name.startswith("shards/") or name.endswith("offsets") or rng.random() < 0.5
            )
            name = names[int(rng.integers(len(names)))]
            forge = _FORGERIES[int(rng.integers(len(_FORGERIES)))]
            changes.append(f"{name} {forge(arrays, name, rng)}")

    forge_index(dataset, edit)
    return f"index.h5: {', '.join(changes)}"


def _forge_numbers(arrays: dict[str, Any], name: str, rng: np.random.Generator) -> str:
    # A copy, since what was forged before may be bytes that cannot be written to.
    arrays[name] = np.array(arrays[name])
    flat = arrays[name].reshape(-1)
    if not flat.size:
        return "empty"
    place, value = int(rng.integers(flat.size)), _NUMBERS[int(rng.integers(len(_NUMBERS)))]
    flat[place : place + int(rng.integers(1, 3))] = np.array(value % (1 << 8 * flat.itemsize), f"<u{flat.itemsize}").view(
        flat.dtype
    )
    return f"[{place}] = {value}"


def _forge_length(arrays: dict[str, Any], name: str, rng: np.random.Generator) -> str:
    length = int(rng.choice([0, 1, 2, len(arrays[name]) + 1, max(len(arrays[name]) - 1, 0)]))
    arrays[name] = np.resize(arrays[name], (length, *arrays[name].shape[1:]))
    return f"of length {length}"


def _forge_name(arrays: dict[str, Any], name: str, rng: np.random.Generator) -> str:
    """Another name for a split, a field, a class or a setting, in the texts of the index."""
    other = _NAMES[int(rng.integers(len(_NAMES)))]
    if (
        name.startswith(("splits/", "columns/", "lengths/"))
        and b"/" not in other
        and b"\0" not in other
        and other not in (b".", b"")
    ):
        arrays[f"{name.partition('/')[0]}/{other.decode('latin-1')}"] = arrays.pop(name)
    elif name in ("fields", "stored_fields", "settings", "changes", "shard_arrays"):
        text = arrays[name].tobytes()
        words = [word for word in text.replace(b'"', b" ").replace(b",", b" ").split() if len(word) > 1]
        word = words[int(rng.integers(len(words)))] if words else b"{"
        values = [b"1e999", b"-1", b"99999999999999999999", b"null", b"[" * 3000, b"image", b"<f8", b"true", *_NAMES]
        both = ("fields", "stored_fields") if name.endswith("fields") and rng.random() < 0.7 else (name,)
        value = values[int(rng.integers(len(values)))]
        for each in both:
            arrays[each] = np.frombuffer(arrays[each].tobytes().replace(word, value), np.uint8)
        return f"with {value[:20]!r} for {word!r}"
    return f"renamed to {other!r}"


_FORGERIES: list[Callable[[dict[str, Any], str, np.random.Generator], str]] = [
    _forge_numbers,
    _forge_numbers,
    _forge_length,
    _forge_name,
]
_CHANGES: list[Callable[[Path, np.random.Generator], str]] = [
    _change_structure,
    _change_structure,
    _move_bytes,
    _change_array_of_a_shard,
    _change_array_of_a_shard,
    _forge_index,
    _forge_index,
]


def run_cases(templates: Path, first: int, count: int) -> None:
    """In a child process: run cases, and print the number of each before, and what was unexpected after it."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    for number in range(first, first + count):
        print(f"case {number}", flush=True)
        # Whatever the child hangs in, the signal ends it.
        signal.alarm(_SECONDS_PER_CASE)
        with tempfile.TemporaryDirectory() as folder:
            what = make_case(templates, number, Path(folder) / "dataset")
            try:
                exercise(Path(folder) / "dataset", Path(folder) / "scratch")
            except UnexpectedError as error:
                print(f"finding {number}: {what}: {error}", flush=True)
    signal.alarm(0)


def find(templates: Path, first: int, count: int) -> tuple[int, list[str]]:
    """Run cases in a child. Returns the number of the next case, and what was found."""
    command = [sys.executable, "-m", "tests.robustness.fuzz", "--child", str(templates), "--first", str(first)]
    done = subprocess.run([*command, "--cases", str(count)], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    findings = [line.removeprefix("finding ") for line in lines if line.startswith("finding ")]
    if done.returncode == 0:
        return first + count, findings
    begun = [line for line in lines if line.startswith("case ")]
    if not begun:
        raise SystemExit(f"the child did not come to its first case: {done.stderr}")
    last = int(begun[-1].split()[1])
    how = signal.Signals(-done.returncode).name if done.returncode < 0 else f"exit code {done.returncode}"
    return last + 1, [*findings, f"{last}: ended the process: {how}: {' '.join(done.stderr.split()[-40:])}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help="how long to look for findings")
    parser.add_argument("--cases", type=int, default=200, help="without --minutes: how many cases to run")
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--keep", type=Path, help="a folder for the datasets of findings")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        run_cases(arguments.child, arguments.first, arguments.cases)
        return 0
    started, number, findings = time.monotonic(), arguments.first, []
    with tempfile.TemporaryDirectory() as folder:
        templates = Path(folder)
        make_templates(templates)
        while (
            time.monotonic() - started < 60 * arguments.minutes
            if arguments.minutes is not None
            else number < arguments.first + arguments.cases
        ):
            most = _CASES_PER_CHILD if arguments.minutes is not None else arguments.first + arguments.cases - number
            number, found = find(templates, number, min(_CASES_PER_CHILD, most))
            for finding in found:
                print(finding, flush=True)
                if arguments.keep is not None:
                    make_case(templates, int(finding.partition(":")[0]), arguments.keep / finding.partition(":")[0])
            findings += found
    print(f"{number - arguments.first:,} cases: {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
