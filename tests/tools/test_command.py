"""The `kseq` command: what it prints, where, and with which exit code."""

from __future__ import annotations

import fcntl
import inspect
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import kseq
from kseq_tools.console.progress import Progress
from kseq_tools.main import main, make_parser
from tests.helpers.messages import Parts, assert_says
from tests.helpers.photos import write_numbered
from tests.helpers.processes import kseq_command


@pytest.fixture
def photos_to_pack(tmp_path: Path) -> Path:
    write_numbered(tmp_path / "photos", {"daisy": 20, "rose": 10})
    (tmp_path / "photos/rose/notes.txt").write_text("hello")
    return tmp_path / "photos"


def options_of(command: str) -> dict[str, object]:
    """The options of a subcommand, by the name of their value, with their defaults."""
    words = {"pack": "ab", "append": "ab", "copy": "ab", "merge": "abc", "drop": ["a", "--ids", "1"], "demo": ""}.get(
        command, "a"
    )
    return {
        name: value
        for name, value in vars(make_parser().parse_args([command, *words])).items()
        # What only the command has: how it prints.
        if name not in ("run", "command", "json", "classes")
    }


def parameters_of(function: Callable[..., object]) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


@pytest.mark.parametrize("command", ["pack", "append", "merge", "copy", "compact"])
def test_a_command_has_the_options_of_its_function_with_the_same_defaults(command: str) -> None:
    parameters = parameters_of(getattr(kseq, command))
    if "columns" in parameters:
        del parameters["columns"]
        columns = parameters_of(kseq.Columns)
        # `--split` names a split in other commands.
        parameters |= {"split_column" if name == "split" else name: column for name, column in columns.items()}
    if "images" in parameters:
        del parameters["images"]
        parameters |= parameters_of(kseq.ImageSettings)
    expected = {name: entry.default for name, entry in parameters.items() if entry.default is not inspect.Parameter.empty}
    if "executor" in expected:
        # The command makes one of an address.
        expected["dask"] = expected.pop("executor")
    found = {name: value for name, value in options_of(command).items() if name in expected}
    assert found == {name: default for name, default in expected.items() if name != "progress"}
    assert {*options_of(command)} - {*found} == {*parameters} - {*expected, "executor"}


