"""Asking the server of `kseq.Viewer`, as a browser would or as no browser does."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import numpy as np
from PIL import Image

import kseq
from tests.helpers.photos import photo

# A class and a file of such names run a script wherever a page takes names for markup.
HOSTILE_CLASS = "<img src=x onerror=globalThis.owned=1>"
HOSTILE_FILE = '"><svg onload=globalThis.owned=1>${owned=1}.png'


class Answer(NamedTuple):
    """What the server answers."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    viewer: kseq.Viewer,
    path: str = "",
    *,
    method: str = "GET",
    body: Any = None,
    headers: dict[str, str] | None = None,
    whole_path: str | None = None,
    **parameters: Any,
) -> Answer:
    """Ask for an address below that of the page, or for a whole path."""
    url = urlsplit(viewer.url)
    query = f"?{urlencode(parameters)}" if parameters else ""
    # Of a million samples, some answers take ten seconds of a processor, which others may be using.
    connection = http.client.HTTPConnection("127.0.0.1", viewer.port, timeout=300)
    sent = json.dumps(body) if body is not None else None
    own = {"content-type": "application/json"} if body is not None else {}
    try:
        connection.request(method, whole_path or f"{url.path}{path}{query}", sent, {**own, **(headers or {})})
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def ask_json(viewer: kseq.Viewer, name: str, **parameters: Any) -> Any:
    """What an answer that is no error says."""
    answer = ask(viewer, f"api/{name}", **parameters)
    assert answer.status == 200, answer.body
    return answer.json


def change(viewer: kseq.Viewer, name: str, **asked: Any) -> Answer:
    """Ask for a change, as the page does."""
    digest = asked.pop("digest", None) or ask_json(viewer, "state")["digest"]
    return ask(viewer, f"api/change/{name}", method="POST", body={"digest": digest, **asked})


def pack_hostile(folder: Path) -> Path:
    """A dataset whose class names and sources are markup."""
    (folder / "photos" / HOSTILE_CLASS).mkdir(parents=True)
    (folder / "photos" / "plain").mkdir()
    Image.fromarray(photo(0, 40, 50)).save(folder / "photos" / HOSTILE_CLASS / HOSTILE_FILE)
    for number in range(3):
        Image.fromarray(photo(number + 1, 40, 50)).save(folder / "photos" / "plain" / f"{number}.png")
    kseq.pack(folder / "photos", folder / "hostile", workers=0)
    return folder / "hostile"


def pack_objects(folder: Path) -> Path:
    """Six images of 60 x 80 with a mask, boxes with labels, and a number: 4 train, 2 val."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(6):
        mask = np.zeros((60, 80), np.uint8)
        mask[10:30, 20:50] = 1 + number % 2
        Image.fromarray(photo(number, 60, 80)).save(folder / f"images/{number}.jpg")
        Image.fromarray(mask).save(folder / f"images/{number}.png")
        row = {
            "path": f"images/{number}.jpg",
            "mask": f"images/{number}.png",
            "boxes": [[20, 10, 50, 30], [5, 5, 15, 25]][: 1 + number % 2],
            "box_labels": ["cup", "plate"][: 1 + number % 2],
            "height": number / 10,
            "split": "train" if number < 4 else "val",
        }
        rows.append(json.dumps(row))
    (folder / "table.jsonl").write_text("\n".join(rows))
    columns = kseq.Columns(image="path", mask="mask", boxes="boxes", box_labels="box_labels", targets=["height"], split="split")
    kseq.pack(folder / "table.jsonl", folder / "objects", columns=columns, workers=0)
    return folder / "objects"
