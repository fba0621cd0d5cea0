"""What a folder holds that can be packed, and the commands that would pack it."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import kseq

from .text import display_width, format_count, format_names, line_length, printable, shell_path

__all__ = ["Proposal", "Surroundings", "look_around"]

# A folder of more entries, or a file of more bytes, is proposed without a look into it, which might take minutes. Text is read
# as a whole.
_MOST_ENTRIES, _MOST_BYTES, _MOST_TEXT_BYTES = 5_000, 256 << 20, 16 << 20
_TEXTS = frozenset((".csv", ".json", ".jsonl", ".ndjson", ".tsv", ".xml"))
# After so many seconds nothing more is looked into: whoever asks what to type does not wait.
_MOST_SECONDS = 5.0
# So much of a folder is looked at, and so many of the refusals are shown.
_MOST_CANDIDATES, _MOST_PROPOSALS, _MOST_REFUSED = 50, 5, 5

# Of fewer images, a share of each class would be none.
_LEAST_TO_SPLIT = 5

# Of files that nobody would pack, so that they are not listed as refused.
_OTHER_SUFFIXES = frozenset(
    (".avi", ".bin", ".c", ".cfg", ".css", ".deb", ".dmg", ".docx", ".exe", ".html", ".img", ".ini", ".ipynb", ".iso", ".js",
     ".keras", ".log", ".md", ".mkv", ".mov", ".mp3", ".mp4", ".onnx", ".pdf", ".pkl", ".pt", ".pth", ".py", ".rst",
     ".safetensors", ".sh", ".so", ".svg", ".toml", ".txt", ".wav", ".webm", ".whl", ".xlsx", ".yaml", ".yml")
)  # fmt: skip
_OTHER_FOLDERS = frozenset(("__pycache__", "build", "dist", "env", "node_modules", "site-packages", "venv"))
# A look into these would unpack them to the disk.
_COMPRESSED = frozenset((".bz2", ".gz", ".tgz", ".tbz2", ".txz", ".tzst", ".xz", ".zst"))
_SPLIT_NAMES = frozenset(("train", "training", "val", "valid", "validation", "test", "testing"))


@dataclass(frozen=True)
class Proposal:
    """Something that can be packed.

    Attributes:
        source: What it is, as the command names it.
        command: The command that packs it.
        num_samples: How many images it has; None if that would take long to find out.
        class_names: Its classes.
        splits: Split name to the number of its images.
    """

    source: str
    command: str
    num_samples: int | None = None
    class_names: tuple[str, ...] = ()
    splits: dict[str, int] | None = None

    @property
    def description(self) -> str:
        """What it holds, in a few words."""
        if self.num_samples is None:
            return "not looked into, since that would take long"
        words = [format_count(self.num_samples, "image")]
        if self.class_names:
            words.append(f"{format_count(len(self.class_names), 'class')}: {format_names(self.class_names)}")
        if self.splits and set(self.splits) != {"train"}:
            words.append(f"splits {', '.join(self.splits)}")
        return "; ".join(words)


@dataclass(frozen=True)
class Surroundings:
    """What lies in a folder.

    Attributes:
        folder: Its path.
        proposals: What can be packed, the likeliest first.
        datasets: The datasets there.
        refused: Name to why it cannot be packed.
        reason: Why the folder itself cannot be packed, if nothing in it can, and something looks like a source; else empty.
    """

    folder: str
    proposals: tuple[Proposal, ...]
    datasets: tuple[str, ...]
    refused: dict[str, str]
    reason: str = ""

    @property
    def lines(self) -> list[str]:
        """What was seen, and the commands to try."""
        texts = {printable(proposal.source): proposal.description for proposal in self.proposals}
        texts |= {printable(name): "a dataset of kseq" for name in self.datasets}
        width = max(map(display_width, texts), default=0)
        lines = [f"{printable(self.folder)} holds"]
        lines += [f"  {name}{' ' * (width - display_width(name))}  {text}" for name, text in texts.items()]
        for name, reason in list(self.refused.items())[:_MOST_REFUSED]:
            line = f"  not {printable(name)}: {printable(reason)}"
            lines.append(line if len(line) <= line_length() else f"{line[: line_length() - 3]}...")
        if len(self.refused) > _MOST_REFUSED:
            lines.append(f"  nor {format_count(len(self.refused) - _MOST_REFUSED, 'other thing')}")
        commands = [proposal.command for proposal in self.proposals]
        commands += [f"kseq info {shell_path(name)}" for name in self.datasets]
        lines += ["", "try", *(f"  {printable(command)}" for command in commands)]
        return [*lines, "", "--dry-run shows what would be packed, and writes nothing; kseq pack --help shows more"]


def look_around(folder: str) -> Surroundings:
    """What lies in a folder: its files and folders, and the folder itself if its folders are classes or splits."""
    with os.scandir(folder) as entries:
        is_folder = {entry.name: _is_folder(entry) for entry in entries if not entry.name.startswith(".")}
    names = sorted(is_folder)
    datasets = [name for name in names if is_folder[name] and os.path.exists(os.path.join(folder, name, "index.h5"))]
    proposals, refused, reason = [], {}, ""
    taken: set[str] = set()
    deadline = time.monotonic() + _MOST_SECONDS
    candidates = [name for name in names if name not in datasets and name not in _OTHER_FOLDERS]
    for name in [".", *candidates[:_MOST_CANDIDATES]]:
        try:
            proposal = _propose(folder, name, taken, deadline)
        except (kseq.KseqError, OSError) as error:
            if name == ".":
                reason = str(error)
            else:
                refused[name] = str(error).removeprefix(f"{os.path.join(folder, name)}: ").removeprefix(f"{name}: ")
            continue
        if proposal is not None:
            proposals.append(proposal)
    chosen = _choose(proposals, names)
    if chosen and chosen[0].source == ".":
        refused = {}
    is_odd = bool(refused) and not chosen and not datasets
    return Surroundings(folder, tuple(chosen[:_MOST_PROPOSALS]), tuple(datasets), refused, reason if is_odd else "")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # `is_dir` raises an error for a link to itself.
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _propose(folder: str, name: str, taken: set[str], deadline: float) -> Proposal | None:
    """A proposal for an entry of a folder, or for the folder itself; None if it is nothing that one would pack.

    From the deadline on, a time of `time.monotonic`, nothing is looked into.

    Raises:
        KseqError: If it looks like a source, and is none.
    """
    path = folder if name == "." else os.path.join(folder, name)
    suffix = os.path.splitext(name)[1]
    if not os.path.isdir(path) and suffix.lower() in _OTHER_SUFFIXES:
        return None
    target = _target(folder, name, taken)
    words = ["kseq", "pack", shell_path(name), shell_path(target)]
    if suffix.lower() in _COMPRESSED or _is_large(path, deadline):
        return None if name == "." else Proposal(name, " ".join(words))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = kseq.pack(path, os.path.join(folder, target), dry_run=True, overwrite=True, workers=0)
    if not report.num_samples:
        return None
    if set(report.splits) == {"train"} and report.num_samples >= _LEAST_TO_SPLIT:
        words += ["--val", "0.2"]
    if os.path.exists(os.path.join(folder, target)):
        words.append("--overwrite")
    return Proposal(name, " ".join(words), report.num_samples, report.class_names, report.splits)


def _target(folder: str, name: str, taken: set[str]) -> str:
    """The folder for the dataset, beside the source; `taken` are those that are proposed already, and gets this one."""
    if name == ".":
        return os.path.join(os.pardir, f"{os.path.basename(folder)}-packed")
    base = os.path.splitext(name)[0].removesuffix(".tar")
    target = f"{name if f'{base}-packed' in taken else base}-packed"
    taken.add(target)
    return target


def _is_large(path: str, deadline: float) -> bool:
    """Whether a look into a file or folder would take long, or last beyond the deadline."""
    if not os.path.isdir(path):
        is_text = os.path.splitext(path)[1].lower() in _TEXTS
        return time.monotonic() > deadline or os.path.getsize(path) > (_MOST_TEXT_BYTES if is_text else _MOST_BYTES)
    return any(count > _MOST_ENTRIES or time.monotonic() > deadline for count, _ in enumerate(_entries(path), 1))


def _entries(path: str) -> Iterator[str]:
    for _, folders, files in os.walk(path):
        yield from folders
        yield from files


def _choose(proposals: list[Proposal], names: list[str]) -> list[Proposal]:
    """The folder itself alone if its folders are classes or splits; else what is in it, that with classes first."""
    itself = next((proposal for proposal in proposals if proposal.source == "."), None)
    others = [proposal for proposal in proposals if proposal.source != "."]
    if itself is not None and not any(len(proposal.class_names) > 1 for proposal in others if proposal.num_samples):
        # Images of other folders are no class of the collection in one of them.
        has_classes = len(set(itself.class_names) & set(names)) > 1
        if has_classes or not others:
            return [itself]
    if itself is not None and _SPLIT_NAMES & {name.lower() for name in names}:
        return [itself, *(proposal for proposal in others if proposal.source.lower() not in _SPLIT_NAMES)]
    return sorted(others, key=lambda proposal: (len(proposal.class_names) < 2, -(proposal.num_samples or 0)))
