"""Sources at URLs: what lies there is packed to the same bytes as on this machine."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

import kseq
from kseq.errors import ArgumentError, DatasetExistsError, ImageError, ReadError, SourceError, WriteError
from kseq.sources import url_files
from kseq.storage.remote_files import RemoteFiles
from kseq.storage.remote_retries import RefusedError
from tests.helpers.datasets import files
from tests.helpers.messages import raises
from tests.helpers.photos import write_photos
from tests.helpers.urls import memory_url, upload
from tests.helpers.writers import WRITERS, write_tars
from tests.sources.test_zipped_annotations import write_coco2017, write_cvat, write_labelme, write_voc, write_yolo


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def is_packed_alike(local: Any, url: str, tmp_path: Path, **options: Any) -> bool:
    """Whether a source on this machine and one at a URL are packed to the same bytes."""
    for name, source in (("from-disk", local), ("from-url", url)):
        kseq.pack(source, tmp_path / name, workers=0, shard_bytes=8_000, **options)
    return files(tmp_path / "from-disk") == files(tmp_path / "from-url")


# Tables are tried below: those that these writers write name images by absolute paths.
@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind not in ("csv", "parquet")])
def test_every_format_is_packed_from_a_url_as_from_a_disk(folder: Path, tmp_path: Path, spool: Path, kind: str) -> None:
    write, options = WRITERS[kind]
    local = write(folder, tmp_path, 3)
    assert is_packed_alike(local, upload(local, memory_url(local.name)), tmp_path, **options)
    assert list(spool.iterdir()) == []


def test_a_folder_of_classes_is_read_in_place_and_no_image_of_it_is_downloaded(
    folder: Path, tmp_path: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy := tmp_path / "copy").mkdir()
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    (copy / "train/cat/broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (copy / "train/cat/notes.txt").write_text("no image")
    (copy / "train/cat/.hidden.jpg").write_bytes(b"")
    (copy / "train/stray.jpg").write_bytes(b"")
    url = upload(copy, memory_url())
    # A text may tell that the folder is something else.
    monkeypatch.setattr(
        RemoteFiles, "get", lambda _, name, *__: name.endswith("notes.txt") or pytest.fail(f"{name} is downloaded")
    )
    assert is_packed_alike(copy, url, tmp_path, val=0.0)
    assert len(kseq.ShardDataset(tmp_path / "from-url").rejected()) == 3


@pytest.mark.parametrize("folders", [("images", "masks"), ("data", "images2")])
def test_folders_at_a_url_that_are_called_like_no_class_are_refused_as_on_a_disk(
    tmp_path: Path, folders: tuple[str, str]
) -> None:
    for name in folders:
        write_photos(tmp_path / "set", {name: 2})
        for number, photo in enumerate(sorted((tmp_path / "set" / name).iterdir())):
            photo.rename(photo.with_name(f"a{number}.jpg"))
    url = upload(tmp_path / "set", memory_url())
    with raises(SourceError, url, folders[1], "source_format='folder'"):
        kseq.pack(url, tmp_path / "out", workers=0)
    report = kseq.pack(url, tmp_path / "out", workers=0, source_format="folder")
    assert report.class_names == folders


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_folders_that_are_called_like_no_class_are_refused_at_urls_too(tmp_path: Path, kind: str) -> None:
    write_photos(tmp_path / "set", {"images": 3})
    local = tmp_path / "set"
    if kind != "folder":
        local = Path(shutil.make_archive(str(tmp_path / "set"), kind, local))
    url = upload(local, memory_url(local.name))
    for source in (local, url):
        with raises(SourceError, source, "images"):
            kseq.pack(source, tmp_path / "packed", workers=0)
    with pytest.raises(SourceError) as refused:
        kseq.pack(url, tmp_path / "packed", workers=0)
    assert "tar -xf" not in str(refused.value)


def test_no_shell_is_to_unpack_a_tar_at_a_url(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.tar", "b.tar"):
        (tmp_path / "in" / name).write_bytes(b"x")
    local = Path(shutil.make_archive(str(tmp_path / "set"), "tar", tmp_path / "in"))
    for source, is_command in ((local, True), (upload(local, memory_url(local.name)), False)):
        with pytest.raises(SourceError) as refused:
            kseq.pack(source, tmp_path / "packed", workers=0)
        assert ("tar -xf" in str(refused.value)) == is_command
        assert "unpack it" in str(refused.value)


@pytest.mark.slow
def test_worker_processes_read_from_a_url(folder: Path, tmp_path: Path) -> None:
    kseq.pack(folder, tmp_path / "from-disk", workers=0, shard_bytes=8_000)
    kseq.pack(f"file://{folder}", tmp_path / "from-url", workers=2, shard_bytes=8_000)
    assert files(tmp_path / "from-url") == files(tmp_path / "from-disk")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table beside the folder that its paths lead into; one image is missing."""
    write_photos(tmp_path / "set/photos", {"cat": 4, "dog": 4})
    rows = [f"photos/{path.parent.name}/{path.name},{path.parent.name}" for path in sorted(tmp_path.glob("set/photos/*/*"))]
    (tmp_path / "set/table.csv").write_text("\n".join(["path,label", *rows, "photos/cat/none.jpg,cat"]))
    return tmp_path / "set/table.csv"


