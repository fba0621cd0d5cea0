"""`kseq completion`: what shells propose while a command is typed, tried in the shells themselves."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from kseq_tools.console.completion import SHELLS
from kseq_tools.console.parser import subcommands
from kseq_tools.main import main, make_parser


def script_of(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def proposals(script: str, words: list[str], folder: Path) -> list[str]:
    """What bash proposes for the last of the words, which is not complete."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    quoted = " ".join(map(shlex.quote, words))
    program = f"{script}\nCOMP_WORDS=({quoted})\nCOMP_CWORD={len(words) - 1}\n_kseq\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    done = subprocess.run([bash, "--norc", "-c", program], cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["kseq", "p"], {"pack", "preview"}),
        (["kseq", ""], {*subcommands(make_parser()), "--help", "--version"}),
        (["kseq", "pack", "--enc"], {"--encoding"}),
        (["kseq", "pack", "photos", "flowers", "--encoding", ""], {"keep", "raw", "jpeg"}),
        (["kseq", "pack", "photos", "flowers", "--encoding", "r"], {"raw"}),
        (["kseq", "completion", ""], set(SHELLS)),
        (["kseq", "undo", "--"], {"--help", "--json"}),
        (["kseq", "pack", "ph"], set()),
        (["kseq", "nonsense", "--x"], set()),
    ],
)
def test_bash_proposes_commands_options_and_values(
    words: list[str], expected: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set(proposals(script_of("bash", capsys), words, tmp_path)) == expected


def test_bash_proposes_files_where_no_word_of_kseq_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert "complete -o default -o bashdefault -F _kseq kseq" in script_of("bash", capsys)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_has_every_option_of_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = script_of(shell, capsys)
    for name, parser in subcommands(make_parser()).items():
        assert re.search(rf"\b{name}\b", script)
        for action in parser._actions:
            for option in action.option_strings:
                word = f"-l {option[2:]}" if shell == "fish" and option.startswith("--") else option
                assert word in script or shell == "fish", (name, option)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_itself_finds_no_fault_with_its_script(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell}")
    (tmp_path / "script").write_text(script_of(shell, capsys))
    done = subprocess.run([program, "-n", tmp_path / "script"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
