"""One rule for the encoding of all text that sources read: UTF-8, UTF-16 with its mark, and names of any bytes."""

from __future__ import annotations

import codecs
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kseq.errors import SourceError
from kseq.sources.column_roles import Columns
from kseq.sources.registry import open_source
from kseq.sources.text import decode_name, decode_text, encode_name, open_text
from tests.helpers.messages import raises

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_text_is_read_in_each_encoding(tmp_path: Path, encoding: str) -> None:
    text = "käfer\r\n瓢虫\n"
    (tmp_path / "t.txt").write_bytes(text.encode(encoding))
    for strict in (False, True):
        with open_text(tmp_path / "t.txt", strict=strict) as file:
            assert file.read() == text
    assert decode_text(text.encode(encoding)) == text


@given(st.binary().filter(lambda data: data[:3] != codecs.BOM_UTF8))
def test_any_bytes_survive_as_a_name(data: bytes) -> None:
    assert encode_name(decode_name(data)) == data


def test_bytes_that_are_not_utf8_are_kept_unless_reading_is_strict(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"k\xe4fer")
    with open_text(tmp_path / "t.txt") as file:
        assert os.fsencode(file.read()) == b"k\xe4fer"
    with open_text(tmp_path / "t.txt", strict=True) as file, pytest.raises(UnicodeError):
        file.read()


def test_a_pipe_is_opened_once(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, "käfer".encode("utf-16"))
    os.close(write_end)
    with open_text(f"/dev/fd/{read_end}") as file:
        assert file.read() == "käfer"
    os.close(read_end)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_lines_are_read_in_each_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "t.jsonl").write_text('{"image": "a.jpg", "label": "käfer"}\n', encoding)
    assert open_source(str(tmp_path / "t.jsonl"), None, Columns(), None, None).class_names == ("käfer",)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_coco_is_read_in_each_encoding(tmp_path: Path, encoding: str) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    lists = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": [{"id": 1, "name": "käfer"}]}
    (tmp_path / "coco.json").write_text(json.dumps(lists, ensure_ascii=False), encoding)
    assert open_source(str(tmp_path / "coco.json"), None, Columns(), None, None).class_names == ("käfer",)


@pytest.mark.parametrize(("data", "name"), [("käfer".encode("utf-16"), "käfer"), ("käfer".encode("utf-8-sig"), "käfer")])
def test_class_names_of_yolo_are_read_in_each_encoding(tmp_path: Path, data: bytes, name: str) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "a.png")
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 1 1\n")
    (tmp_path / "classes.txt").write_bytes(data)
    assert open_source(str(tmp_path), "yolo", Columns(), None, None).class_names == (name,)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["image,label\na.png,猫猫猫猫猫\n", "名,Größe\na,b\n", '{"a": "瓢虫瓢虫瓢虫"}'])
def test_utf_16_is_told_without_its_mark(encoding: str, text: str) -> None:
    assert decode_text(text.encode(encoding)) == text


@pytest.mark.parametrize("data", ["image,label\n猫,ā\n".encode(), b"a,\0b\n" + b"c" * 60, b"\0" * 64, b""])
def test_bytes_that_are_no_utf_16_are_not_taken_for_it(data: bytes) -> None:
    assert decode_text(data) == data.decode()


@pytest.mark.parametrize("name", ["data.yaml", "classes.txt", "coco.json"])
def test_a_text_of_a_code_page_names_the_option_that_reads_it(tmp_path: Path, name: str) -> None:
    lists = {"images": [{"id": 1, "file_name": "images/a.png"}], "annotations": [], "categories": [{"id": 1, "name": "käfer"}]}
    texts = {"data.yaml": "names: [käfer]\n", "classes.txt": "käfer\n", "coco.json": json.dumps(lists, ensure_ascii=False)}
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "a.png")
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 1 1\n")
    (tmp_path / name).write_bytes(texts[name].encode("cp1252"))
    source = str(tmp_path / name if name.endswith(".json") else tmp_path)
    with raises(SourceError, tmp_path / name, "UTF-8", "text_encoding="):
        open_source(source, None, Columns(), None, None)
    opened = open_source(source, None, Columns(), None, None, text_encoding="cp1252")
    assert opened.class_names == ("käfer",)


@pytest.mark.parametrize("head", ['"a"b,label\n', '"image,label\na.jpg,x\n'])
def test_a_csv_whose_first_line_is_broken_names_the_file(tmp_path: Path, head: str) -> None:
    (tmp_path / "t.csv").write_text(head)
    with raises(SourceError, "t.csv", "CSV"):
        open_source(str(tmp_path / "t.csv"), None, Columns(), None, None)


def test_json_lines_that_are_not_utf8_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b'{"image": "a\xe9.jpg", "label": "x"}\n')
    with raises(SourceError, "t.jsonl", "UTF-8"):
        open_source(str(tmp_path / "t.jsonl"), None, Columns(), None, None)
