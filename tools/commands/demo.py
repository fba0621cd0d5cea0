"""`kseq demo`: packs handwritten digits and trains a small network on them."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import kseq
from kseq.arguments import path_text
from kseq.errors import ArgumentError

from ..console.json_output import add_json_option, print_json

_EPOCHS = 12
_BACKENDS = ("tensorflow", "jax", "torch")
_INSTALL = "pip install 'kseq[demo]', which downloads about 750 MB and takes 2.5 GB on disk, TensorFlow included"

_BEFORE = """\
kseq demo writes 1,797 handwritten digits as PNG files, packs them, and trains a small network on them
with Keras on {backend}, in less than a minute on two processor cores. The digits come with scikit-learn:
nothing is downloaded. Files go to {folder}, about 8 MB{kept}.
"""

_AFTER = """
What next?

  1. Pack photos of your own:
       kseq pack photos flowers --val 0.1 --test 0.1   if they lie in one folder for each class
       kseq pack photos flowers                        if they lie in train/CLASS, val/CLASS and test/CLASS
  2. Train on them, in Python:
       train = kseq.ShardSequence("flowers", "train", input_shape=(64, 64, 3), augment=kseq.RandomFlip())
       val = kseq.ShardSequence("flowers", "val", input_shape=(64, 64, 3))
       model.fit(train, validation_data=val, epochs=8)

The README has a whole program with a network, and docs/tutorials/classify.md goes through it."""


def add_parser(commands: Any) -> None:
    """Add `demo` to the command."""
    parser = commands.add_parser(
        "demo",
        examples=("kseq demo", "kseq demo --folder digits"),
        help="pack handwritten digits and train on them, in under a minute",
        description="Write the 1,797 handwritten digits that scikit-learn ships as PNG files, pack them, and train a small "
        "network on the dataset with Keras. Nothing is downloaded; scikit-learn and a backend of Keras must be installed "
        f"({_INSTALL}).",
    )
    parser.add_argument("--folder", metavar="DIR", help="keep photos and dataset here (default: a temporary folder)")
    add_json_option(parser, "print one JSON object, of an error too; what is told meanwhile goes to stderr")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """The whole way, from image files to a validation accuracy; tells before what it does, and afterwards what to do next."""
    backend = _choose_backend()
    # With --json, the standard output has the object alone: of what Keras prints as well.
    with contextlib.redirect_stdout(sys.stderr) if arguments.json else contextlib.nullcontext():
        if arguments.folder is not None:
            facts = _run_in(Path(path_text("folder", arguments.folder)), backend, "and stay there")
        else:
            with tempfile.TemporaryDirectory(prefix="kseq-demo-") as folder:
                facts = _run_in(Path(folder), backend, "and are removed at the end (--folder keeps them)")
    if arguments.json:
        print_json(arguments, {"folder": arguments.folder, "backend": backend, **facts})
    return 0


def _run_in(folder: Path, backend: str, kept: str) -> dict[str, Any]:
    """All of it; returns what `--json` says."""
    print(_BEFORE.format(backend=backend, folder=folder, kept=f", {kept}"), flush=True)
    started = time.monotonic()
    photos, dataset = folder / "digits", folder / "digits-packed"
    count = _write_digits(photos)
    print(f"{count:,} PNG files written to {photos}")
    report = kseq.pack(
        photos, dataset, images=kseq.ImageSettings("raw", (8, 8), color_mode="grayscale"), val=0.2, overwrite=True
    )
    print(f"{report.num_samples:,} packed into {dataset} in {report.seconds:.1f} s: ", end="")
    print(", ".join(f"{sum(counts):,} {split}" for split, counts in report.class_counts.items()), flush=True)
    accuracy = _train(dataset)
    passed = time.monotonic() - started
    print(f"validation accuracy {accuracy:.3f} after {_EPOCHS} epochs, {passed:.0f} s in all")
    print(_AFTER)
    return {"num_samples": report.num_samples, "epochs": _EPOCHS, "val_accuracy": accuracy, "seconds": passed}


def _choose_backend() -> str:
    """The backend that Keras will use: the one that it is told to, or the first that is installed.

    Raises:
        ArgumentError: If something that the demo needs is not installed.
    """
    installed = [name for name in _BACKENDS if importlib.util.find_spec(name)]
    wanted = os.environ.get("KERAS_BACKEND")
    if importlib.util.find_spec("sklearn") is None:
        missing = "scikit-learn"
        remedy = "pip install scikit-learn" if installed else _INSTALL
    elif not installed:
        missing, remedy = "a backend of Keras (tensorflow, jax or torch)", _INSTALL
    elif wanted in _BACKENDS and wanted not in installed:
        missing, remedy = f"{wanted}, which KERAS_BACKEND asks for", f"unset KERAS_BACKEND, or pip install 'kseq[{wanted}]'"
    else:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        return os.environ.setdefault("KERAS_BACKEND", installed[0])
    raise ArgumentError(f"the demo needs {missing}: {remedy}")


def _write_digits(folder: Path) -> int:
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        class_folder = folder / str(label)
        class_folder.mkdir(parents=True, exist_ok=True)
        # The digits come as 0 to 16, counts of inked pixels in a 4 x 4 block.
        Image.fromarray(np.minimum(pixels * 16, 255).astype(np.uint8)).save(class_folder / f"{number:04d}.png")
    return len(digits.target)


def _train(dataset: Path) -> float:
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    with kseq.ShardSequence(dataset, "train") as train, kseq.ShardSequence(dataset, "val") as val:
        history = model.fit(train, validation_data=val, epochs=_EPOCHS, verbose=2)
    return float(history.history["val_accuracy"][-1])
