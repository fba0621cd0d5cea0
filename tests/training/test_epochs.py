"""Which epoch a batch is of: iterators, loops of one's own, copies in pools and in torch's DataLoader; no fit."""

from __future__ import annotations

import copy
import gc
import itertools
import multiprocessing
import os
import pickle
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import kseq
from tests.helpers.messages import raises  # keras asks for its backend when it is imported
from tests.helpers.photos import numbers_of
from tests.helpers.processes import RunPython

SIZES = (16, 40, 80)
Named = list[tuple[int, int]]


class Epochs:
    """A Sequence, and the names of its batches: epoch and number."""

    def __init__(self, path: Path, batch_size: int) -> None:
        self.sequence = kseq.ShardSequence(path, batch_size=batch_size, seed=1, workers=2)
        self.count = len(self.sequence)
        self._names = {
            tuple(self.sequence.sample_ids(number, epoch).tolist()): (epoch, number)
            for epoch in range(12)
            for number in range(self.count)
        }

    def name(self, batch: Any) -> tuple[int, int]:
        return self._names[tuple(numbers_of(batch[0]).tolist())]

    def one_pass(self, epoch: int) -> Named:
        return [(epoch, number) for number in range(self.count)]

    def iterate(self) -> Named:
        return [self.name(batch) for batch in self.sequence]

    def loop(self) -> Named:
        return [self.name(self.sequence[number]) for number in range(self.count)]


@pytest.fixture(params=SIZES, ids=[f"{80 // size} batches" for size in SIZES])
def each(request: pytest.FixtureRequest, numbered: Path) -> Iterator[Epochs]:
    epochs = Epochs(numbered, request.param)
    yield epochs
    epochs.sequence.close()


@pytest.fixture
def five(numbered: Path) -> Iterator[Epochs]:
    epochs = Epochs(numbered, 16)
    yield epochs
    epochs.sequence.close()


def test_passes_of_iterators_follow_each_other(each: Epochs) -> None:
    assert [each.iterate() for _ in range(3)] == [each.one_pass(epoch) for epoch in range(3)]
    assert each.sequence.epoch == 3


@pytest.mark.parametrize("ends", [False, True], ids=["alone", "with on_epoch_end"])
def test_plain_loops_follow_each_other(each: Epochs, ends: bool) -> None:
    for epoch in range(4):
        assert each.loop() == each.one_pass(epoch)
        if ends:
            each.sequence.on_epoch_end()
        assert each.sequence.epoch == epoch + 1


def test_a_loop_may_be_written_in_many_ways(five: Epochs) -> None:
    sequence = five.sequence
    found = [
        [sequence[number] for number in range(len(sequence))],
        list(map(sequence.__getitem__, range(len(sequence)))),
        [*(sequence[number] for number in range(len(sequence)))],
        [(lambda number: sequence[number])(number) for number in range(sequence.num_batches)],
    ]
    number = 0
    last = []
    while number < len(sequence):
        last.append(sequence[np.int64(number)])
        number += 1
    assert [[five.name(batch) for batch in batches] for batches in [*found, last]] == [five.one_pass(e) for e in range(5)]


def test_several_iterators_at_once_have_whole_passes_of_the_same_epoch(each: Epochs) -> None:
    pairs = [(each.name(one), each.name(other)) for one, other in zip(each.sequence, each.sequence, strict=True)]
    assert pairs == [(name, name) for name in each.one_pass(0)]
    assert each.iterate() == each.one_pass(1)


def test_iterators_in_threads_have_whole_passes(five: Epochs) -> None:
    together = threading.Barrier(4)

    def iterate(_: int) -> list[Named]:
        together.wait(60)
        return [five.iterate() for _ in range(3)]

    with ThreadPoolExecutor(4) as pool:
        for passes in pool.map(iterate, range(4)):
            epochs = [named[0][0] for named in passes]
            assert passes == [five.one_pass(epoch) for epoch in epochs]
            assert epochs == sorted(set(epochs))


def test_plain_loops_in_threads_have_whole_passes(five: Epochs) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ThreadPoolExecutor(3) as pool:
            for named in pool.map(lambda _: five.loop(), range(6)):
                assert named == five.one_pass(named[0][0])


def test_a_pool_of_threads_that_share_the_numbers_of_each_pass_gets_each_once(five: Epochs) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ThreadPoolExecutor(3) as pool:
            for epoch in range(4):
                assert [five.name(batch) for batch in pool.map(five.sequence.__getitem__, range(5))] == five.one_pass(epoch)
                five.sequence.on_epoch_end()


@pytest.mark.parametrize("seed", range(5))
def test_loops_in_any_order_get_each_number_of_one_epoch(each: Epochs, seed: int) -> None:
    random = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(10):
            order = random.permutation(each.count).tolist()
            found = [each.name(each.sequence[number]) for number in order]
            assert found == [(found[0][0], number) for number in order]


def test_a_loop_in_any_order_ends_with_on_epoch_end(each: Epochs) -> None:
    for epoch in range(4):
        found = [each.name(each.sequence[number]) for number in reversed(range(each.count))]
        each.sequence.on_epoch_end()
        assert sorted(found) == each.one_pass(epoch)


