"""Run by test_resume_training.py in a process for each backend: trainings that break off and go on, and what they got.

Arguments: the path of the numbered dataset, a folder, and the names of scenarios.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kseq
from tests.helpers.keras_scenarios import Around, Call, Receiving, Recording, make_model

BATCH = 16
# 80 samples: 5 batches a pass.
Found = dict[str, Any]


class Script:
    """What a script of a user makes anew whenever it is started: a Sequence and a model."""

    def __init__(self, dataset: str, *, built: bool = True, kind: type[Recording] = Recording, **arguments: Any) -> None:
        keras.utils.set_random_seed(1)
        self.train = kseq.ShardSequence(dataset, "train", **{"batch_size": BATCH, "seed": 3, **arguments})
        self.model: Recording = make_model(built, kind)
        self.numbers: list[int] = []

    def fit(self, *callbacks: Any, fail_after: int | None = None, **arguments: Any) -> Found:
        """One fit that breaks off after so many steps: the samples of its steps, their numbers, what was warned of."""
        self.model.records.clear()
        numbers: list[int] = []

        def count(batch: int) -> None:
            numbers.append(batch)
            if len(numbers) == fail_after:
                raise FloatingPointError("on purpose")

        with warnings.catch_warnings(record=True) as caught, contextlib.suppress(FloatingPointError):
            warnings.simplefilter("always")
            history = self.model.fit(self.train, verbose=0, callbacks=[*callbacks, Call(count)], **{"epochs": 3, **arguments})
            numbers.append(-1)
        ours = [str(warning.message) for warning in caught if warning.category is UserWarning]
        found = {
            "steps": [ids for _, ids, _ in self.model.records],
            "numbers": numbers,
            "epoch": self.train.epoch,
            "warned": ours,
        }
        if numbers and numbers[-1] == -1:
            numbers.pop()
            found["history"] = {"epoch": history.epoch, "losses": history.history.get("loss", [])}
        return found

    def ids(self, *places: tuple[int, int]) -> list[list[int]]:
        return [self.train.batches.sample_ids(*place).tolist() for place in places]


def scenario_initial_epoch(dataset: str, _: Path) -> Found:
    """`initial_epoch` without any callback."""
    found = {}
    script = Script(dataset, kind=Receiving)
    found["later"] = script.fit(initial_epoch=2, epochs=4)
    found["later"]["expected"] = script.ids(*((epoch, number) for epoch in (2, 3) for number in range(5)))
    found["again"] = script.fit(initial_epoch=1, epochs=2)
    found["again"]["expected"] = script.ids(*((1, number) for number in range(5)))
    script = Script(dataset, kind=Receiving)
    found["steps"] = script.fit(initial_epoch=3, epochs=5, steps_per_epoch=2)
    # Epochs of 2, 2 and 1 steps, as Keras breaks off the last one.
    found["steps"]["expected"] = script.ids((1, 0), (1, 1), (1, 2), (1, 3))
    script = Script(dataset, kind=Receiving)
    found["within"] = script.fit(initial_epoch=4, epochs=6, steps_per_epoch=2)
    found["within"]["expected"] = script.ids((1, 2), (1, 3), (1, 4))
    script = Script(dataset, kind=Receiving)
    script.train.epoch = 6
    found["chosen"] = script.fit(initial_epoch=2, epochs=3)
    found["chosen"]["expected"] = script.ids(*((6, number) for number in range(5)))
    return found


def scenario_backup(dataset: str, folder: Path) -> Found:
    """Keras's own BackupAndRestore."""
    found = {}
    Script(dataset).fit(keras.callbacks.BackupAndRestore(folder / "backup"), fail_after=8)
    script = Script(dataset)
    found["restored"] = script.fit(keras.callbacks.BackupAndRestore(folder / "backup"))
    found["restored"]["expected"] = script.ids(*((epoch, number) for epoch in (1, 2) for number in range(5)))
    found["a fit after it"] = script.fit(epochs=1)
    found["a fit after it"]["expected"] = script.ids(*((3, number) for number in range(5)))
    script = Script(dataset)
    found["within epochs"] = script.fit(keras.callbacks.BackupAndRestore(folder / "steps", save_freq=2), epochs=1)
    again = script.fit(keras.callbacks.BackupAndRestore(folder / "steps", save_freq=2), epochs=1)
    found["within epochs"]["warned again"] = again["warned"]
    return found


