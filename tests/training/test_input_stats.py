"""What loading costs: the stages of a batch, in threads and processes, and what a training waits for."""

from __future__ import annotations

import json
import pickle
import time
from pathlib import Path
from typing import Any

import pytest

import kseq
from kseq.storage import pread_array
from kseq.training import batch_listeners
from kseq.training.input_monitor import EpochInput, _Served, _waiting
from kseq.training.stage_times import times_stages
from tests.helpers.augmentations import Busy, busy_batch, busy_sample
from tests.helpers.processes import RunPython

STAGES = ("reading", "decoding", "augmenting", "assembling")


WAYS: dict[str, dict[str, Any]] = {
    "here": {"workers": 0},
    "threads": {"workers": 2},
    "processes": {"workers": 1, "use_multiprocessing": True},
}


def stats_of(path: Path, **arguments: Any) -> kseq.InputStats:
    """Those of three epochs in batches of 8 images of 8 x 8 pixels."""
    with kseq.Batches(path, "train", **{"batch_size": 8, "input_shape": (8, 8, 3)} | arguments) as batches:
        for epoch in range(3):
            for _ in batches.epoch(epoch):
                pass
        return batches.stats


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("augment", [Busy(), kseq.Compose(busy_sample), busy_batch], ids=["image", "sample", "batch"])
def test_python_of_the_user_is_seen_wherever_it_runs(packed_photos: Path, way: str, augment: Any) -> None:
    stats = stats_of(packed_photos, augment=augment, **WAYS[way])
    assert (stats.num_batches, stats.num_samples) == (18, 144)
    # CPU time, so that other jobs of the machine do not matter.
    assert 0.002 * 144 <= stats.augmenting < 2 * 0.002 * 144
    assert stats.augmenting > 2 * max(stats.decoding, stats.assembling)
    assert stats.cpu >= stats.augmenting
    assert stats.per_thousand()["augmenting"] == pytest.approx(1000 * stats.augmenting / 144)


@pytest.mark.parametrize("way", WAYS)
def test_jpegs_are_decoded_and_raw_images_are_not(packed_photos: Path, numbered: Path, way: str) -> None:
    jpeg = stats_of(packed_photos, **WAYS[way])
    raw = stats_of(numbered, input_shape=(4, 4, 3), **WAYS[way])
    assert jpeg.decoding > 0
    assert raw.decoding == 0
    assert all(getattr(stats, stage) >= 0 for stats in (jpeg, raw) for stage in STAGES)
    assert raw.reading > 0
    assert raw.augmenting == jpeg.augmenting == 0