def test_a_table_at_a_url_names_images_beside_it(table: Path, tmp_path: Path) -> None:
    rows = [row.split(",") for row in table.read_text().splitlines()]
    columns = {name: [row[number] for row in rows[1:]] for number, name in enumerate(rows[0])}
    pyarrow.parquet.write_table(pyarrow.table(columns), table.with_suffix(".parquet"))
    url = upload(table.parent, memory_url())
    for suffix in (".csv", ".parquet"):
        assert is_packed_alike(table.with_suffix(suffix), f"{url}/table{suffix}", tmp_path, overwrite=True)
    (rejected,) = kseq.ShardDataset(tmp_path / "from-url").rejected()
    assert rejected.path == b"photos/cat/none.jpg"


def test_a_table_on_a_disk_may_have_its_images_at_a_url(table: Path, tmp_path: Path) -> None:
    url = upload(table.parent, memory_url())
    kseq.pack(table, tmp_path / "local", workers=0)
    kseq.pack(table, tmp_path / "root", root=url, workers=0)
    assert files(tmp_path / "root") == files(tmp_path / "local")
    (other := tmp_path / "other.csv").write_text(table.read_text().replace("photos/", f"{url}/photos/"))
    report = kseq.pack(other, tmp_path / "urls", workers=0, shard_bytes=4_000)
    assert (report.num_samples, len(report.rejected)) == (8, 1)
    # Sizes are known, so that shards are of the size that was asked for.
    assert report.num_shards > 2
    assert kseq.ShardDataset(tmp_path / "urls").source(0).startswith(url)


def test_a_url_may_be_longer_than_a_file_name(table: Path, tmp_path: Path) -> None:
    url = upload(table.parent, memory_url())
    name, signed = f"{url}/photos/dog/{4:05d}.jpg", f"{url}/signed.jpg?X-Signature={'a' * 300}"
    system, path = fsspec.url_to_fs(signed)
    system.pipe_file(path, system.cat_file(fsspec.url_to_fs(name)[1]))
    (other := tmp_path / "other.csv").write_text(f"path,label\n{signed},cat\n")
    assert kseq.pack(other, tmp_path / "packed", workers=0).num_samples == 1


