"""Kills all ranks of a run over `kseq.Batches` at a random step, and goes on on another number of ranks.

Each rank is a process without Keras, which notes what each of its steps received. Whatever the numbers of ranks, all of them
together must get the global batches of a run that was never killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import kseq
from tests.helpers.photos import numbers_of

__all__ = ["SAMPLINGS", "WORLDS", "change_ranks"]

# How many ranks a run may have.
WORLDS = (4, 1, 2, 3, 8)

# Of the order; "mixed" stands for a second dataset.
SAMPLINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "by blocks": {"shuffle": "block"},
    "balanced": {"balance": "class"},
    "weighted": {"sampling_weights": [1 + number % 3 for number in range(80)]},
    "mixed": {"mixed": True},
}

_EPOCHS = 3
# How long the ranks of a run may take, in seconds, before they count as hanging.
_LONGEST = 60


def change_ranks(first: Path, second: Path, folder: Path, sampling: str, draw: random.Random) -> tuple[list[int], list[str]]:
    """One run of `_EPOCHS` epochs, which is killed several times.

    Args:
        first: The dataset, whose train split has 80 samples.
        second: The dataset that is mixed in.
        folder: An empty one, for the notes of the ranks.
        sampling: Of `SAMPLINGS`.
        draw: Draws all that is left open.

    Returns:
        The numbers of ranks, one after the other, and what was wrong.
    """
    arguments = {**SAMPLINGS[sampling], "seed": draw.randrange(1000), "remainder": draw.choice(["drop", "pad"])}
    size = draw.randint(4, 20)
    dataset: Any = {str(first): 0.7, str(second): 0.3} if arguments.pop("mixed", False) else str(first)
    split = "train" if dataset == str(first) else None
    with kseq.Batches(dataset, split, batch_size=size, rank=0, world_size=1, workers=0, **arguments) as alone:
        expected = [
            [epoch, number, sorted(alone.sample_ids(epoch, number)[alone.is_counted(epoch, number)].tolist())]
            for epoch in range(_EPOCHS)
            for number in range(len(alone))
        ]
    worlds, got = [], []
    num_left = len(expected)
    while num_left > 0:
        world = WORLDS[0] if not worlds else draw.choice([number for number in WORLDS if number != worlds[-1]])
        worlds.append(world)
        # What was not kept yet is made again.
        steps = draw.randint(1, num_left) if len(worlds) < 6 else num_left
        shares = _run(dataset, split, folder, world, steps, {**arguments, "global_batch_size": size})
        for ranks in zip(*shares, strict=True):
            place = ranks[0][:2]
            ids = sorted(sample for _, _, part in ranks for sample in part)
            sizes = [len(part) for _, _, part in ranks]
            assert all(rank[:2] == place for rank in ranks)
            assert max(sizes) - min(sizes) <= 1, f"{sampling} on {world} ranks: shares of {sizes} samples"
            got.append([*place, ids])
        num_left -= steps
    wrong = [f"{sampling}: step {other[:2]} has {one}" for one, other in zip(got, expected, strict=True) if one != other]
    return worlds, wrong


def _run(dataset: Any, split: str | None, folder: Path, world: int, steps: int, arguments: dict[str, Any]) -> list[Any]:
    """What each rank of one start noted before all of them were killed."""
    notes = [folder / f"rank-{rank}.jsonl" for rank in range(world)]
    children = []
    for rank, note in enumerate(notes):
        note.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            try:
                _train(dataset, split, folder / "state.json", note, steps, {**arguments, "rank": rank, "world_size": world})
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            os._exit(1)
        children.append(child)
    deadline = time.monotonic() + _LONGEST
    for child in children:
        while True:
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                break
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.005)
        # Each rank kills itself, after the same step.
        if not os.WIFSIGNALED(status) or time.monotonic() > deadline:
            raise AssertionError(f"{folder}: a rank of {world} ended with status {status}: {arguments}")
    (folder / "next.json").rename(folder / "state.json")
    return [[json.loads(line) for line in note.read_text().splitlines()] for note in notes]


def _train(dataset: Any, split: str | None, state: Path, note: Path, steps: int, arguments: dict[str, Any]) -> None:
    """The loop of one rank, which is killed in it."""
    batches = kseq.Batches(dataset, split, workers=arguments["rank"] % 2, **arguments)
    epoch, start = batches.load_state_dict(json.loads(state.read_text())) if state.exists() else (0, 0)
    with note.open("w") as file:
        while True:
            for number, (images, _, weights) in enumerate(batches.epoch(epoch), start):
                ids = batches.sample_ids(epoch, number)
                # Of two datasets, the numbers in the pixels are those within each.
                assert split is None or numbers_of(images).tolist() == ids.tolist()
                assert len(images) == len(weights) == batches.batch_size
                file.write(json.dumps([epoch, number, ids[weights > 0].tolist()]) + "\n")
                file.flush()
                steps -= 1
                if steps == 0:
                    if batches.rank == 0:
                        (state.parent / "next.json").write_text(json.dumps(batches.state_dict()))
                    os.kill(os.getpid(), signal.SIGKILL)
            epoch, start = epoch + 1, 0
