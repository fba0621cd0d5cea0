"""Batch memory: aligned, used again only when nobody refers to it, seen by other processes, gone after close."""

from __future__ import annotations

import gc
import importlib.util
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kseq.buffers import ALIGNMENT, ArraySpec, AttachedBuffers, BufferPool
from kseq.workers import process_pool

SPECS = {"image": ArraySpec((5, 7, 3), "|u1"), "label": ArraySpec((5,), "<i4")}
SHARED = Path("/dev/shm")


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("shared", [False, True])
def test_arrays_have_their_form_and_start_on_a_boundary(shared: bool) -> None:
    pool = BufferPool(shared=shared)
    arrays = pool.take(SPECS).arrays
    for name, spec in SPECS.items():
        assert arrays[name].shape == spec.shape
        assert arrays[name].dtype == spec.dtype
        assert arrays[name].flags.c_contiguous
        assert address(arrays[name]) % ALIGNMENT == 0
    arrays["image"][:] = 255
    arrays["label"][:] = -1
    assert (arrays["image"] == 255).all()
    del arrays
    pool.close()


@pytest.mark.parametrize("shared", [False, True])
def test_memory_is_used_again_when_nothing_refers_to_it(shared: bool) -> None:
    pool = BufferPool(shared=shared)
    places = {address(pool.take(SPECS).arrays["image"]) for _ in range(20)}
    assert len(places) == 1
    pool.close()


@pytest.mark.parametrize("keep", ["array", "view", "view of a view", "other array", "memoryview"])
def test_memory_is_not_used_again_while_anything_refers_to_it(keep: str) -> None:
    pool = BufferPool()
    arrays = pool.take(SPECS).arrays
    arrays["image"][:] = 17
    arrays["label"][:] = 17
    held = {
        "array": lambda: arrays["image"],
        "view": lambda: arrays["image"][1:3],
        "view of a view": lambda: arrays["image"].reshape(-1)[5:50].view()[3:4],
        "other array": lambda: arrays["label"],
        "memoryview": lambda: memoryview(arrays["image"]),
    }[keep]()
    del arrays
    gc.collect()
    for _ in range(20):
        pool.take(SPECS).arrays["image"][:] = 0
        pool.take(SPECS).arrays["label"][:] = 0
    assert (np.asarray(held) == 17).all()


def test_memory_of_other_sizes_is_kept_apart_and_the_idle_is_bounded() -> None:
    pool = BufferPool(max_idle=3)
    taken = [pool.take({"image": ArraySpec((size * 5000,), "|u1")}) for size in range(1, 9)]
    del taken
    pool.take(SPECS)
    assert len(pool._idle) <= 4


def fill(name: str) -> int:
    arrays = AttachedBuffers().arrays(name, SPECS)
    arrays["label"][:] = [1, 2, 3, 4, 5]
    return int(arrays["image"].sum())


def test_another_process_reads_and_writes_a_shared_buffer() -> None:
    pool = BufferPool(shared=True)
    buffer = pool.take(SPECS)
    buffer.arrays["image"][:] = 2
    with process_pool(1) as executor:
        assert executor.submit(fill, buffer.name).result(timeout=60) == 2 * 105
    assert buffer.arrays["label"].tolist() == [1, 2, 3, 4, 5]
    pool.close()


def test_an_attached_buffer_may_come_again_with_other_specs() -> None:
    pool = BufferPool(shared=True)
    attached = AttachedBuffers()
    for count in (8, 3, 8):
        specs = {"label": ArraySpec((count,), "<i4")}
        buffer = pool.take(specs)
        assert buffer.name is not None
        attached.arrays(buffer.name, specs)["label"][:] = count
        assert buffer.arrays["label"].tolist() == [count] * count
    pool.close()


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared memory is not a folder here")
def test_close_takes_every_name_away_and_leaves_arrays_valid() -> None:
    before = {each.name for each in SHARED.iterdir()}
    pool = BufferPool(shared=True)
    held = pool.take(SPECS).arrays["image"]
    held[:] = 9
    pool.take(SPECS)
    assert {each.name for each in SHARED.iterdir()} - before
    pool.close()
    assert not {each.name for each in SHARED.iterdir()} - before
    assert (held == 9).all()


TENSORS = """
import gc
import keras, numpy as np
from kseq.buffers import ArraySpec, BufferPool
pool = BufferPool()
spec = {"image": ArraySpec((64, 64, 64, 3), "|u1")}
held = []
for number in range(6):
    array = pool.take(spec).arrays["image"]
    array[:] = number
    held.append(keras.ops.convert_to_tensor(array))
    del array
gc.collect()
for _ in range(100):
    pool.take(spec).arrays["image"][:] = 99
print([set(np.unique(keras.ops.convert_to_numpy(tensor)).tolist()) for tensor in held] == [{number} for number in range(6)])
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_tensors_made_from_a_buffer_keep_it(backend: str, run_python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    assert run_python(TENSORS, backend=backend).stdout.split()[-1] == "True"