def scenario_resume(dataset: str, folder: Path) -> Found:
    """ResumeTraining: the same script again."""
    found = {}
    places = [(epoch, number) for epoch in range(3) for number in range(5)]
    for name, built in {"built": True, "not built": False}.items():
        at = folder / name
        whole = Script(dataset, built=built)
        expected = whole.fit(kseq.ResumeTraining(at / "whole", every=2))
        first = Script(dataset, built=built).fit(kseq.ResumeTraining(at / "broken", every=2), fail_after=8)
        script = Script(dataset, built=built)
        rest = script.fit(kseq.ResumeTraining(at / "broken", every=2))
        found[name] = {
            "whole": expected,
            "first": first,
            "rest": rest,
            "expected": script.ids(*places),
            "after": script.fit(epochs=1)["steps"],
            "expected after": script.ids(*((3, number) for number in range(5))),
        }
    script = Script(dataset)
    found["complete"] = script.fit(kseq.ResumeTraining(folder / "built" / "broken", every=2))
    script = Script(dataset)
    found["more epochs"] = script.fit(kseq.ResumeTraining(folder / "built" / "broken", every=2), epochs=4)
    found["more epochs"]["expected"] = script.ids(*((3, number) for number in range(5)))
    found["files"] = sorted(path.name for path in (folder / "built" / "broken").iterdir())
    return found


def scenario_kinds(dataset: str, folder: Path) -> Found:
    """Trainings of several kinds that break off in mid-epoch and go on, beside those that do not break off."""

    def noise(images: np.ndarray) -> np.ndarray:
        # The first channels say which sample it is.
        return np.concatenate([images[..., :2], np.random.randint(0, 256, (*images.shape[:3], 1), np.uint8)], axis=3)

    kinds: dict[str, Found] = {
        "validated on itself": {},
        "padded": {"remainder": "pad", "batch_size": 12, "on_error": "substitute"},
    }
    if keras.backend.backend() != "tensorflow":
        kinds["drawing"] = {"augment": [noise]}
    found = {}
    for name, arguments in kinds.items():
        runs = []
        for at, fail_after in (("whole", None), ("broken", 8), ("broken", None)):
            script = Script(dataset, **arguments)
            validation = script.train if name == "validated on itself" else None
            resume = kseq.ResumeTraining(folder / name / at, every=1)
            runs.append(script.fit(resume, fail_after=fail_after, validation_data=validation))
        found[name] = {"whole": runs[0], "rest": runs[2]}
    return found


