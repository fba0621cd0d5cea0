"""The core of kseq, from packing to export, as a program: run on systems that lack this or that, it prints the same facts.

    python core_run.py PHOTOS WORK [--keras]

PHOTOS holds class folders of images of one size. WORK is a folder to work in. What it prints is JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from typing import Any

import kseq

_SMALL_SHARDS = 1_500

READ = """
import sys, kseq
dataset = kseq.ShardDataset(sys.argv[1])
dataset.read(range(len(dataset)))
print("open", flush=True)
sys.stdin.read()
"""


def pack(photos: str, dataset: str, **options: Any) -> str:
    """Pack, and return the digest of the dataset."""
    kseq.pack(photos, dataset, val=0.25, shard_bytes=_SMALL_SHARDS, **options)
    return digest(dataset)


def digest(dataset: str) -> str:
    return str(kseq.ShardDataset(dataset).digest)


def pack_and_die(photos: str, dataset: str) -> str:
    """Kill a packing once it has made a shard or two, and go on with it."""
    packing = subprocess.Popen([sys.executable, __file__, photos, dataset, "--pack"])
    deadline = time.monotonic() + 60
    while not os.path.exists(os.path.join(dataset, "shard-00001.h5")) and time.monotonic() < deadline:
        time.sleep(0.005)
    packing.terminate()
    packing.wait()
    assert not os.path.exists(os.path.join(dataset, "index.h5"))
    return pack(photos, dataset, workers=0, resume=True)


def pack_slowly(photos: str, dataset: str) -> None:
    def wait(done: int, total: int) -> None:
        time.sleep(0.05)

    pack(photos, dataset, workers=0, progress=wait)


def reader_of(dataset: str) -> subprocess.Popen[str]:
    """Another process that has the index and all shards open."""
    process = subprocess.Popen([sys.executable, "-c", READ, dataset], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "open"
    return process


def changes(dataset: str, photos: str) -> dict[str, Any]:
    """What becomes of a dataset, change by change, while another process reads it."""
    before, facts = digest(dataset), {}
    reader = reader_of(dataset)
    try:
        kseq.drop(dataset, ids=[1, 5])
        facts["dropped"] = digest(dataset)
        kseq.undo(dataset)
        assert digest(dataset) == before
        kseq.undo(dataset)
        assert digest(dataset) == facts["dropped"]
        kseq.split(dataset, val=0.5)
        facts["split"] = digest(dataset)
        kseq.compact(dataset, undo=False)
        facts["compacted"] = digest(dataset)
    finally:
        reader.communicate()
    kseq.append(dataset, photos, workers=2)
    facts["appended"] = digest(dataset)
    assert not kseq.verify(dataset).damaged
    facts["files"] = sorted(os.listdir(dataset))
    return facts


def samples(dataset: str) -> dict[str, Any]:
    opened = kseq.ShardDataset(dataset, "train")
    images = opened.read(range(len(opened)))["image"]
    return {"sources": sorted(opened.sources()), "sum": int(sum(image.sum(dtype="int64") for image in images))}


def batches(dataset: str, *, fit: bool) -> dict[str, Any]:
    """An epoch by threads and by processes, and a training."""
    import keras

    facts: dict[str, Any] = {}
    for processes in (False, True):
        with kseq.ShardSequence(dataset, batch_size=8, workers=2, use_multiprocessing=processes) as sequence:
            facts[f"processes={processes}"] = [int(images.sum(dtype="int64")) for images, _ in sequence]
            if fit:
                model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2)])
                model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
                facts["epochs"] = len(model.fit(sequence, epochs=2, verbose=0).epoch)
    return facts


def main(photos: str, work: str, *, keras: bool, fit: bool) -> dict[str, Any]:
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    one, other, killed = (os.path.join(work, name) for name in ("one", "other", "killed"))
    facts: dict[str, Any] = {"packed": pack(photos, one, workers=0)}
    assert pack(photos, other, workers=2) == facts["packed"]
    assert pack_and_die(photos, killed) == facts["packed"]
    facts["samples"] = samples(one)
    if keras:
        facts["batches"] = batches(one, fit=fit)
    facts["changes"] = changes(one, photos)
    kseq.merge([one, other], os.path.join(work, "merged"))
    facts["overwritten"] = pack(photos, one, workers=0, overwrite=True)
    facts["merged"] = digest(os.path.join(work, "merged"))
    kseq.export(other, os.path.join(work, "out"), format="folder")
    facts["exported"] = pack(os.path.join(work, "out"), os.path.join(work, "again"), workers=0)
    facts["left"] = sorted(os.listdir(work))
    return facts


if __name__ == "__main__":
    if "--pack" in sys.argv:
        pack_slowly(*sys.argv[1:3])
    else:
        print(json.dumps(main(*sys.argv[1:3], keras="--keras" in sys.argv or "--fit" in sys.argv, fit="--fit" in sys.argv)))
