"""Files, folders and links that make trouble, each made for real: packed, or left out with the reason; their names survive."""

from __future__ import annotations

import ast
import errno
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import kseq
from kseq.errors import ArgumentError, ImageError, SourceError
from kseq.sources import file_reading
from kseq_tools.main import main
from tests.helpers.messages import assert_says, raises
from tests.helpers.photos import numbered_pixels, write_numbered
from tests.helpers.processes import RunPython

LINK_OUT = "is a link out of the source's folder"
BEHIND_LINK = "lies behind a link out of the source's folder"
FOLDER_LINK = "is a link to a folder"
FOLDER_LOOP = "is a link to a folder that it lies in"
NO_FILE = "is not a regular file"
GONE = "cannot be read: No such file or directory"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photos of class a, one of class b; and beside the folder another with one of class x."""
    write_numbered(tmp_path / "photos", {"a": 2, "b": 1})
    write_numbered(tmp_path / "elsewhere", {"x": 1})
    return tmp_path / "photos"


def pack_folder(photos: Path, **options: Any) -> tuple[list[str], dict[str, str]]:
    """The names of what was packed, and why the rest was not."""
    report = kseq.pack(photos, photos.parent / "packed", workers=0, overwrite=True, **options)
    dataset = kseq.ShardDataset(report.path)
    assert report.num_samples + len(report.rejected) == report.num_found
    names = [dataset.source(number) for number in range(len(dataset))]
    return names, {os.fsdecode(rejection.path): rejection.reason for rejection in report.rejected}


GOOD = ["a/00000.png", "a/00001.png", "b/00002.png"]


def make_socket(path: Path) -> None:
    # The path of a socket has to be short.
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


def make_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("this user may not make devices")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkfifo, NO_FILE),
        (make_socket, NO_FILE),
        (make_device, NO_FILE),
        (lambda path: path.symlink_to(path.name), "cannot be read: Too many levels of symbolic links"),
        (lambda path: path.symlink_to("nothing.png"), GONE),
        (lambda path: path.symlink_to("/nowhere/at/all.png"), LINK_OUT),
        (lambda path: path.symlink_to("../../elsewhere/x/00000.png"), LINK_OUT),
        (lambda path: path.symlink_to("/dev/zero"), LINK_OUT),
        (lambda path: path.symlink_to("../b"), FOLDER_LINK),
        (lambda path: path.symlink_to("../../elsewhere/x"), FOLDER_LINK),
    ],
    ids=[
        "pipe",
        "socket",
        "device",
        "loop",
        "dangling",
        "dangling out",
        "out",
        "to a device",
        "to a folder",
        "to a folder out",
    ],
)
def test_what_is_no_file_of_the_collection_is_left_out(photos: Path, make: Callable[[Path], None], reason: str) -> None:
    make(photos / "a/trouble.png")
    assert pack_folder(photos) == (GOOD, {"a/trouble.png": reason})


@pytest.mark.parametrize(
    ("target", "names", "rejected"),
    [
        ("../b/00002.png", ["a/trouble.png"], {}),
        ("../../elsewhere/x/00000.png", ["a/trouble.png"], {}),
        ("/nowhere/at/all.png", [], {"a/trouble.png": GONE}),
        ("/dev/zero", [], {"a/trouble.png": NO_FILE}),
        ("../b", ["a/trouble.png/00002.png"], {}),
        ("../../elsewhere/x", ["a/trouble.png/00000.png"], {}),
        (".", [], {"a/trouble.png": FOLDER_LOOP}),
        ("../..", ["a/trouble.png/elsewhere/x/00000.png"], {"a/trouble.png/photos": FOLDER_LOOP}),
    ],
)
def test_follow_links_follows_them_all_but_loops(photos: Path, target: str, names: list[str], rejected: dict[str, str]) -> None:
    (photos / "a/trouble.png").symlink_to(target)
    found, reasons = pack_folder(photos, follow_links=True)
    assert sorted(found) == sorted(GOOD + names)
    assert reasons == rejected


def test_links_within_the_collection_are_followed(photos: Path) -> None:
    """As git-annex has it: all files are links to a hidden folder of the same collection."""
    (photos / ".store").mkdir()
    for name in GOOD:
        (photos / name).rename(photos / ".store" / name.replace("/", "-"))
        (photos / name).symlink_to(f"../.store/{name.replace('/', '-')}")
    assert pack_folder(photos) == (GOOD, {})


def test_class_folders_that_are_links_are_named_and_followed_on_request(photos: Path) -> None:
    (photos / "c").symlink_to("../elsewhere/x")
    assert pack_folder(photos) == (GOOD, {"c": FOLDER_LINK})
    assert pack_folder(photos, follow_links=True) == ([*GOOD, "c/00000.png"], {})
    for name in "ab":
        shutil.rmtree(photos / name)
    with raises(SourceError, photos, "c", "follow_links"):
        pack_folder(photos)


def test_split_folders_that_are_links_are_named_and_followed_on_request(photos: Path) -> None:
    for name in "ab":
        (photos / "train").mkdir(exist_ok=True)
        (photos / name).rename(photos / "train" / name)
    (photos / "test").symlink_to("../elsewhere")
    train = [f"train/{name}" for name in GOOD]
    assert pack_folder(photos) == (train, {"test": FOLDER_LINK})
    assert pack_folder(photos, follow_links=True) == (["test/x/00000.png", *train], {})


def test_folders_that_link_to_each_other_come_to_an_end(photos: Path) -> None:
    (photos / "a/b").symlink_to("../b")
    (photos / "b/a").symlink_to("../a")
    names, reasons = pack_folder(photos, follow_links=True)
    assert names == ["a/00000.png", "a/00001.png", "a/b/00002.png", "b/00002.png", "b/a/00000.png", "b/a/00001.png"]
    assert reasons == {"a/b/a": FOLDER_LOOP, "b/a/b": FOLDER_LOOP}


def write_table(photos: Path, paths: list[str]) -> Path:
    table = photos / "table.csv"
    table.write_text("image,label\n" + "".join(f"{path},{number}\n" for number, path in enumerate(paths)))
    return table


def test_the_paths_of_a_table_are_held_to_the_same_rule_unless_they_say_in_full_where_they_lead(photos: Path) -> None:
    (photos / "a/out.png").symlink_to("../../elsewhere/x/00000.png")
    (photos / "a/full.png").symlink_to("../../elsewhere/x/00000.png")
    (photos / "a/in.png").symlink_to("../b/00002.png")
    (photos / "c").symlink_to("../elsewhere/x")
    paths = ["a/out.png", "a/in.png", "c/00000.png", "../elsewhere/x/00000.png", str(photos / "a/full.png"), "a/00000.png/x"]
    table = write_table(photos, paths)
    rows = {"a/out.png": f"row 1 {LINK_OUT}", "c/00000.png": f"row 3 {BEHIND_LINK}"}
    rest = {"a/00000.png/x": "cannot be read: Not a directory"}
    assert pack_folder(table) == ([paths[1], paths[3], paths[4]], rows | rest)
    assert pack_folder(table, follow_links=True) == (paths[:5], rest)


def test_links_are_held_to_the_rule_in_a_yolo_folder(tmp_path: Path) -> None:
    write_numbered(tmp_path / "elsewhere", {"x": 2})
    for name in ("images", "labels"):
        (tmp_path / "yolo" / name).mkdir(parents=True)
    (tmp_path / "yolo/labels/0.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (tmp_path / "yolo/images/0.png").symlink_to("../../elsewhere/x/00000.png")
    shutil.copy(tmp_path / "elsewhere/x/00001.png", tmp_path / "yolo/images/1.png")
    (tmp_path / "yolo/images/more").symlink_to("../../elsewhere/x")
    (tmp_path / "yolo/images/loop").symlink_to("../images")
    links = {"images/loop": FOLDER_LINK, "images/more": FOLDER_LINK}
    assert pack_folder(tmp_path / "yolo") == (["images/1.png"], {"images/0.png": LINK_OUT, **links})
    names = ["images/0.png", "images/1.png", "images/more/00000.png", "images/more/00001.png"]
    assert pack_folder(tmp_path / "yolo", follow_links=True) == (names, {"images/loop": FOLDER_LOOP})


def test_a_yolo_folder_whose_images_are_a_link_says_so(tmp_path: Path) -> None:
    write_numbered(tmp_path / "elsewhere", {"x": 1})
    (tmp_path / "yolo/labels").mkdir(parents=True)
    (tmp_path / "yolo/labels/00000.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (tmp_path / "yolo/images").symlink_to("../elsewhere/x")
    with raises(SourceError, tmp_path / "yolo"):
        pack_folder(tmp_path / "yolo")
    assert pack_folder(tmp_path / "yolo", follow_links=True) == (["images/00000.png"], {})


def test_follow_links_goes_with_files_only(photos: Path) -> None:
    with raises(ArgumentError, "follow_links=True", "webdataset"):
        kseq.pack(photos, photos.parent / "packed", source_format="webdataset", follow_links=True)


@pytest.mark.parametrize("size", [12, 131, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_a_file_is_read_to_its_end_whatever_size_its_file_system_says(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"\xff\xd8\xff".ljust(size - 1, b"\7") + b"\xd9"
    (tmp_path / "a.jpg").write_bytes(data)
    status = os.stat(tmp_path / "a.jpg")
    # Some network drives say 0; of a file that grows or shrinks meanwhile, the size is that of a moment before.
    for said in (size, 0, size // 2, size - 1, size + 1, 2 * size):
        monkeypatch.setattr(file_reading.os, "fstat", lambda _, said=said: os.stat_result((*status[:6], said, *status[7:])))
        assert file_reading.read_file(tmp_path / "a.jpg") == data


def test_what_became_a_pipe_since_it_was_looked_at_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    regular = os.stat(__file__)
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(file_reading.os, "stat", lambda *_, **__: regular)
    with pytest.raises(ImageError, match=NO_FILE):
        file_reading.read_file(tmp_path / "pipe")


def test_an_iterable_may_name_a_pipe_and_does_not_hang(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"a": 1})
    os.mkfifo(tmp_path / "pipe")
    rows = [{"image": str(tmp_path / name), "label": 0} for name in ("pipe", "photos/a/00000.png")]
    report = kseq.pack(rows, tmp_path / "packed", workers=0)
    assert [rejection.reason for rejection in report.rejected] == [NO_FILE]


def test_a_film_among_the_photos_is_not_read_into_memory(photos: Path, run_python: RunPython) -> None:
    with (photos / "a/film.mp4").open("wb") as film:
        film.write(b"\0\0\0 ftypmp42")
        film.truncate(4 << 30)
    code = "import sys, resource, kseq; resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30)); "
    code += "print(kseq.pack(sys.argv[1], sys.argv[2], workers=0).rejected[0].reason)"
    assert run_python(code, photos, photos.parent / "packed").stdout.startswith("is a video")


def test_what_begins_like_an_image_and_is_larger_than_memory_is_left_out(photos: Path, run_python: RunPython) -> None:
    with (photos / "a/huge.jpg").open("wb") as huge:
        huge.write(b"\xff\xd8\xff")
        huge.truncate(4 << 30)
    code = "import sys, resource, kseq; resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30)); "
    code += "print(kseq.pack(sys.argv[1], sys.argv[2], workers=0).rejected[0].reason)"
    assert run_python(code, photos, photos.parent / "packed").stdout == "is larger than memory\n"


@pytest.mark.slow
def test_folders_may_lie_deeper_than_python_calls(photos: Path) -> None:
    deep = photos / "a"
    for _ in range(1200):
        deep /= "d"
    here = os.open(photos / "a", os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        here, above = os.open("d", os.O_RDONLY, dir_fd=here), here
        os.close(above)
    os.close(here)
    shutil.copy(photos / "a/00000.png", deep / "deep.png")
    names, reasons = pack_folder(photos)
    assert (len(names), reasons) == (4, {})
    # Which shutil's own recursion could not remove.
    for _ in range(1200):
        shutil.rmtree(deep)
        deep = deep.parent


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user can get to, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


# To root no mode is a lock: the process becomes somebody else, once everything is loaded.
AS_SOMEBODY_ELSE = """
import os, sys, h5py, kseq, numpy.ma, pyfive
from PIL import Image
from kseq.sources.formats import load_formats
Image.init()
pack = kseq.pack
if os.geteuid() == 0:
    # Somebody else may not be able to load modules from where this Python lies.
    load_formats()
    os.seteuid(65534)