def scenario_damage(dataset: str, folder: Path) -> Found:
    """Checkpoints that are half there, or have changed."""
    found = {}
    Script(dataset).fit(kseq.ResumeTraining(folder / "good", every=1), fail_after=4)

    def truncate(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:-100])

    def change(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[200] ^= 1
        path.write_bytes(data)

    def empty(path: Path) -> None:
        path.write_bytes(b"")

    for name, damage in {"truncated": truncate, "changed": change, "empty": empty}.items():
        shutil.copytree(folder / "good", folder / name)
        last = max((folder / name).glob("checkpoint-*"))
        damage(last)
        (folder / name / ".kseq-half").touch()
        script = Script(dataset)
        found[name] = script.fit(kseq.ResumeTraining(folder / name, every=1), epochs=1)
        found[name] |= {"path": str(last), "expected": script.ids(*((0, number) for number in range(2, 5)))}
    return found


def scenario_elastic(dataset: str, folder: Path) -> Found:
    """Other numbers of ranks, and batches of other sizes."""
    found = {}
    Script(dataset, kind=Receiving).fit(kseq.ResumeTraining(folder / "one", every=1), fail_after=8)
    # 2 batches of epoch 1 are kept: 32 samples.
    for name, ranks, size in (
        ("two ranks", 2, 8),
        ("two larger", 2, 12),
        ("three ranks", 3, 5),
        ("larger", 1, 20),
        ("smaller", 1, 7),
    ):
        fits = []
        for rank in reversed(range(ranks)):
            # Rank 0 comes last, since it writes.
            script = Script(dataset, rank=rank, world_size=ranks, batch_size=size, remainder="keep", kind=Receiving)
            shutil.rmtree(folder / name, ignore_errors=True)
            shutil.copytree(folder / "one", folder / name)
            fits.append(script.fit(kseq.ResumeTraining(folder / name, every=1)))
        found[name] = {"fits": fits}
    whole = Script(dataset, kind=Receiving)
    found["rest"] = [number for ids in whole.ids(*((1, number) for number in range(2, 5))) for number in ids]
    found["next"] = [number for ids in whole.ids(*((2, number) for number in range(5))) for number in ids]
    # And on again, from a batch that begins between two others.
    script = Script(dataset, kind=Receiving, batch_size=7)
    shutil.copytree(folder / "one", folder / "twice")
    first = script.fit(kseq.ResumeTraining(folder / "twice", every=1), fail_after=3)
    second = Script(dataset, kind=Receiving).fit(kseq.ResumeTraining(folder / "twice", every=1))
    found["twice"] = {"first": first, "second": second}
    return found


def refusal(call: Callable[[], Any]) -> list[str]:
    try:
        call()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return ["nothing", ""]


def scenario_refusals(dataset: str, folder: Path) -> Found:
    """What ResumeTraining refuses."""
    found = {}
    Script(dataset).fit(kseq.ResumeTraining(folder / "kept", every=1), fail_after=3)

    def resumed(**arguments: Any) -> Callable[[], Any]:
        return lambda: Script(dataset, **arguments).fit(kseq.ResumeTraining(folder / "kept"), epochs=1)

    found["seed"] = refusal(resumed(seed=4))
    found["balance"] = refusal(resumed(balance="class"))
    found["shuffle"] = refusal(resumed(shuffle=False))
    shutil.copytree(folder / "kept", folder / "told")
    script = Script(dataset, seed=4)
    found["seed, told otherwise"] = script.fit(kseq.ResumeTraining(folder / "told", on_change="warn"), epochs=1)
    found["seed, told otherwise"]["expected"] = script.ids((0, 2), (0, 3), (0, 4))
    script = Script(dataset)
    script.train = Around(script.train)
    found["around"] = refusal(lambda: script.model.fit(script.train, verbose=0, callbacks=[kseq.ResumeTraining(folder / "x")]))
    images = np.zeros((4, 4, 4, 3), np.uint8)
    found["arrays"] = refusal(
        lambda: script.model.fit(images, np.zeros(4), verbose=0, callbacks=[kseq.ResumeTraining(folder / "x")])
    )
    found["alone"] = refusal(kseq.ResumeTraining(folder / "x").on_train_begin)
    script = Script(dataset)
    script.model.add(keras.layers.Dense(3))
    script.model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    found["model"] = refusal(lambda: script.fit(kseq.ResumeTraining(folder / "kept")))
    return found


def scenario_loaded(dataset: str, _: Path) -> Found:
    """`load_state_dict`, and then a plain fit."""
    script = Script(dataset)
    script.train.load_state_dict(script.train.batches.state_dict(2, 3))
    found = script.fit(epochs=2)
    found["expected"] = script.ids((2, 3), (2, 4), *((3, number) for number in range(5)))
    return {"loaded": found}


def main() -> None:
    dataset, folder, *names = sys.argv[1:]
    found = {}
    for name in names:
        at = Path(folder, name)
        at.mkdir()
        found[name] = globals()[f"scenario_{name}"](dataset, at)
    print(json.dumps(found))