@pytest.mark.parametrize("way", ["here", "threads"])
@pytest.mark.parametrize("kind", ["numbered", "packed_photos"])
def test_a_file_that_is_slow_to_read_is_no_slow_decoder(
    kind: str, way: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    read = pread_array.read_into

    def slowly(descriptor: int, buffers: Any, offset: int) -> int:
        time.sleep(0.003)
        return read(descriptor, buffers, offset)

    monkeypatch.setattr(pread_array, "read_into", slowly)
    # The bytes of so few small images would be kept.
    monkeypatch.setattr(pread_array, "_KEPT_BYTES", 0)
    shape = (4, 4, 3) if kind == "numbered" else (8, 8, 3)
    stats = stats_of(request.getfixturevalue(kind), read="pread", verify="never", input_shape=shape, **WAYS[way])
    # A call for each image at least, unless they are neighbours.
    assert stats.reading > 0.003 * 30
    assert stats.reading > 2 * (stats.decoding + stats.assembling)
    if way == "here":
        # The stages of some batches stand for all.
        assert stats.waiting > stats.reading / 3


def test_stats_begin_at_nothing_and_subtract(numbered: Path) -> None:
    with kseq.Batches(numbered, "train", batch_size=8, workers=0) as batches:
        assert batches.stats == kseq.InputStats()
        assert batches.stats.per_thousand() == dict.fromkeys((*STAGES, "cpu"), 0.0)
        batches.batch(0, 0)
        before = batches.stats
        batches.batch(0, 1)
        batches.batch(0, 2)
        after = batches.stats - before
        assert (before.num_samples, after.num_samples, after.num_batches) == (8, 16, 2)
        assert after.cpu == pytest.approx(batches.stats.cpu - before.cpu)
        copy = pickle.loads(pickle.dumps(batches))
        assert copy.stats.num_batches == 0
        copy.close()
        assert "decoding 0.00" in str(batches.stats)


def test_a_look_costs_nothing_and_a_sequence_says_what_its_batches_cost(numbered: Path) -> None:
    with kseq.ShardSequence(numbered, "train", batch_size=8, workers=2) as sequence:
        sequence[0]
        assert sequence.stats.num_samples == 8
        assert sequence.stats.num_batches == sequence.batches.stats.num_batches == 1


def test_every_process_times_some_fills_of_a_short_run_and_few_of_a_long_one() -> None:
    assert any(map(times_stages, range(2)))
    assert not times_stages(0)
    assert sum(map(times_stages, range(800))) < 110


# What the training waits for, from the times of its batches.

LATE = [
    # Began, ended, (asked, given) of each batch, asked for the next, expected waiting, expected hand-over.
    pytest.param(10, 11, [(8, 9)], 9.1, 0, 0, id="a batch that is there"),
    pytest.param(10, 14, [(9, 13)], 13, 3, 0, id="a late batch"),
    pytest.param(10, 14, [(9, 13)], 13.5, 3.5, 0.5, id="a late batch that is handed over slowly"),
    pytest.param(10, 14, [(1, 2), (2, 3), (3, 4), (4, 5)], 6, 0, 0, id="four steps at once that wait for nothing"),
    pytest.param(10, 20, [(1, 9), (9, 19)], 19, 8, 0, id="two steps at once, the second one late"),
    pytest.param(10, 18, [(1, 12), (12, 16)], 16, 4, 0, id="two steps at once, each of them late"),
    pytest.param(10, 18, [(9, 16), (16, 16.5)], 16.5, 6, 0.0, id="two steps at once, the first one late"),
]


@pytest.mark.parametrize(("began", "ended", "served", "asked", "waiting", "hand_over"), LATE)
def test_waiting_follows_from_when_batches_came(
    began: float, ended: float, served: list[tuple[float, float]], asked: float, waiting: float, hand_over: float
) -> None:
    found = _waiting(began, ended, [_Served(*times) for times in served], asked)
    assert found == pytest.approx((waiting, hand_over))


def test_an_epoch_says_its_figures_in_a_line() -> None:
    stats = kseq.InputStats(20, 2000, 0.5, 0.1, 1.0, 0.2, 0.04, 1.3)
    line = str(EpochInput(2, 20, 2.0, 0.5, 0.1, stats))
    assert line.startswith("Epoch 3: 25.0 % of a step waits for input (25.0 of 100.0 ms, 5.0 hand-over)")
    assert "1,000 samples" in line
    assert "decoding 0.50" in line
    assert "\n" not in line
    assert EpochInput(0, 0, 0.0, 0.0, 0.0, kseq.InputStats()).waiting_share == 0


FIT = """
import json, sys, time
import keras, kseq
path, cases = sys.argv[1], json.loads(sys.argv[2])
kind = None

def slow(images):
    time.sleep(0.15)
    return images

class Step(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        time.sleep(0.15 if kind == "slow step" else 0)

val = kseq.ShardSequence(path, "val", batch_size=8, workers=0)
for kind, steps_per_execution in cases:
    train = kseq.ShardSequence(path, "train", batch_size=8, workers=2, augment=slow if kind == "slow input" else ())
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")])
    # TensorFlow would compile each model by XLA, which takes seconds.
    jit = "auto" if keras.backend.backend() == "jax" else False
    model.compile("sgd", "sparse_categorical_crossentropy", steps_per_execution=steps_per_execution, jit_compile=jit)
    monitor = kseq.InputMonitor()
    history = model.fit(train, epochs=2, verbose=2, callbacks=[Step(), monitor], validation_data=val)
    print(json.dumps([
        [epoch.num_steps, epoch.waiting, epoch.waiting_share, logged, epoch.stats.num_samples]
        for epoch, logged in zip(monitor.epochs, history.history["input_wait"])
    ]))
try:
    model.fit(val.generator(), steps_per_epoch=2, verbose=0, callbacks=[kseq.InputMonitor()])
except kseq.KseqError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_a_fit_is_told_who_waits(numbered: Path, backend: str, run_python: RunPython) -> None:
    pytest.importorskip(backend, reason=f"the fit runs on {backend}")
    steps = (1,) if backend == "torch" else (1, 5)
    cases = [(kind, at_once) for kind in ("slow input", "slow step") for at_once in steps]
    done = run_python(FIT, numbered, json.dumps(cases), backend=backend)
    *lines, refusal = done.stdout.splitlines()
    found = [json.loads(line) for line in lines if line.startswith("[")]
    for (kind, at_once), epochs in zip(cases, found, strict=True):
        # The first steps, in which Keras compiles, are not counted; TensorFlow has looked at batches before.
        assert [steps for steps, *_ in epochs] == [10 - at_once, 10]
        assert all(samples in (80, 64) for *_, samples in epochs)
        assert [share for _, _, share, *_ in epochs] == [logged for *_, logged, _ in epochs]
        # A step or a batch of 150 ms beside one of about 1.
        _, waiting, share, *_ = epochs[-1]
        if kind == "slow input":
            assert waiting > 10 * 0.07
        elif backend != "tensorflow" or at_once == 1:
            # Of several steps at once, TensorFlow does not tell what another callback took from what the first one waited.
            assert share < 0.5
    told = [line.partition(":")[0] for line in lines if "waits for input" in line]
    assert told == ["Epoch 1", "Epoch 2"] * len(cases)
    assert refusal.startswith("ArgumentError InputMonitor")
    assert "ShardSequence" in refusal


def test_a_listener_is_gone_with_its_adapter() -> None:
    class Adapter:
        pass

    told: list[float] = []

    class Listener:
        def note_served(self, asked: float) -> None:
            told.append(asked)

        def note_ready(self) -> None:
            told.append(-1)

    adapter = Adapter()
    batch_listeners.listen(adapter, Listener())
    batch_listeners.note_served(adapter, 1.0)
    batch_listeners.note_served(Adapter(), 2.0)
    batch_listeners.note_served(None, 3.0)
    batch_listeners.note_ready(adapter)
    assert told == [1.0, -1]
    del adapter
    assert not batch_listeners._listeners
