"""InputLogger: what a fit reads, in event files of TensorBoard and in runs of Weights & Biases."""

from __future__ import annotations

import copy
import gc
import sys
import threading
import warnings
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

import kseq
from kseq.errors import ArgumentError, WriteError
from kseq.training.batch_look import draw_batch
from kseq.training.run_logs import open_tensorboard
from tests.helpers.messages import raises


class Run:
    """What a run of Weights & Biases does with what it gets."""

    def __init__(self) -> None:
        self.logged: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}
        self.config = SimpleNamespace(update=self._update)

    def _update(self, facts: dict[str, Any], allow_val_change: bool) -> None:
        assert allow_val_change
        self.facts.update(facts)

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)

    def pictures(self) -> list[Any]:
        return [values["input/batch"] for values in self.logged if "input/batch" in values]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    def image(pixels: Any, caption: str) -> SimpleNamespace:
        return SimpleNamespace(pixels=pixels, caption=caption)

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Image=image))
    return Run()


@pytest.fixture
def model() -> keras.Model:
    model = keras.Sequential([keras.layers.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def read_events(folder: Path) -> Any:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard")
    events = accumulator.EventAccumulator(str(folder), size_guidance={"tensors": 0, "images": 0, "scalars": 0})
    events.Reload()
    return events


class Wait(keras.callbacks.Callback):
    """Measures as InputMonitor does, and says so in the logs of the epoch."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["input_wait"] = 0.25 * (epoch + 1)


def test_a_fit_logs_its_dataset_the_batches_it_gets_and_the_share_that_waits(
    numbered: Path, tmp_path: Path, model: keras.Model, run: Run
) -> None:
    with kseq.ShardSequence(numbered, batch_size=16) as sequence, kseq.Batches(numbered, batch_size=16) as plain:
        logger = kseq.InputLogger(tmp_path / "logs", run=run, rows=4)
        history = model.fit(sequence, epochs=2, verbose=0, callbacks=[Wait(), logger], validation_data=plain.batch(0, 0))
        assert sequence.epoch == 2
        expected = [draw_batch(plain, epoch, 0, 4) for epoch in range(2)]
    assert len(history.history["loss"]) == 2
    facts = run.facts["input"]
    assert (facts["dataset"], facts["split"], facts["num_samples"]) == (str(numbered), "train", "80")
    assert facts["digest"] == kseq.ShardDataset(numbered).digest
    np.testing.assert_array_equal([picture.pixels for picture in run.pictures()], expected)
    assert [values["input/wait"] for values in run.logged if "input/wait" in values] == [0.25, 0.5]
    events = read_events(tmp_path / "logs" / "input")
    tags = events.Tags()
    assert "input/batch" in [*tags["images"], *tags["tensors"]]
    assert "input/wait" in [*tags["scalars"], *tags["tensors"]]
    assert any(facts["digest"].encode() in file.read_bytes() for file in (tmp_path / "logs" / "input").iterdir())


def test_a_monitor_that_is_listed_later_is_logged_too_and_neither_keeps_the_sequence(
    numbered: Path, model: keras.Model, run: Run
) -> None:
    sequence = kseq.ShardSequence(numbered, batch_size=40)
    logger, monitor = kseq.InputLogger(run=run, rows=1), kseq.InputMonitor(verbose=0)
    model.fit(sequence, epochs=2, verbose=0, callbacks=[logger, monitor])
    logged = [(values["input/epoch"], values["input/wait"]) for values in run.logged if "input/wait" in values]
    assert logged == [(epoch.epoch, epoch.waiting_share) for epoch in monitor.epochs]
    assert len(copy.deepcopy(monitor).epochs) == len(logged) == 2
    # A fit that breaks off calls no on_train_end.
    error = "stops"

    def stop(epoch: int, logs: Any) -> None:
        raise ValueError(error)

    with pytest.raises(ValueError, match=error):
        model.fit(sequence, verbose=0, callbacks=[logger, monitor, keras.callbacks.LambdaCallback(on_epoch_end=stop)])
    kept, sequence = weakref.ref(sequence), None
    gc.collect()
    assert kept() is None


def test_a_function_that_fails_in_the_picture_alone_does_not_end_the_training(
    numbered: Path, model: keras.Model, run: Run
) -> None:
    calls: list[int] = []

    def fail_at_looks(images: np.ndarray) -> np.ndarray:
        calls.append(len(images))
        if len(calls) == 1:
            raise RuntimeError("no such colour")
        return images

    with (
        kseq.ShardSequence(numbered, batch_size=80, augment=[fail_at_looks]) as sequence,
        pytest.warns(UserWarning, match="RuntimeError: .*no such colour"),
    ):
        logger = kseq.InputLogger(run=run)
        logger._logs, logger._sequence = [*logger._run_logs], weakref.ref(sequence)
        logger.on_epoch_begin(0)
        assert sequence.batches.batch(0, 0)
    assert run.pictures() == []


def test_steps_within_a_pass_show_the_batch_they_begin_with(numbered: Path, model: keras.Model, run: Run) -> None:
    with kseq.ShardSequence(numbered, batch_size=16) as sequence, kseq.Batches(numbered, batch_size=16) as plain:
        # A pass has five batches.
        logger = kseq.InputLogger(run=run, every=2, rows=2)
        model.fit(sequence, epochs=3, steps_per_epoch=1, verbose=0, callbacks=[logger])
        expected = [draw_batch(plain, 0, number, 2) for number in (0, 2)]
    np.testing.assert_array_equal([picture.pixels for picture in run.pictures()], expected)
    assert [values["input/epoch"] for values in run.logged] == [0, 2]


def test_a_picture_that_cannot_be_drawn_is_a_warning_and_the_training_goes_on(
    packed: Path, model: keras.Model, run: Run
) -> None:
    sequence = kseq.ShardSequence(packed, batch_size=16)
    kseq.rename_class(packed, "a", "z")
    with pytest.warns(UserWarning, match="picture of epoch 1 is left out"):
        model.fit(sequence, epochs=1, verbose=0, callbacks=[kseq.InputLogger(run=run)])
    assert run.pictures() == []
    assert run.facts["input"]["digest"] == sequence.digest


def test_only_the_first_rank_logs(numbered: Path, run: Run) -> None:
    logger = kseq.InputLogger(run=run)
    sequence = kseq.ShardSequence(numbered, rank=1, world_size=2, batch_size=8)
    logger._sequence, logger._logs = weakref.ref(sequence), []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logger.on_epoch_begin(0)
        logger.on_epoch_end(0, {"input_wait": 0.5})
    assert run.logged == []


def test_a_run_without_wandb_is_refused_with_the_way_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with raises(ArgumentError, "pip install wandb"):
        kseq.InputLogger(run=run)


def test_refuses_what_it_cannot_log_to(numbered: Path, tmp_path: Path, model: keras.Model, run: Run) -> None:
    for arguments, parts in (
        ({}, ("log_dir", "run")),
        ({"log_dir": 3}, ("log_dir=3",)),
        ({"run": "wandb"}, ("run='wandb'", "wandb.init()")),
        ({"run": run, "every": 0}, ("every=0",)),
        ({"run": run, "rows": 65}, ("rows=65", 64)),
    ):
        with raises(ArgumentError, *parts):
            kseq.InputLogger(**arguments)
    with raises(ArgumentError, "ShardSequence"):
        model.fit(np.zeros((4, 4, 4, 3)), np.zeros(4), verbose=0, callbacks=[kseq.InputLogger(run=run)])
    (tmp_path / "file").write_text("")
    with raises(WriteError, tmp_path / "file" / "input"), kseq.ShardSequence(numbered) as sequence:
        model.fit(sequence, verbose=0, callbacks=[kseq.InputLogger(tmp_path / "file")])


@pytest.mark.parametrize("package", ["tensorflow", "torch"])
def test_either_of_two_packages_writes_event_files(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(package, reason=f"{package} writes the event files")
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    other, module = ("torch.utils.tensorboard", "tensorflow")[:: 1 if package == "tensorflow" else -1]
    assert module
    monkeypatch.setitem(sys.modules, other, None)
    log = open_tensorboard(str(tmp_path))
    log.write_facts({"dataset": "a|b`<script>"})
    log.write_number("input/wait", 0.5, 3)
    log.write_picture("input/batch", np.zeros((8, 9, 3), np.uint8), "first", 3)
    log.flush()
    data = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for part in (b"input/dataset", b"input/wait", b"input/batch", b"a\\|b'<script>"):
        assert part in data
    assert read_events(tmp_path).Tags()
    threads = threading.active_count()
    log.close()
    # PyTorch's writer has a thread of its own.
    assert threading.active_count() == threads - (package == "torch")


def test_without_tensorboard_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorflow", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    with raises(ArgumentError, "log_dir", "pip install tensorboard", "torch", "tensorflow"):
        open_tensorboard(str(tmp_path / "logs"))