@pytest.mark.parametrize("most", [1, 100])
def test_sizes_are_listed_or_asked_for_alike(table: Path, tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(url_files, "_ASKED_ONE_BY_ONE", most)
    url = upload(table.parent, memory_url())
    assert is_packed_alike(table, f"{url}/table.csv", tmp_path)


def test_a_table_at_a_url_names_no_file_of_this_machine(table: Path, tmp_path: Path) -> None:
    secret = next(tmp_path.glob("set/photos/cat/*"))
    (table.parent / "table.csv").write_text(f"path,label\n{secret},cat\nphotos/dog/{4:05d}.jpg,dog\n")
    url = upload(table.parent, memory_url())
    report = kseq.pack(f"{url}/table.csv", tmp_path / "packed", workers=0)
    assert (report.num_samples, [rejected.path for rejected in report.rejected]) == (1, [bytes(secret)])


def test_coco_and_yolo_are_read_from_urls(tmp_path: Path) -> None:
    write_photos(tmp_path / "coco", {"photos": 4})
    names = sorted(path.name for path in (tmp_path / "coco/photos").iterdir())
    images = [{"id": number, "file_name": f"photos/{name}"} for number, name in enumerate(names)]
    annotations = [{"id": number, "image_id": number, "category_id": 1, "bbox": [1, 1, 5, 6]} for number in range(4)]
    lists = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "bee"}]}
    (tmp_path / "coco/all.json").write_text(json.dumps(lists))
    url = upload(tmp_path / "coco", memory_url())
    assert is_packed_alike(tmp_path / "coco/all.json", f"{url}/all.json", tmp_path)
    shutil.rmtree(tmp_path / "from-disk"), shutil.rmtree(tmp_path / "from-url")
    (tmp_path / "coco/photos").rename(tmp_path / "coco/images")
    (tmp_path / "coco/all.json").unlink()
    (tmp_path / "coco/labels").mkdir()
    for name in names:
        (tmp_path / "coco/labels" / name).with_suffix(".txt").write_text("0 0.5 0.5 0.1 0.2\n")
    (tmp_path / "coco/classes.txt").write_text("bee\n")
    url = upload(tmp_path / "coco", memory_url())
    assert is_packed_alike(tmp_path / "coco", url, tmp_path)


def write_split_tables(root: Path) -> None:
    for split in ("train", "val"):
        write_photos(root / split, {"": 2})
        name = sorted((root / split).iterdir())[0].name
        (root / split / "labels.csv").write_text(f",photo,cat,dog\n0,{name},1,0\n".replace("photo", "image"))


def write_metadata(root: Path) -> None:
    write_photos(root, {"": 2})
    names = sorted(path.name for path in root.iterdir())
    (root / "metadata.csv").write_text(f",file_name,breed\n7,{names[0]},a\n3,{names[1]},a\n")