def test_says_once_that_numbers_in_any_order_do_not_count(five: Epochs) -> None:
    with pytest.warns(UserWarning, match=r"on_epoch_end.*kseq\.Batches") as caught:
        for number in [4, 3, 2, 1, 0] * 10:
            five.sequence[number]
    assert [warning.filename for warning in caught] == [__file__]
    assert five.sequence.epoch == 0


def test_looks_change_no_loop_and_no_pass(each: Epochs) -> None:
    sequence = each.sequence

    def look() -> None:
        str((sequence, len(sequence), sequence.num_batches, sequence.epoch, sequence.sample_ids(0)))
        next(iter(sequence))
        if each.count > 1:
            sequence[each.count - 1]
            sequence[0]

    for epoch in range(2):
        look()
        found = []
        for number in range(each.count):
            look()
            found.append(each.name(sequence[number]))
            look()
        assert found == each.one_pass(epoch)
        sequence.on_epoch_end()
    found = []
    for batch in sequence:
        look()
        found.append(each.name(batch))
    assert found == each.one_pass(2)


def test_an_iterator_that_breaks_off_is_begun_again(five: Epochs) -> None:
    for _ in range(3):
        assert [five.name(batch) for batch in itertools.islice(five.sequence, 3)] == five.one_pass(0)[:3]
    assert five.iterate() == five.one_pass(0)


def test_a_plain_loop_that_breaks_off_is_begun_again(five: Epochs) -> None:
    for stop in (3, 5, 4, 5):
        found = []
        for number in range(stop):
            found.append(five.name(five.sequence[number]))
        assert found == five.one_pass(int(stop == 4 or (stop == 5 and five.sequence.epoch == 2)))[:stop]
    assert five.sequence.epoch == 2


@pytest.mark.parametrize("is_held", [False, True])
def test_an_iterator_that_gave_its_last_batch_has_ended_though_nobody_asked_on(five: Epochs, is_held: bool) -> None:
    held = []
    for epoch in range(3):
        iterator = iter(five.sequence)
        assert [five.name(next(iterator)) for _ in range(5)] == five.one_pass(epoch)
        held += [iterator] * is_held


def test_what_is_asked_within_the_last_step_is_of_the_same_epoch(each: Epochs) -> None:
    for epoch in range(2):
        for number, batch in enumerate(each.sequence):
            assert each.name(batch) == (each.sequence.epoch, number) == (epoch, number)
            assert tuple(each.sequence.sample_ids(number)) == tuple(numbers_of(batch[0]))


def test_a_loop_keeps_its_epoch_while_another_pass_ends(five: Epochs) -> None:
    found = []
    for number in range(5):
        found.append(five.name(five.sequence[number]))
        if number == 2:
            assert five.iterate() == five.one_pass(0)
    assert found == five.one_pass(0)
    assert five.loop() == five.one_pass(1)


