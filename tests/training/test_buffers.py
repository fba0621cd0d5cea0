"""Batch buffers: aligned, never reused while anything refers to them, shared by name, nothing left behind."""

from __future__ import annotations

import contextlib
import gc
import os
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseq.training.buffers import ALIGNMENT, ArraySpec, AttachedBuffers, Buffer, BufferPool
from tests.helpers.messages import raises
from tests.helpers.photos import is_shared
from tests.helpers.processes import RunPython

SPECS = {"image": ArraySpec((5, 7, 3), "|u1"), "label": ArraySpec((5,), "<i4"), "weight": ArraySpec((5,), "<f4")}

spec_dicts = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.builds(
        ArraySpec,
        st.lists(st.integers(0, 70), max_size=3).map(tuple),
        st.sampled_from(["|u1", "<u2", "<i4", "<f4", "<f8", "<u8"]),
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture(params=[False, True], ids=["private", "shared"])
def pool(request: pytest.FixtureRequest) -> Iterator[BufferPool]:
    pool = BufferPool(shared=request.param)
    yield pool
    pool.close()


def address(array: np.ndarray) -> int:
    start: int = array.__array_interface__["data"][0]
    return start


def take_many(pool: BufferPool, times: int = 40) -> set[int]:
    """Take and write over buffers; returns where they were."""
    addresses = set()
    for _ in range(times):
        arrays = pool.take(SPECS).arrays
        arrays["image"][:] = 255
        arrays["label"][:] = -1
        addresses.add(address(arrays["image"]))
        del arrays
    return addresses


def fill_elsewhere(buffer: str, value: int) -> tuple[list[int], int]:
    """In another process: read the labels of a buffer, and write its images."""
    arrays = AttachedBuffers().arrays(buffer, SPECS)
    arrays["image"][:] = value
    return arrays["label"].tolist(), address(arrays["image"]) % ALIGNMENT


@given(specs=spec_dicts, shared=st.booleans())
def test_arrays_start_on_boundaries_and_lie_apart(specs: dict[str, ArraySpec], shared: bool) -> None:
    pool = BufferPool(shared=shared)
    try:
        arrays = pool.take(specs).arrays
        assert {name: (array.shape, array.dtype.str) for name, array in arrays.items()} == dict(specs)
        for number, array in enumerate(arrays.values()):
            assert array.size == 0 or address(array) % 64 == 0
            assert array.flags.c_contiguous
            array[...] = number
        assert all((array == number).all() for number, array in enumerate(arrays.values()))
    finally:
        pool.close()


def test_uses_a_buffer_again_once_nothing_refers_to_it(pool: BufferPool) -> None:
    first = address(pool.take(SPECS).arrays["image"])
    assert take_many(pool) == {first}


def test_uses_a_buffer_again_for_arrays_of_another_shape_in_as_many_pages(pool: BufferPool) -> None:
    first = address(pool.take(SPECS).arrays["image"])
    assert address(pool.take({"mask": ArraySpec((3, 3), "<f8")}).arrays["mask"]) == first


def test_two_buffers_at_a_time_are_two(pool: BufferPool) -> None:
    one, two = pool.take(SPECS).arrays, pool.take(SPECS).arrays
    one["image"][:], two["image"][:] = 1, 2
    assert (one["image"] == 1).all() and (two["image"] == 2).all()


@pytest.mark.parametrize(
    "hold",
    [
        lambda arrays: arrays["image"],
        lambda arrays: arrays["image"][1:][:, 2:5][..., ::-1].transpose(2, 0, 1),
        lambda arrays: memoryview(arrays["image"])[1:],
        lambda arrays: np.asarray(memoryview(arrays["image"]))[2:],
        lambda arrays: arrays["image"].reshape(-1)[5:6].view("|i1"),
        lambda arrays: np.from_dlpack(arrays["image"])[:2],
    ],
    ids=["array", "view of a view", "memoryview", "array of a memoryview", "view of another dtype", "dlpack"],
)
def test_does_not_reuse_a_buffer_that_something_refers_to(pool: BufferPool, hold: Callable) -> None:
    arrays = pool.take(SPECS).arrays
    arrays["image"][:] = 7
    start = address(arrays["image"])
    held = hold(arrays)
    del arrays
    assert start not in take_many(pool)
    assert (np.asarray(held) == 7).all()
    del held
    gc.collect()
    assert start in {address(buffer.arrays["image"]) for buffer in [pool.take(SPECS) for _ in range(3)]}


def test_does_not_reuse_a_buffer_while_its_other_array_is_held(pool: BufferPool) -> None:
    arrays = pool.take(SPECS).arrays
    arrays["label"][:] = range(5)
    labels = arrays.pop("label")
    start = address(arrays["image"])
    del arrays
    assert start not in take_many(pool)
    assert labels.tolist() == [0, 1, 2, 3, 4]


def test_frees_idle_buffers_that_are_not_needed_for_long_and_keeps_the_others() -> None:
    pool = BufferPool(patience=20)
    held = [pool.take(SPECS) for _ in range(10)]
    del held
    used = {address(buffer.arrays["image"]) for buffer in [pool.take(SPECS) for _ in range(10)]}
    assert len(used) == len(pool._idle) == 10
    for _ in range(40):
        first, second = pool.take(SPECS), pool.take(SPECS)
        assert {address(first.arrays["image"]), address(second.arrays["image"])} <= used
        del first, second
    assert len(pool._idle) == 2


def test_takes_the_buffer_that_was_used_last(pool: BufferPool) -> None:
    first, second = pool.take(SPECS), pool.take(SPECS)
    last = address(first.arrays["image"])
    del second, first
    other = pool.take({"large": ArraySpec((100_000,), "|u1")})
    del other
    assert address(pool.take(SPECS).arrays["image"]) == last


def sized(num_bytes: int) -> dict[str, ArraySpec]:
    return {"image": ArraySpec((num_bytes,), "|u1")}


def test_buffers_of_sizes_that_vary_use_each_others_memory(pool: BufferPool) -> None:
    rng = np.random.default_rng(4)
    held: list[Buffer] = []
    for _ in range(400):
        held.append(pool.take(sized(int(rng.integers(200_000, 400_000)))))
        if len(held) > 11:
            del held[0]
    # One is taken before another is let go.
    assert len(pool._all_blocks()) <= 12
    assert pool.num_bytes <= 12 * 400_000 * 9 // 8


def test_a_buffer_that_has_grown_is_exchanged_for_a_larger_one(pool: BufferPool) -> None:
    for size in (100_000, 200_000, 400_000):
        buffer = pool.take(sized(size))
        del buffer
    assert len(pool._all_blocks()) == 1
    large = address(pool.take(sized(400_000)).arrays["image"])
    assert address(pool.take(sized(5)).arrays["image"]) == large


def test_the_smallest_buffer_with_room_is_taken(pool: BufferPool) -> None:
    held = [pool.take(sized(size)) for size in (900_000, 100_000, 300_000)]
    starts = [address(buffer.arrays["image"]) for buffer in held]
    while held:
        del held[0]
    taken = [pool.take(sized(size)) for size in (250_000, 90_000, 90_000)]
    assert [address(buffer.arrays["image"]) for buffer in taken] == [starts[2], starts[1], starts[0]]


@pytest.mark.parametrize("num_pages", [1, 2, 15, 16, 17, 1000, 1025, 12345])
def test_a_buffer_is_at_most_an_eighth_larger_than_its_arrays(pool: BufferPool, num_pages: int) -> None:
    buffer = pool.take(sized(num_pages * 4096))
    assert num_pages * 4096 <= pool.num_bytes <= num_pages * 4096 * 9 / 8
    del buffer


def test_idle_buffers_are_freed_while_all_take_more_than_the_limit() -> None:
    pool = BufferPool(most_bytes=1 << 20)
    held = [pool.take(sized(1 << 17)) for _ in range(20)]
    assert len(pool._all_blocks()) == 20
    del held[:15]
    last = pool.take(sized(1 << 17))
    # 8 of 128 KiB are 1 MiB: the 5 that are held, the one that is taken, and 2 that are idle.
    assert len(pool._all_blocks()) == 8
    del last


def test_a_few_buffers_larger_than_the_limit_are_kept() -> None:
    pool = BufferPool(most_bytes=1)
    held = [pool.take(sized(1 << 17)) for _ in range(4)]
    starts = {address(buffer.arrays["image"]) for buffer in held}
    del held
    assert {address(buffer.arrays["image"]) for buffer in [pool.take(sized(1 << 17)) for _ in range(4)]} == starts


def test_a_trim_frees_the_longest_idle_buffers(pool: BufferPool) -> None:
    held = [pool.take(SPECS) for _ in range(6)]
    starts = [address(buffer.arrays["image"]) for buffer in held]
    while held:
        del held[0]
    pool.trim(2)
    assert len(pool._idle) == 2
    assert {address(buffer.arrays["image"]) for buffer in [pool.take(SPECS), pool.take(SPECS)]} == set(starts[-2:])


def test_threads_that_take_at_once_share_nothing(pool: BufferPool) -> None:
    def take(number: int) -> bool:
        arrays = pool.take(SPECS).arrays
        arrays["image"][:], arrays["label"][:] = number % 256, number
        kept = arrays["image"][2:]
        labels = arrays["label"]
        del arrays
        take_many(pool, 2)
        return bool((kept == number % 256).all() and (labels == number).all())

    with ThreadPoolExecutor(8) as executor:
        assert all(executor.map(take, range(1000)))


TENSORS = {
    "tensorflow": """
import tensorflow as tf
waiting = []
def feed():
    while True:
        yield waiting.pop()
# The way of Keras; tf.convert_to_tensor makes a copy.
options = tf.data.Options()
options.experimental_optimization.inject_prefetch = False
generator = tf.data.Dataset.from_generator(feed, output_signature=tf.TensorSpec((8, 16, 16, 3), tf.uint8))
batches = iter(generator.with_options(options))
def make(array):
    waiting.append(array)
    return next(batches)
def back(tensor): return np.asarray(memoryview(tensor))
def derive(tensor): return tf.reshape(tensor, [-1])
""",
    "jax": """
import jax
def make(array): return jax.device_put(array)
def back(tensor): return np.asarray(tensor)
def derive(tensor): return tensor
""",
    "torch": """
import torch
def make(array): return torch.from_numpy(array)
def back(tensor): return tensor.numpy()
def derive(tensor): return tensor[1:].permute(2, 0, 1, 3)[:, ::2]
""",
}

HOLD_TENSORS = """
import gc
import os
import numpy as np
from kseq.training.buffers import ArraySpec, BufferPool

specs = {"image": ArraySpec((8, 16, 16, 3), "|u1"), "label": ArraySpec((8,), "<f4")}
for shared in (False, True):
    pool = BufferPool(shared=shared)
    held, starts = [], set()
    for number in range(6):
        arrays = pool.take(specs).arrays
        arrays["image"][:] = number
        tensor = make(arrays["image"])
        start = arrays["image"].__array_interface__["data"][0]
        assert back(tensor).__array_interface__["data"][0] == start, "a copy was made, so this shows nothing"
        held.append(derive(tensor))
        starts.add(start)
        del arrays, tensor
    assert len(starts) == 6
    gc.collect()
    for _ in range(50):
        arrays = pool.take(specs).arrays
        arrays["image"][:] = 255
        assert arrays["image"].__array_interface__["data"][0] not in starts
    for number, tensor in enumerate(held):
        assert (back(tensor) == number).all(), number
    del tensor, arrays
    held.clear()
    # TensorFlow lets go of an array when it is given the next one.
    make(np.zeros((8, 16, 16, 3), np.uint8))
    gc.collect()
    again = [pool.take(specs) for _ in range(8)]
    assert starts <= {each.arrays["image"].__array_interface__["data"][0] for each in again}
    pool.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", TENSORS)
def test_does_not_reuse_a_buffer_while_a_tensor_made_without_a_copy_lives(backend: str, run_python: RunPython) -> None:
    run_python("import numpy as np\n" + TENSORS[backend] + HOLD_TENSORS)


@pytest.fixture(params=["without a name", "named"])
def kind_of_file(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared memory of both kinds: where there is memfd, the other is only to be had by saying so."""
    if request.param == "named":
        monkeypatch.setattr("kseq.training.buffers.has_files_without_name", lambda: False)
    elif not hasattr(os, "memfd_create"):
        pytest.skip("no memfd here")


@pytest.mark.usefixtures("kind_of_file")
def test_another_process_reads_and_writes_a_shared_buffer() -> None:
    pool = BufferPool(shared=True)
    buffer = pool.take(SPECS)
    buffer.arrays["label"][:] = [3, 1, 4, 1, 5]
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        assert executor.submit(fill_elsewhere, buffer.name, 9).result(60) == ([3, 1, 4, 1, 5], 0)
        assert (buffer.arrays["image"] == 9).all()
        assert executor.submit(fill_elsewhere, buffer.name, 11).result(60) == ([3, 1, 4, 1, 5], 0)
        assert (buffer.arrays["image"] == 11).all()
    pool.close()


@pytest.mark.usefixtures("kind_of_file")
def test_attached_buffers_forget_the_least_recently_used() -> None:
    pool = BufferPool(shared=True)
    buffers = [pool.take(SPECS) for _ in range(3)]
    for number, buffer in enumerate(buffers):
        buffer.arrays["label"][:] = number
    attached = AttachedBuffers(most=2)
    for number in (0, 1, 0, 2, 1, 0):
        assert buffers[number].name is not None
        assert (attached.arrays(buffers[number].name, SPECS)["label"] == number).all()
        assert len(attached._mapped) <= 2
    pool.close()


@pytest.mark.usefixtures("kind_of_file")
def test_attached_buffers_forget_what_the_parent_has_freed() -> None:
    pool = BufferPool(shared=True)
    buffers = [pool.take(SPECS) for _ in range(3)]
    attached = AttachedBuffers()
    for buffer in buffers:
        assert buffer.name is not None
        attached.arrays(buffer.name, SPECS)
    kept = buffers[1].name
    assert pool.names() == {buffer.name for buffer in buffers}
    del buffers[2], buffers[0], buffer
    pool.trim(0)
    assert pool.names() == {kept}
    attached.forget_others(pool.names())
    assert list(attached._mapped) == [kept]
    pool.close()


@pytest.mark.usefixtures("kind_of_file")
def test_close_leaves_nothing_in_shared_memory_and_arrays_stay_valid() -> None:
    pool = BufferPool(shared=True)
    buffers: list[Buffer] = [pool.take(SPECS) for _ in range(4)]
    names = [buffer.name for buffer in buffers]
    assert all(is_shared(name) for name in names)
    images = buffers[0].arrays["image"][1:]
    images[:] = 5
    del buffers
    pool.close()
    assert not any(is_shared(name) for name in names)
    del pool
    gc.collect()
    images[0] = 6
    assert images.max() == 6 and images.min() == 5


@pytest.mark.usefixtures("kind_of_file")
def test_freed_buffers_leave_shared_memory_before_the_pool_is_closed() -> None:
    pool = BufferPool(shared=True, patience=4)
    held = [pool.take(SPECS) for _ in range(8)]
    names = [buffer.name for buffer in held]
    del held
    for _ in range(20):
        taken = pool.take({"large": ArraySpec((100_000,), "|u1")})
    assert not any(is_shared(name) for name in names)
    assert is_shared(taken.name)
    pool.close()


@pytest.mark.parametrize("named", [False, True])
def test_a_process_that_ends_without_close_leaves_nothing_and_prints_nothing(run_python: RunPython, named: bool) -> None:
    done = run_python(
        "import kseq.training.buffers, sys\n"
        "from kseq.training.buffers import ArraySpec, BufferPool\n"
        "if sys.argv[1] == 'True':\n"
        "    kseq.training.buffers.has_files_without_name = lambda: False\n"
        "pool = BufferPool(shared=True)\n"
        "held = [pool.take({'image': ArraySpec((9,), '|u1')}) for _ in range(3)]\n"
        "print(*[each.name for each in held])\n",
        named,
    )
    assert len(done.stdout.split()) == 3
    assert named == all("#" not in name for name in done.stdout.split())
    assert not any(is_shared(name) for name in done.stdout.split())
    assert done.stderr == ""


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no memfd here")
def test_a_block_is_told_from_one_whose_name_begins_alike() -> None:
    descriptor = os.memfd_create("kseq-12")
    found = [is_shared(f"/proc/self/fd/{descriptor}#{label}") for label in ("kseq-12", "kseq-1", "kseq-123")]
    os.close(descriptor)
    assert found == [True, False, False]


NOT_DUMPABLE = """
import ctypes, os, sys
import kseq
from kseq.training import buffers
libc = ctypes.CDLL(None)
# Root's children may open it all the same, unless the right to look into others (CAP_SYS_PTRACE) is taken from them.
libc.prctl(24, 19, 0, 0, 0)
before = buffers.has_files_without_name()
libc.prctl(4, 0, 0, 0, 0)
with kseq.ShardSequence(sys.argv[1], batch_size=16, workers=2, use_multiprocessing=True) as sequence:
    print(before, buffers.has_files_without_name(), sum(len(images) for images, _ in sequence))
"""


@pytest.mark.campaign
@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no memfd here")
def test_worker_processes_fill_buffers_of_a_program_that_lets_nobody_look_into_it(
    numbered: Path, run_python: RunPython
) -> None:
    assert run_python(NOT_DUMPABLE, numbered, backend="jax").stdout.split()[-3:] == ["True", "False", "80"]


def open_memory() -> list[str]:
    """What this process has open of memory without a name, a line per descriptor."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return sorted(entry for entry in found if entry.startswith("/memfd:kseq"))


@pytest.mark.parametrize("shared", [False, True])
def test_what_comes_back_after_close_is_freed_at_once(shared: bool) -> None:
    before = open_memory()
    pool = BufferPool(shared=shared)
    held = [pool.take(SPECS).arrays["image"] for _ in range(4)]
    pool.close()
    held.append(pool.take(SPECS).arrays["image"])
    blocks = [weakref.ref(image.base.base._block) for image in held]
    assert all(block() is not None for block in blocks)
    del held
    assert all(block() is None for block in blocks)
    assert not pool._idle
    assert open_memory() == before


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no memfd here")
def test_a_pool_that_is_dropped_without_close_keeps_no_file_open() -> None:
    before = open_memory()
    pool = BufferPool(shared=True)
    idle, held, late = pool.take(SPECS), pool.take(SPECS), pool.take(SPECS)
    del idle
    of_one = (len(open_memory()) - len(before)) // 3
    assert of_one > 0
    del pool
    assert len(open_memory()) == len(before) + 2 * of_one
    del late
    assert len(open_memory()) == len(before) + of_one
    held.arrays["image"][:] = 3
    assert (held.arrays["image"] == 3).all()
    del held
    assert open_memory() == before


def test_a_named_pool_that_is_dropped_without_close_leaves_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kseq.training.buffers.has_files_without_name", lambda: False)
    pool = BufferPool(shared=True)
    buffer = pool.take(SPECS)
    name = buffer.name
    assert is_shared(name)
    del pool
    assert is_shared(name)
    del buffer
    assert not is_shared(name)


@pytest.mark.usefixtures("kind_of_file")
def test_a_forked_child_that_drops_its_copy_closes_its_files_and_takes_no_name_away() -> None:
    before = open_memory()
    pool = BufferPool(shared=True)
    buffers = [pool.take(SPECS) for _ in range(3)]
    names = [buffer.name for buffer in buffers]
    child = os.fork()
    if child == 0:
        del pool, buffers
        os._exit(0 if open_memory() == before else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert all(is_shared(name) for name in names)
    pool.close()


def run_in_fork(check: Callable[[], bool], meanwhile: Callable[[], None]) -> bool:
    """Whether something holds in a forked child once the parent has done something."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(reading, 1)
        os._exit(0 if check() else 1)
    meanwhile()
    os.write(writing, b".")
    os.close(reading)
    os.close(writing)
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.usefixtures("kind_of_file")
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("closed", [False, True])
def test_what_a_forked_child_holds_stays_as_it_was(shared: bool, closed: bool) -> None:
    pool = BufferPool(shared=shared)
    held = [pool.take(SPECS).arrays["image"] for _ in range(3)]
    for number, image in enumerate(held):
        image[:] = number
    if closed:
        pool.close()

    def check() -> bool:
        return all((image == number).all() for number, image in enumerate(held))

    def use_again() -> None:
        held[0][:] = 99
        del held[1:]
        take_many(pool)

    assert run_in_fork(check, use_again)
    pool.close()


@pytest.mark.usefixtures("kind_of_file")
@pytest.mark.parametrize("shared", [False, True])
def test_what_a_forked_child_writes_to_a_batch_is_its_own(shared: bool) -> None:
    pool = BufferPool(shared=shared)
    image = pool.take(SPECS).arrays["image"]
    image[:] = 7

    def write() -> bool:
        image[:] = 8
        return bool((image == 8).all())

    assert run_in_fork(write, lambda: None)
    assert (image == 7).all()
    pool.close()


@pytest.mark.usefixtures("kind_of_file")
def test_a_buffer_that_is_filled_elsewhere_during_a_fork_holds_what_was_filled() -> None:
    pool = BufferPool(shared=True)
    buffer = pool.take(SPECS)
    buffer.arrays["label"][:] = [3, 1, 4, 1, 5]
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        assert run_in_fork(lambda: True, lambda: None)
        assert executor.submit(fill_elsewhere, buffer.name, 9).result(60) == ([3, 1, 4, 1, 5], 0)
        assert (buffer.arrays["image"] == 9).all()
    pool.close()


def test_buffers_that_are_idle_when_the_process_forks_are_used_again() -> None:
    pool = BufferPool(shared=True)
    idle, held = pool.take(SPECS), pool.take(SPECS)
    starts = [address(buffer.arrays["image"]) for buffer in (idle, held)]
    del idle
    assert run_in_fork(lambda: True, lambda: None)
    del held
    assert address(pool.take(SPECS).arrays["image"]) == starts[0]
    assert len(pool._all_blocks()) == 1
    pool.close()


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no memfd here")
def test_a_name_that_was_freed_does_not_stand_for_another_file(tmp_path: Path) -> None:
    pool = BufferPool(shared=True)
    name = str(pool.take(SPECS).name)
    pool.close()
    (tmp_path / "other").write_bytes(b"as it was")
    others = [os.open(tmp_path / "other", os.O_RDWR) for _ in range(20)]
    try:
        assert name.partition("#")[0] in {f"/proc/{os.getpid()}/fd/{other}" for other in others}
        with raises(FileNotFoundError, name.partition("#")[0], tmp_path / "other", name.partition("#")[2]):
            AttachedBuffers().arrays(name, SPECS)
    finally:
        for other in others:
            os.close(other)
