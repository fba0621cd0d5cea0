"""Cards: what a dataset is, for people and for catalogues."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kseq.arguments import is_url, path_or_url, path_text, spelled
from kseq.errors import ArgumentError
from kseq.exporting.croissant import CROISSANT_NAME, croissant_text
from kseq.exporting.data_card import CARD_NAME, Statements, card_text, dataset_name
from kseq.exporting.writer import close_durably
from kseq.reading.dataset import ShardDataset
from kseq.storage.atomic import publishing_folder
from kseq.storage.output_folder import check_apart

__all__ = ["CardReport", "card"]

_LOADING = """```python
import kseq

dataset = kseq.ShardDataset("FOLDER", "train")  # the folder of the dataset, or its URL
sample = dataset[0]
```"""
_VERSION = re.compile(r"\d+(\.\d+){2}([-+][0-9A-Za-z.-]+)?")
_DATE = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")


@dataclass(frozen=True)
class CardReport:
    """What `kseq.card` wrote.

    Attributes:
        path: The folder that was made.
        files: The names of the files in it.
        digest: Of the dataset that the card is about.
        not_stated: The arguments that nobody gave and that a card should have, such as `license`.
    """

    path: str
    files: tuple[str, ...]
    digest: str
    not_stated: tuple[str, ...]


def card(
    dataset: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    name: str | None = None,
    description: str | None = None,
    license: str | None = None,
    url: str | None = None,
    creator: str | None = None,
    citation: str | None = None,
    version: str = "1.0.0",
    date: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> CardReport:
    """Write a card of a dataset: `README.md` for people, and `croissant.json`, its Croissant 1.1 metadata, for catalogues.

    The card says how many samples each split and class has, how large the images are, what samples hold, how they were packed,
    what was changed since or left out, and the digest. What the dataset does not know of itself, such as its licence, are the
    arguments.

    Args:
        dataset: The folder of the dataset, or its URL.
        out: The folder to make; None for one beside the dataset, called like it with `-card` at the end. (Other files in the
            folder of a dataset would keep kseq from overwriting it.)
        name: What the dataset is called; None for the name of its folder.
        description: What it is about.
        license: The name of its licence, such as `"CC-BY-4.0"`, or its URL.
        url: Where its files are, or will be, to be found: the folder that has `index.h5`. None for the folder of the card.
        creator: Who made it.
        citation: How it is to be cited.
        version: Of the dataset: three numbers with points between them.
        date: When it was published, `"YYYY-MM-DD"`.
        storage_options: Of a URL: what fsspec's file system gets.

    Raises:
        ArgumentError: If an argument is not allowed.
        DatasetNotFoundError: If there is no dataset.
        DatasetExistsError: If something lies at `out`.
        DamagedError: If stored bytes have changed.
        WriteError: If the operating system refuses to write.
    """
    path = path_or_url("dataset", dataset)
    given = {
        "description": description,
        "license": license,
        "url": url,
        "creator": creator,
        "citation": citation,
        "date": date,
    }
    for argument, value in {"name": name, "version": version, **given}.items():
        if value is not None and not (isinstance(value, str) and value.strip()):
            raise ArgumentError(f"{spelled(argument, value)}: allowed is text")
    if not _VERSION.fullmatch(version):
        raise ArgumentError(f"{spelled('version', version)}: allowed are three numbers with points between them, as in '1.0.0'")
    if date is not None and not _DATE.fullmatch(date):
        raise ArgumentError(f"{spelled('date', date)}: allowed is a day as in '2026-01-31'")
    target = os.path.normpath(path_text("out", _default_folder(path) if out is None else out))
    check_apart(path, target)
    statements = Statements(name or dataset_name(path), version=version, **{key: value or "" for key, value in given.items()})
    with ShardDataset(path, cache_bytes=0 if is_url(path) else None, storage_options=storage_options) as opened:
        texts = {
            CARD_NAME: card_text(opened, statements, _front_matter(statements), _LOADING),
            CROISSANT_NAME: croissant_text(opened, statements),
        }
        digest = opened.digest
    with publishing_folder(target) as folder:
        for file_name, text in texts.items():
            with open(os.path.join(folder, file_name), "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                close_durably(file)
    return CardReport(target, tuple(texts), digest, tuple(argument for argument, value in given.items() if value is None))


def _default_folder(path: str) -> str:
    return f"{dataset_name(path)}-card" if is_url(path) else f"{os.path.normpath(path)}-card"


def _front_matter(statements: Statements) -> dict[str, Any]:
    """What the Hub of Hugging Face reads at the top of a card: licences go by short names there, others by their URL."""
    matter: dict[str, Any] = {"pretty_name": statements.name}
    if "://" in statements.license:
        matter |= {"license": "other", "license_link": statements.license}
    elif statements.license:
        matter["license"] = statements.license.lower()
    return matter