def test_generators_count_by_themselves(five: Epochs) -> None:
    one, other = five.sequence.generator(), five.sequence.generator()
    for step in range(12):
        assert five.name(next(one)) == five.name(next(other)) == (step // 5, step % 5)
    assert five.sequence.epoch == 2


def test_an_epoch_that_is_set_is_that_of_the_next_pass(five: Epochs) -> None:
    running = iter(five.sequence)
    assert five.name(next(running)) == (0, 0)
    five.sequence.epoch = 7
    assert five.name(five.sequence[2]) == (7, 2)
    assert [five.name(batch) for batch in running] == five.one_pass(0)[1:]
    assert five.sequence.epoch == 7
    assert five.iterate() == five.one_pass(7)


def test_on_epoch_end_without_a_loop_ends_nothing(five: Epochs) -> None:
    five.sequence.on_epoch_end()
    assert five.iterate() == five.one_pass(0)
    five.sequence.on_epoch_end()
    five.sequence[0]
    five.sequence.on_epoch_end()
    five.sequence.on_epoch_end()
    assert five.sequence.epoch == 2


def test_a_number_that_does_not_exist_disturbs_no_loop(five: Epochs) -> None:
    found = []
    for number in range(5):
        with raises(kseq.errors.OutOfRangeError, "[0, 5)"):
            five.sequence[number + 5]
        found.append(five.name(five.sequence[number]))
    assert found == five.one_pass(0)
    assert five.sequence.epoch == 1


def test_an_iterator_dropped_by_the_collector_does_not_hang(five: Epochs) -> None:
    for _ in range(3):
        held: list[Any] = [iter(five.sequence)]
        held.append(held)
        for _ in range(5):
            next(held[0])
        del held
        gc.collect()
    assert five.sequence.epoch == 3


@pytest.mark.timeout(60)
def test_an_iterator_that_is_let_go_in_the_midst_of_another_call_does_not_hang(five: Epochs) -> None:
    iterator = iter(five.sequence)
    for _ in range(5):
        next(iterator)
    # The collector may let go of it at any moment.
    with five.sequence._passes._locked():
        del iterator
    assert five.sequence.epoch == 1


class Halved(kseq.ShardSequence):
    """A subclass with arguments of its own."""

    def __init__(self, path: Path, note: str, batch_size: int) -> None:
        self.before = note
        super().__init__(path, batch_size=batch_size, seed=1)
        self.note = note

    def __getitem__(self, index: int) -> Any:
        images, labels = super().__getitem__(index)
        return images, labels / 2


@pytest.mark.parametrize("make", [lambda value: pickle.loads(pickle.dumps(value)), copy.copy, copy.deepcopy])
def test_subclasses_pickle_with_what_they_have_set(numbered: Path, make: Any) -> None:
    with Halved(numbered, "a note", 16) as sequence:
        assert len([sequence[number] for number in range(5)]) == 5
        with make(sequence) as twin:
            assert (type(twin), twin.before, twin.note, twin.epoch) == (Halved, "a note", "a note", 1)
            assert all(np.array_equal(one, other) for one, other in zip(twin[3], sequence[3], strict=True))
            twin.close()
        assert len(sequence[0]) == 2


class Shorter(kseq.ShardSequence):
    """A subclass that serves three batches a pass."""

    def __len__(self) -> int:
        return 3


def test_a_subclass_says_by_its_length_where_a_loop_ends(numbered: Path) -> None:
    with Shorter(numbered, batch_size=16, seed=1) as sequence:
        for epoch in range(0, 6, 2):
            assert (len(sequence), sequence.num_batches, sequence.epoch) == (3, 3, epoch)
            for number in range(len(sequence)):
                assert _named(sequence, number) == sequence.sample_ids(number, epoch).tolist()
            assert len(list(sequence)) == 3


def _named(sequence: kseq.ShardSequence, number: int) -> list[int]:
    return numbers_of(sequence[number][0]).tolist()


_shared: kseq.ShardSequence | None = None


def _share(sequence: kseq.ShardSequence) -> None:
    global _shared
    _shared = sequence


def _named_shared(number: int) -> list[int]:
    assert _shared is not None
    return _named(_shared, number)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "size"),
    [
        *(("fork", size) for size in SIZES),
        # Each process loads Keras anew.
        *(pytest.param("spawn", size, marks=pytest.mark.campaign) for size in SIZES),
    ],
)
def test_copies_in_a_pool_get_each_number_once_a_pass(numbered: Path, method: str, size: int) -> None:
    with kseq.ShardSequence(numbered, batch_size=size, seed=1, workers=1) as sequence:
        sequence.epoch = 2
        expected = [sequence.sample_ids(number).tolist() for number in range(len(sequence))]
        with multiprocessing.get_context(method).Pool(2, _share, (sequence,)) as pool:
            for _ in range(4):
                assert pool.map(_named_shared, range(len(sequence)), chunksize=1) == expected


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("persistent", [False, True])
def test_a_data_loader_of_torch_gets_each_sample_once_a_pass(
    numbered: Path, workers: int, shuffle: bool, persistent: bool
) -> None:
    torch = pytest.importorskip("torch", reason="the DataLoader is of torch")
    for size in SIZES:
        epochs = Epochs(numbered, size)
        loader = torch.utils.data.DataLoader(
            epochs.sequence,
            batch_size=None,
            shuffle=shuffle,
            num_workers=workers,
            persistent_workers=persistent and workers > 0,
            generator=torch.Generator().manual_seed(size),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            passes = [[epochs.name([images.numpy()]) for images, _ in loader] for _ in range(5)]
        for number, named in enumerate(passes):
            # Shuffled numbers, and those that workers share out, stay in one epoch.
            epoch = number if workers == 0 and not shuffle else named[0][0]
            assert sorted(named) == epochs.one_pass(epoch)
        del loader
        epochs.sequence.close()


@pytest.mark.slow
def test_a_training_in_a_spawned_process_has_passes_of_its_own(numbered: Path, run_python: RunPython, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, sys, warnings, kseq\n"
        "def train(sequence):\n"
        "    for epoch in (1, 2):\n"
        "        found = [images[:, 0, 0, 0].tolist() for images, _ in sequence]\n"
        "        assert found == [sequence.sample_ids(number, epoch).tolist() for number in range(5)], found\n"
        "    with warnings.catch_warnings(record=True) as caught:\n"
        "        for number in range(5):\n"
        "            sequence[number]\n"
        "    assert len(caught) == 1 and sequence.epoch == 3\n"
        "    sequence.on_epoch_end()\n"
        "    assert sequence.epoch == 4\n"
        "if __name__ == '__main__':\n"
        "    sequence = kseq.ShardSequence(sys.argv[1], batch_size=16)\n"
        "    list(sequence)\n"
        "    process = multiprocessing.get_context('spawn').Process(target=train, args=(sequence,))\n"
        "    process.start()\n"
        "    process.join()\n"
        "    assert process.exitcode == 0 and sequence.epoch == 1\n"
    )
    run_python(
        f"import runpy, sys; sys.argv[1:] = [{str(numbered)!r}]; runpy.run_path({str(script)!r}, run_name='__main__')",
        backend="jax",
    )
