"""Scripts that let shells complete the words of the command: made of its parsers, so that they know every option."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping

__all__ = ["SHELLS", "completion_script"]

Parsers = Mapping[str, argparse.ArgumentParser]


def completion_script(shell: str, parsers: Parsers, helps: Mapping[str, str]) -> str:
    """The script of a shell, one of `SHELLS`.

    Args:
        shell: Its name.
        parsers: Subcommand to its parser.
        helps: Subcommand to what it does, in a few words.
    """
    return SHELLS[shell](parsers, helps)


def _bash(parsers: Parsers, helps: Mapping[str, str]) -> str:
    lines = [
        '# eval "$(kseq completion bash)" in ~/.bashrc completes the words of kseq.',
        "_kseq() {",
        '    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" command="${COMP_WORDS[1]}" words=""',
        '    if [ "$COMP_CWORD" -eq 1 ]; then',
        f'        words="{" ".join(parsers)} --help --version"',
        "    else",
        '        case "$command $before" in',
        *(f'            "{name} {option}") words="{values}" ;;' for name, option, values in _option_values(parsers)),
        "        esac",
        '        if [ -z "$words" ]; then',
        '            case "$command" in',
        *(f'                {name}) words="{_words(parser)}" ;;' for name, parser in parsers.items()),
        "            esac",
        # Without a dash, the name of a file is meant, unless the command takes one of some words.
        '            case "$word" in -*) ;; *)',
        '                case "$command" in',
        *(f'                    {name}) words="{values}" ;;' for name, values in _positional_values(parsers)),
        '                    *) words="" ;;',
        "                esac ;;",
        "            esac",
        "        fi",
        "    fi",
        '    COMPREPLY=($(compgen -W "$words" -- "$word"))',
        "}",
        "complete -o default -o bashdefault -F _kseq kseq",
    ]
    return "\n".join(lines)


def _zsh(parsers: Parsers, helps: Mapping[str, str]) -> str:
    lines = [
        "#compdef kseq",
        '# eval "$(kseq completion zsh)" in ~/.zshrc, after compinit, completes the words of kseq.',
        "_kseq() {",
        "    local -a commands=(",
        *(f"        {_quoted(f'{name}:{helps[name]}')}" for name in parsers),
        "    )",
        "    if (( CURRENT == 2 )); then _describe command commands; return; fi",
        '    local command="$words[2]"',
        "    shift words; (( CURRENT-- ))",
        '    case "$command" in',
    ]
    for name, parser in parsers.items():
        lines.append(f"        {name}) _arguments \\")
        for action in _options(parser):
            text = "".join(" " if character in "[]:\\" else character for character in _help(parser, action))
            values = _choices(action)
            value = "" if action.nargs == 0 else f":value:({values})" if values else ":value:_files"
            lines += [f"            {_quoted(f'*{option}[{text}]{value}')} \\" for option in action.option_strings]
        words = dict(_positional_values(parsers)).get(name)
        lines.append(f"            {_quoted(f'*:word:({words})' if words else '*:file:_files')} ;;")
    return "\n".join([*lines, "    esac", "}", "compdef _kseq kseq"])


def _fish(parsers: Parsers, helps: Mapping[str, str]) -> str:
    lines = ["# kseq completion fish | source in ~/.config/fish/config.fish completes the words of kseq."]
    lines += [f"complete -c kseq -n __fish_use_subcommand -f -a {name} -d {_fish_quoted(helps[name])}" for name in parsers]
    for name, parser in parsers.items():
        head = f"complete -c kseq -n '__fish_seen_subcommand_from {name}'"
        for action in _options(parser):
            values = _choices(action)
            value = "" if action.nargs == 0 else f" -x -a '{values}'" if values else " -r"
            names = " ".join(
                f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}" for option in action.option_strings
            )
            lines.append(f"{head} {names}{value} -d {_fish_quoted(_help(parser, action))}")
    lines += [
        f"complete -c kseq -n '__fish_seen_subcommand_from {name}' -f -a '{values}'"
        for name, values in _positional_values(parsers)
    ]
    return "\n".join(lines)


SHELLS = {"bash": _bash, "zsh": _zsh, "fish": _fish}


def _options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.option_strings]


def _words(parser: argparse.ArgumentParser) -> str:
    return " ".join(option for action in _options(parser) for option in action.option_strings)


def _choices(action: argparse.Action) -> str:
    return " ".join(map(str, action.choices or ()))


def _option_values(parsers: Parsers) -> Iterator[tuple[str, str, str]]:
    """Of each option that takes one of some words: its command, the option, the words."""
    for name, parser in parsers.items():
        for action in _options(parser):
            for option in action.option_strings if _choices(action) else ():
                yield name, option, _choices(action)


def _positional_values(parsers: Parsers) -> Iterator[tuple[str, str]]:
    """Of each command whose argument is one of some words: its name, the words."""
    for name, parser in parsers.items():
        for action in parser._actions:
            if not action.option_strings and _choices(action):
                yield name, _choices(action)


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """What an option does, up to the first bracket or list of words."""
    text = parser._get_formatter()._expand_help(action).partition(" (")[0]
    return text.partition(": ")[0] if action.choices and action.metavar else text.partition(";")[0]


def _quoted(text: str) -> str:
    """A word for zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
