"""Opens a source, forks with it open, and reads it in all processes at once; run as a program, since a fork wants no threads.

    python -m tests.sources.read_in_forks ROUNDS PATH [SPLIT_COLUMN]

It prints how often the bytes of an image were read, and how often they were not what they are.
"""

from __future__ import annotations

import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kseq.errors import ImageError
from kseq.sources.base import Source, SourceImage
from kseq.sources.column_roles import Columns
from kseq.sources.registry import open_source

_FORKS = 4


def read(source: Source, image: SourceImage) -> bytes:
    try:
        value = source.read(image)["image"]
    except ImageError as error:
        return str(error).encode()
    return value.tobytes() if isinstance(value, np.ndarray) else value


def count_wrong(source: Source, expected: list[bytes], seed: int) -> int:
    """Reads all images in a drawn order, by two threads if the seed is odd."""
    order = list(range(len(expected)))
    random.Random(seed).shuffle(order)
    with ThreadPoolExecutor(1 + seed % 2) as threads:
        found = list(threads.map(lambda number: read(source, source.images[number]) == expected[number], order))
    return found.count(False)


def main(rounds: int, path: str, split: str | None = None) -> None:
    source = open_source(path, None, Columns(split=split), None, None)
    expected = [read(source, image) for image in source.images]
    assert all(image.rejection is None for image in source.images)
    num_wrong = 0
    for number in range(rounds):
        children = []
        for fork in range(_FORKS):
            child = os.fork()
            if child == 0:
                os._exit(min(count_wrong(source, expected, number * _FORKS + fork), 100))
            children.append(child)
        num_wrong += count_wrong(source, expected, number)
        num_wrong += sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    print(len(expected) * (_FORKS + 1) * rounds, num_wrong)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
