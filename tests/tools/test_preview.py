"""`kseq preview`: thumbnails as text, in colours where those are wanted."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq_tools.commands.preview import _cut
from kseq_tools.console.half_blocks import draw, has_colors
from kseq_tools.main import main
from tests.helpers.messages import assert_says
from tests.helpers.processes import kseq_command

ESCAPE = "\x1b"
COLOR = re.compile(r"\x1b\[(38;2;\d+;\d+;\d+;48;2;\d+;\d+;\d+|38;5;\d+;48;5;\d+|0)m")


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Ten images of two classes, one with a hostile name, red above and blue below."""
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:10, :, 0], pixels[10:, :, 2] = 255, 255
    for name in ("rose", f"{ESCAPE}]0;title\x07{ESCAPE}[2J"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(5):
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    kseq.pack(tmp_path / "photos", tmp_path / "packed", val=0.2, workers=0)
    return tmp_path / "packed"


def on_terminal(*words: str | Path, **environment: str) -> str:
    """What the command prints on a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLORTERM", "COLUMNS")}
    process = subprocess.Popen(
        kseq_command(*words), stdout=theirs, stderr=theirs, env={**kept, "TERM": "xterm-256color", **environment}
    )
    os.close(theirs)
    printed = b""
    try:
        while part := os.read(ours, 65_536):
            printed += part
    except OSError:
        # The other end is closed.
        pass
    os.close(ours)
    assert process.wait(100) == 0
    return printed.decode().replace("\r\n", "\n")


def test_half_blocks_have_the_colours_of_the_image() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[::2] = (255, 0, 0)
    pixels[1::2] = (0, 0, 255)
    lines = draw(pixels, 4, colors=True)
    assert lines == ["\x1b[38;2;255;0;0;48;2;0;0;255m\N{UPPER HALF BLOCK}" * 4 + "\x1b[0m"] * 2
    assert "38;5;196;48;5;21m" in draw(pixels, 4, colors=True, every_color=False)[0]
    assert draw(np.full((4, 4, 3), 255, np.uint8), 4, colors=False) == ["@@@@"] * 2


@pytest.mark.parametrize(("height", "width"), [(1, 10_000), (10_000, 1), (1, 1), (300, 7)])
def test_any_shape_fits(height: int, width: int) -> None:
    for colors in (True, False):
        lines = [COLOR.sub("", line) for line in draw(np.zeros((height, width, 3), np.uint8), 20, colors=colors)]
        assert 1 <= len(lines) <= 10 and 1 <= len(lines[0]) <= 20


@pytest.mark.parametrize(
    ("environment", "is_terminal", "encoding", "expected"),
    [
        ({"TERM": "xterm"}, True, "utf-8", True),
        ({"TERM": "xterm"}, False, "utf-8", False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, "utf-8", False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, "utf-8", True),
        ({"TERM": "dumb"}, True, "utf-8", False),
        ({}, True, "utf-8", False),
        ({"TERM": "xterm"}, True, "ascii", False),
    ],
)
def test_colours_are_for_terminals_that_have_them(
    environment: dict[str, str], is_terminal: bool, encoding: str, expected: bool
) -> None:
    assert has_colors(environment, is_terminal=is_terminal, encoding=encoding) is expected


@pytest.mark.slow
@pytest.mark.parametrize("color", [True, False])
def test_a_terminal_gets_thumbnails_side_by_side_and_no_escape_but_colours(packed: Path, color: bool) -> None:
    printed = on_terminal("preview", packed, "--count", "4", "--width", "16", **({} if color else {"NO_COLOR": "1"}))
    assert bool(COLOR.search(printed)) is color
    plain = COLOR.sub("", printed)
    assert ESCAPE not in plain and "\x07" not in plain
    lines = plain.splitlines()
    assert max(map(len, lines)) <= 80
    (captions,) = [line for line in lines if line.startswith("#")]
    assert captions.count("#") == 4
    assert r"\x1b]0;" in plain and lines[-1] == "4 of 10 samples"


def test_a_size_that_is_cut_does_not_look_like_a_smaller_one() -> None:
    assert [_cut(text, 8) for text in ("100 x 111", "10 x 111", "日本日本日")] == ["100 x ..", "10 x 111", "日本日.."]


def test_no_terminal_gets_no_escapes(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preview", str(packed), "--split", "val", "--width", "10"]) == 0
    printed = capsys.readouterr().out
    assert ESCAPE not in printed and "\N{UPPER HALF BLOCK}" not in printed
    assert printed.splitlines()[-1] == "2 of 2 samples"
    assert "20 x 20" in printed


def test_samples_are_chosen_by_condition_and_place(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preview", str(packed), "--where", "label=rose", "--start", "3"]) == 0
    printed = capsys.readouterr().out
    assert re.findall(r"#(\d+) (\S+)", printed) == [("8", "rose"), ("9", "rose")]
    assert printed.endswith("2 of 5 samples\n")


@pytest.mark.parametrize(("dtype", "channels"), [("uint16", 1), ("float32", 5)])
def test_images_of_other_numbers_are_shown_too(
    dtype: str, channels: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.linspace(0, 1000, 2 * 8 * 8 * channels).reshape(2, 8, 8, channels).astype(dtype)
    if dtype == "float32":
        images[0, 0, 0] = np.nan
    np.savez(tmp_path / "a.npz", image=images, label=np.arange(2))
    settings = kseq.ImageSettings("raw", (8, 8), dtype=dtype, channels=channels)
    kseq.pack(tmp_path / "a.npz", tmp_path / "packed", images=settings, workers=0)
    assert main(["preview", str(tmp_path / "packed"), "--width", "8"]) == 0
    assert re.search(r"[ .]+\n.*[%@]+", capsys.readouterr().out, re.DOTALL)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--start", "10"], ("--start 10", "0 to 9")),
        (["--width", "1000"], ("1000", "200")),
        (["--count", "0"], ("0",)),
        (["--split", "vall"], ("vall", "val")),
    ],
)
def test_what_cannot_be_shown_is_refused(
    words: list[str], parts: tuple[str, ...], packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["preview", str(packed), *words]) == 1
    assert_says(capsys.readouterr().err, *parts)