report = pack(sys.argv[1], sys.argv[1] + "/../packed", workers=0, overwrite=True)
print(report.num_samples, [(os.fsdecode(each.path), each.reason) for each in report.rejected])
"""


@pytest.mark.slow
def test_a_file_and_a_folder_that_may_not_be_read_are_listed_and_the_run_goes_on(
    open_folder: Path, run_python: RunPython
) -> None:
    for name in "abc":
        (open_folder / "photos" / name / "deep").mkdir(parents=True)
        Image.fromarray(numbered_pixels(1)).save(open_folder / "photos" / name / "1.png")
        Image.fromarray(numbered_pixels(2)).save(open_folder / "photos" / name / "deep/2.png")
    for name in ("a/1.png", "b/deep", "c"):
        (open_folder / "photos" / name).chmod(0)
    done = run_python(AS_SOMEBODY_ELSE, open_folder / "photos")
    num_samples, rejected = done.stdout.strip().split(" ", 1)
    assert num_samples == "2"
    assert [path for path, _ in ast.literal_eval(rejected)] == ["a/1.png", "b/deep", "c"]
    for _, reason in ast.literal_eval(rejected):
        assert_says(reason, os.strerror(errno.EACCES))
    (open_folder / "photos").chmod(0)
    done = run_python(AS_SOMEBODY_ELSE, open_folder / "photos", check=False)
    assert_says(done.stderr.splitlines()[-1], "kseq.errors.SourceError", open_folder / "photos", os.strerror(errno.EACCES))
    (open_folder / "photos").chmod(0o700)


NAMES = [
    b"caf\xe9.png",
    b"two\nlines.png",
    b"tab\tand\x1b[31mred.png",
    b"x" * 251 + b".png",
    "ünï☃.png".encode(),
    b" .png",
    b"a\\n.png",
]


def test_names_survive_byte_for_byte_and_are_printed_on_one_line(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    write_numbered(tmp_path / "photos", {"a": 1})
    start = os.fsencode(tmp_path / "photos/a") + b"/"
    for name in NAMES:
        shutil.copy(start + b"00000.png", start + name)
        Path(os.fsdecode(start + b"0" + name[:200])).write_bytes(b"broken")
    assert main(["pack", str(tmp_path / "photos"), str(tmp_path / "packed"), "--workers", "0"]) == 0
    assert main(["info", str(tmp_path / "packed"), "--rejected"]) == 0
    dataset = kseq.ShardDataset(tmp_path / "packed")
    found = {os.fsencode(dataset.source(number)) for number in range(len(dataset))}
    assert found == {b"a/" + name for name in [*NAMES, b"00000.png"]}
    assert {rejection.path for rejection in dataset.rejected()} == {b"a/0" + name[:200] for name in NAMES}
    printed = capfdbinary.readouterr().out
    assert rb"a/0two\nlines.png: is not an image" in printed
    assert printed.count(b": is not an image") == 2 * len(NAMES)
    assert b"\x1b" not in printed
    assert not [line for line in printed.split(b"\n") if line.startswith(b"lines.png")]