@pytest.mark.parametrize(
    "command", ["pack", "info", "verify", "split", "drop", "append", "merge", "copy", "compact", "demo", "view"]
)
def test_every_option_has_a_help_text(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help-all" if command == "pack" else "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    for name in options_of(command):
        option = {"lists": "from-list"}.get(name, name.replace("_", "-"))
        # An option that is repeated stands for one of several.
        option = option if f"--{option}" in printed else option.removesuffix("s")
        assert f"--{option}" in printed or name.upper() in printed or f"--no-{option}" in printed


def test_the_help_of_pack_fits_on_a_screen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as caught:
        main(["pack", "--help"])
    assert caught.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 36
    assert any("--help-all" in line for line in lines)


def test_pack_prints_a_table_of_classes_and_splits_and_what_was_left_out(
    photos_to_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pack", str(photos_to_pack), str(tmp_path / "packed"), "--val", "0.2", "--workers", "0"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("class  train  val\ndaisy     16    4\nrose       8    2\nall       24    6\n")
    assert re.search(r"30 images packed into .*packed: 1 shard, [\d.]+ KiB, \d+\.\d s \([\d,]+ images/s\)", printed)
    assert "1 of 31 files were left out:\n  rose/notes.txt: is not an image" in printed


def test_options_reach_the_function(photos_to_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--encoding raw --image-size 6 5 --resize pad --color-mode grayscale --interpolation area --class-names rose daisy "
    words += "--val 0.1 --test 0.2 --no-stratify --seed 4 --shard-bytes 1K --workers 0"
    assert main(["pack", str(photos_to_pack), str(tmp_path / "packed"), *words.split()]) == 0
    capsys.readouterr()
    dataset = kseq.ShardDataset(tmp_path / "packed")
    assert dataset.class_names == ("rose", "daisy")
    assert dataset.splits == {"test": 6, "train": 21, "val": 3}
    assert dataset.fields["image"].shape == (6, 5, 1)
    assert dataset.num_shards == 1
    settings = dataset.settings
    assert (settings["resize"], settings["interpolation"], settings["color_mode"]) == ("pad", "area", "grayscale")


def test_every_option_reaches_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = kseq.Columns(
        image=["left", "right"], label="kind", targets={"age": "years", "tags": "topics"},
        kinds=[("age", "number"), ("tags", "multi_label")], mask="outline", boxes="objects",
        box_labels="kinds", text="caption", sample_weight="worth", split="part", group="patient",
    )  # fmt: skip
    images = kseq.ImageSettings(
        "jpeg", (6, 5), resize="pad", color_mode="grayscale", interpolation="area", quality=80, max_pixels=9000
    )
    expected = {
        "columns": columns, "images": images, "source_format": "csv", "root": "photos", "follow_links": True,
        "label_pattern": "(a)", "suffix": ".jpg", "shape": [28, 28], "text_encoding": "cp1252",
        "class_names": ["x", "y"], "without_class": ["u", "v"], "duplicates": "drop",
        "val": 0.1, "test": 0.2, "stratify": False, "seed": 4, "on_error": "fail",
        "shard_bytes": 1024, "workers": 3, "niceness": 5, "executor": None, "overwrite": True, "resume": True, "dry_run": True,
        "storage_options": {"anon": True, "endpoint_url": "http://host", "name": "a=b"},
    }  # fmt: skip
    received: dict[str, object] = {}

    def fake(*paths: object, **arguments: object) -> None:
        received.update(arguments, paths=paths)
        raise kseq.KseqError("enough")

    function = kseq.pack
    monkeypatch.setattr(kseq, "pack", fake)
    words = "a b --from csv --image left --image right --label kind --target age=years:number "
    words += "--target tags=topics:labels --mask outline "
    words += "--boxes objects --box-labels kinds --text caption --sample-weight worth "
    words += "--split-column part --group patient --root photos --suffix .jpg --shape 28 28 --text-encoding cp1252 "
    words += "--encoding jpeg --image-size 6 5 --resize pad --color-mode grayscale --interpolation area --quality 80 "
    words += "--class-names x y --val 0.1 --test 0.2 --no-stratify --seed 4 --on-error fail "
    words += "--without-class u v --duplicates drop --label-pattern (a) "
    words += "--shard-bytes 1K --workers 3 --niceness 5 --overwrite --resume --max-pixels 9000 --follow-links --dry-run "
    words += "--storage-option anon=true --storage-option endpoint_url=http://host --storage-option name=a=b"
    assert main(["pack", *words.split()]) == 1
    assert received.pop("paths") == ("a", "b")
    assert set(received) == set(parameters_of(function)) - {"source", "dataset"}
    del received["progress"]
    assert received == expected


def test_the_settings_that_exclude_others_reach_the_function_too(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[object] = []

    def fake(*_: object, images: object, **__: object) -> None:
        received.append(images)
        raise kseq.KseqError("enough")

    monkeypatch.setattr(kseq, "pack", fake)
    assert main(["pack", "a", "b", "--no-check"]) == 1
    assert main(["pack", "a", "b", "--encoding", "jpeg", "--max-side", "70"]) == 1
    assert received == [kseq.ImageSettings(check=False), kseq.ImageSettings("jpeg", max_side=70)]


@pytest.mark.parametrize(("text", "count"), [("1000", 1000), ("1K", 1024), ("64M", 64 << 20), ("2GiB", 2 << 30), ("3kb", 3072)])
def test_sizes_may_have_a_unit(text: str, count: int) -> None:
    assert make_parser().parse_args(["pack", "a", "b", "--shard-bytes", text]).shard_bytes == count


@pytest.mark.parametrize(
    "words", [[], ["unpack"], ["pack", "a"], ["pack", "a", "b", "--encoding", "webp"], ["pack", "a", "b", "--shard-bytes", "x"]]
)
def test_wrong_usage_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: kseq" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "option"), [("pack", "--help-all"), ("merge", "--help")])
def test_a_misspelt_option_is_told_with_where_to_look(command: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "a", "b", "--vall", "0.1"])
    assert caught.value.code == 2
    assert_says(capsys.readouterr().err.splitlines()[-1], "--vall 0.1", f"kseq {command} {option}")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["pack", "nothing", "packed"],
            ("nothing", "folder of images"),
        ),
        (["info", "nothing"], ("nothing",)),
        (["verify", "nothing"], ("nothing",)),
        (
            ["pack", "photos", "packed", "--encoding", "raw"],
            ("--encoding raw", "--image-size 224 224"),
        ),
    ],
)
def test_an_error_is_one_line_on_stderr_and_exit_code_1(
    words: list[str], line: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_numbered(tmp_path / "photos", {"a": 1})
    assert main(words) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("kseq: ")
    assert_says(printed.err, *line)


def test_names_that_would_break_a_line_are_escaped(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write_numbered(tmp_path / "photos", {"a": 1})
    (tmp_path / "photos/a/two\nlines.txt").write_text("hello")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/photos/a/\xff.txt")).write_text("hello")
    assert main(["pack", str(tmp_path / "photos"), str(tmp_path / "packed"), "--workers", "0"]) == 0
    printed = capfdbinary.readouterr().out
    assert rb"a/two\nlines.txt: is not" in printed
    assert rb"a/\udcff.txt: is not" in printed


def test_an_error_that_names_such_a_file_is_still_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_numbered(tmp_path / "photos", {"a": 1})
    (tmp_path / "photos/a/two\nlines.txt").write_text("hello")
    words = ["pack", str(tmp_path / "photos"), str(tmp_path / "packed"), "--workers", "0", "--on-error", "fail"]
    assert main(words) == 1
    assert re.fullmatch(r"kseq: .*two\\nlines.txt: is not .*\n", capsys.readouterr().err)


@pytest.mark.slow
def test_a_dataset_whose_name_no_terminal_takes_can_be_packed_and_looked_at(photos_to_pack: Path, tmp_path: Path) -> None:
    target = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    strict = dict(os.environ, PYTHONIOENCODING="utf-8:strict")
    for words in (["pack", str(photos_to_pack), target, "--workers", "0"], ["info", target], ["verify", target]):
        done = subprocess.run(kseq_command(*words), env=strict, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert rb"caf\udce9: " in done.stdout


@pytest.mark.slow
def test_a_reader_that_has_read_enough_is_no_error_to_print(numbered: Path) -> None:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reading, writing = os.pipe()
    os.close(reading)
    command = kseq_command("info", numbered)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env=buffered, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.slow
def test_progress_is_a_bar_on_a_terminal(photos_to_pack: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = kseq_command("pack", photos_to_pack, tmp_path / "packed")
    done = subprocess.run(command, stderr=theirs, stdout=subprocess.PIPE, timeout=100, check=True)
    os.close(theirs)
    printed = os.read(ours, 100_000).decode()
    os.close(ours)
    assert re.search(r"100%\|.*\| 31/31 .*images/s\]", printed)
    assert b"30 images packed" in done.stdout


def test_progress_is_plain_lines_elsewhere(
    photos_to_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kseq_tools.console.progress._PLAIN_EVERY", 0.0)
    assert main(["pack", str(photos_to_pack), str(tmp_path / "packed"), "--workers", "0"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"31 of 31 images, [\d,]+ images/s", lines[-1])


def test_the_rate_of_a_resumed_packing_counts_what_this_run_did(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 20.0, 20.0, 40.0, 40.0])
    monkeypatch.setattr("kseq_tools.console.progress.time.monotonic", lambda: next(clock))
    with Progress() as progress:
        progress.show(1000, 2000)
        progress.show(1200, 2000)
    assert capsys.readouterr().err.splitlines()[-1] == "1,200 of 2,000 images, 5 images/s"


def test_info_tells_what_a_dataset_holds(numbered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(numbered)]) == 0
    printed = capsys.readouterr().out
    assert f"{numbered}: 100 samples in 7 shards" in printed
    assert "image: uint8 pixels, 4 x 4, 3 channels (rgb)" in printed
    assert "label: int32, a class number" in printed
    assert "class  train  val\na         40   10  ████████████████████████\nb         24    6  ██████████████▍\n" in printed


def test_info_as_json_is_for_programs(numbered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(numbered), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["num_samples"], facts["num_shards"], facts["class_names"]) == (100, 7, ["a", "b", "c"])
    assert facts["splits"] == {"train": 80, "val": 20}
    assert facts["class_counts"] == {"train": [40, 24, 16], "val": [10, 6, 4]}
    assert facts["digest"] == kseq.ShardDataset(numbered).digest
    assert facts["fields"]["image"] == {
        "kind": "image",
        "encoded": False,
        "dtype": "uint8",
        "shape": [4, 4, 3],
        "class_names": [],
    }
    assert facts["fields"]["label"]["class_names"] == ["a", "b", "c"]


def test_info_names_the_classes_of_boxes_and_of_several_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_numbered(tmp_path / "photos", {"a": 1})
    (tmp_path / "table.csv").write_text('image,topics,boxes,kinds\nphotos/a/00000.png,red|blue,"[[0, 0, 1, 1]]",bee\n')
    kseq.pack(
        tmp_path / "table.csv",
        tmp_path / "packed",
        columns=kseq.Columns(targets={"topics": "topics"}, boxes="boxes", box_labels="kinds"),
        workers=0,
    )
    assert main(["info", str(tmp_path / "packed")]) == 0
    printed = capsys.readouterr().out
    assert "topics: int32, any number, class numbers: blue, red\n" in printed
    assert "labels: int32, any number, the class numbers of the boxes: bee\n" in printed


def test_info_lists_the_rejected_on_request(photos_to_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kseq.pack(photos_to_pack, tmp_path / "packed", workers=0)
    main(["info", str(tmp_path / "packed")])
    assert "notes.txt" not in capsys.readouterr().out
    main(["info", str(tmp_path / "packed"), "--rejected"])
    assert "rose/notes.txt: is not an image" in capsys.readouterr().out
    main(["info", str(tmp_path / "packed"), "--rejected", "--json"])
    assert json.loads(capsys.readouterr().out)["rejected"][0]["path"] == "rose/notes.txt"


@pytest.mark.slow
def test_append_and_info_show_what_pack_shows_of_images_and_copies(
    photos_to_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [Image.new("L", (8, 8), level) for level in (1, 200)]
    frames[0].save(photos_to_pack / "rose" / "film.gif", save_all=True, append_images=frames[1:])
    shutil.copy(photos_to_pack / "rose" / "film.gif", photos_to_pack / "daisy" / "film.gif")
    printed = {}
    for words in ("pack {photos} {out}", "info {out}", "info {out} --json", "append {out} {photos} --again", "info {out}"):
        assert main(words.format(photos=photos_to_pack, out=tmp_path / "packed").split()) == 0
        printed[words] = capsys.readouterr().out
        for part in ("film.gif", "1 image is byte-identical", "--duplicates drop"):
            assert part in printed[words], words
    facts = json.loads(printed["info {out} --json"])
    assert facts["packing_notes"] == list(kseq.ShardDataset(tmp_path / "packed").packing_notes)


def test_info_says_so_where_nothing_was_rejected(numbered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["info", str(numbered), "--rejected"])
    assert capsys.readouterr().out.endswith("\nleft out when it was packed: nothing\n")


def test_verify_says_that_all_is_whole(numbered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(numbered)]) == 0
    assert "100 samples in 7 shards, all whole" in capsys.readouterr().out


def test_verify_lists_the_damage_and_exits_with_1(
    photos_to_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kseq.pack(photos_to_pack, tmp_path / "packed", shard_bytes=500, workers=0)
    (tmp_path / "packed/shard-00001.h5").unlink()
    with (tmp_path / "packed/shard-00002.h5").open("ab") as shard:
        shard.write(b"more")
    assert main(["verify", str(tmp_path / "packed")]) == 1
    printed = capsys.readouterr()
    assert [line.partition(": ")[0][-14:] for line in printed.out.splitlines()] == ["shard-00001.h5", "shard-00002.h5"]
    assert_says(printed.err, 2)


def test_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"kseq {kseq.__version__}\n"