@pytest.mark.parametrize(
    "write", [write_voc, write_cvat, write_labelme, write_coco2017, write_yolo, write_split_tables, write_metadata]
)
def test_what_a_folder_is_is_told_at_a_url_as_on_a_disk(tmp_path: Path, spool: Path, write: Any) -> None:
    write(tmp_path / "set")
    url = upload(tmp_path / "set", memory_url())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        reports = [kseq.pack(source, tmp_path / name, workers=0) for name, source in (("a", tmp_path / "set"), ("b", url))]
    assert files(tmp_path / "a") == files(tmp_path / "b")
    lines = [[str(each.message) for each in told], [note for report in reports for note in report.notes]]
    for said in lines:
        here = [line.replace(str(tmp_path / "set"), "SET") for line in said[: len(said) // 2]]
        assert [line.replace(url, "SET") for line in said[len(said) // 2 :]] == here
    assert list(spool.iterdir()) == []


def test_arrays_bring_the_arrays_beside_them(tmp_path: Path) -> None:
    (tmp_path / "arrays").mkdir()
    np.save(tmp_path / "arrays/images.npy", np.arange(6 * 48, dtype=np.uint8).reshape(6, 4, 4, 3))
    np.save(tmp_path / "arrays/labels.npy", np.arange(6) % 2)
    url = upload(tmp_path / "arrays", memory_url())
    assert is_packed_alike(tmp_path / "arrays/images.npy", f"{url}/images.npy", tmp_path)


def test_a_pattern_picks_some_of_the_files(folder: Path, tmp_path: Path) -> None:
    tars = write_tars(folder, tmp_path, 3)
    url = upload(tars, memory_url())
    for number, pattern in enumerate(("val-*.tar", "{val,test}-00000{0..1}.tar")):
        kseq.pack(str(tars / pattern), tmp_path / f"disk{number}", workers=0)
        kseq.pack(f"{url}/{pattern}", tmp_path / f"url{number}", workers=0)
        assert files(tmp_path / f"disk{number}") == files(tmp_path / f"url{number}")
    with raises(SourceError, f"{url}/none-*.tar"):
        kseq.pack(f"{url}/none-*.tar", tmp_path / "none")


def test_what_cannot_be_packed_names_the_url(tmp_path: Path, folder: Path, spool: Path) -> None:
    with raises(SourceError, (url := memory_url())):
        kseq.pack(url, tmp_path / "packed", workers=0)
    fsspec.filesystem("memory").pipe_file(f"{url}/table.csv", b"a,b\n1,2\n")
    with raises(SourceError, f"{url}/table.csv"):
        kseq.pack(f"{url}/table.csv", tmp_path / "packed", workers=0)
    fsspec.filesystem("memory").pipe_file(f"{url}/broken.zip", b"no zip")
    with raises(SourceError, f"{url}/broken.zip"):
        kseq.pack(f"{url}/broken.zip", tmp_path / "packed", workers=0)
    with raises(ArgumentError, "follow_links=True", url):
        kseq.pack(url, tmp_path / "packed", workers=0, follow_links=True)
    images = upload(folder, memory_url())
    fsspec.filesystem("memory").pipe_file(f"{images}/train/cat/broken.jpg", b"no image")
    with raises(ImageError, f"{images}/train/cat/broken.jpg"):
        kseq.pack(images, tmp_path / "packed", workers=0, on_error="fail")
    assert list(spool.iterdir()) == []


def test_a_refused_image_is_left_out_and_a_store_that_is_gone_ends_the_packing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, read = upload(folder, memory_url()), RemoteFiles.read_file
    error: Exception = RefusedError("it: access is denied")

    def read_or_fail(self: RemoteFiles, name: str, size: int | None = None) -> bytes:
        if name.endswith("train/cat/00001.jpg"):
            raise error
        return read(self, name, size)

    monkeypatch.setattr(RemoteFiles, "read_file", read_or_fail)
    report = kseq.pack(url, tmp_path / "packed", workers=0)
    assert [rejected.path for rejected in report.rejected] == [b"train/cat/00001.jpg"]
    error = ReadError("it: no answer in time")
    with raises(ReadError, "no answer in time"):
        kseq.pack(url, tmp_path / "other", workers=0)


def test_an_image_that_was_written_again_is_noticed_by_resuming(folder: Path, tmp_path: Path) -> None:
    url, stop = upload(folder, memory_url()), Stop()
    with pytest.raises(KeyboardInterrupt):
        kseq.pack(url, tmp_path / "packed", workers=0, shard_bytes=8_000, progress=stop)
    first = f"{url}/train/cat/00000.jpg"
    system = fsspec.filesystem("memory")
    system.pipe_file(first, system.cat_file(first))
    with raises(DatasetExistsError, "train/cat/00000.jpg"):
        kseq.pack(url, tmp_path / "packed", workers=0, shard_bytes=8_000, resume=True)


class Stop:
    """Ends a packing when some images are done."""

    def __call__(self, done: int, total: int) -> None:
        if done > 8:
            raise KeyboardInterrupt


def test_what_does_not_fit_on_the_disk_is_not_downloaded(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = upload(write_tars(folder, tmp_path, 3), memory_url())
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("kseq.sources.outline.shutil.disk_usage", lambda _: usage._replace(free=100))
    with raises(WriteError, "TMPDIR", "100"):
        kseq.pack(url, tmp_path / "packed", workers=0)


def test_a_source_at_a_url_is_appended(folder: Path, tmp_path: Path) -> None:
    kseq.pack(folder, tmp_path / "packed", workers=0)
    write_photos(tmp_path / "more", {"cat": 2, "eel": 1})
    report = kseq.append(tmp_path / "packed", upload(tmp_path / "more", memory_url("more")), workers=0)
    assert (report.num_samples, report.new_class_names) == (3, ("eel",))
