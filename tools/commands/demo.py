"""`kseq demo`: packs handwritten digits and trains a small network on them."""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import kseq
from kseq.errors import ArgumentError

_EPOCHS = 12
_BACKENDS = ("tensorflow", "jax", "torch")


def add_parser(commands: Any) -> None:
    """Add `demo` to the command."""
    parser = commands.add_parser(
        "demo",
        help="pack handwritten digits and train on them, in under a minute",
        description="Write the 1,797 handwritten digits that scikit-learn ships as PNG files, pack them, and train a small "
        "network on the dataset with Keras.",
    )
    parser.add_argument("--folder", metavar="DIR", help="keep photos and dataset here (default: a temporary folder)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """The whole way, from image files to a validation accuracy."""
    _choose_backend()
    if arguments.folder is not None:
        return _run_in(Path(arguments.folder))
    with tempfile.TemporaryDirectory(prefix="kseq-demo-") as folder:
        return _run_in(Path(folder))


def _run_in(folder: Path) -> int:
    started = time.monotonic()
    photos, dataset = folder / "digits", folder / "digits-packed"
    count = _write_digits(photos)
    print(f"{count:,} PNG files written to {photos}")
    report = kseq.pack(
        photos, dataset, images=kseq.ImageSettings("raw", (8, 8), color_mode="grayscale"), val=0.2, overwrite=True
    )
    print(f"{report.num_samples:,} packed into {dataset} in {report.seconds:.1f} s: ", end="")
    print(", ".join(f"{sum(counts):,} {split}" for split, counts in report.class_counts.items()))
    accuracy = _train(dataset)
    print(f"validation accuracy {accuracy:.3f} after {_EPOCHS} epochs, {time.monotonic() - started:.0f} s in all")
    return 0


def _choose_backend() -> None:
    """Keras asks for tensorflow unless told otherwise; any backend that is installed will do."""
    installed = [name for name in _BACKENDS if importlib.util.find_spec(name)]
    if importlib.util.find_spec("sklearn") is None or not installed:
        raise ArgumentError("the demo needs scikit-learn and tensorflow, jax or torch: pip install 'kseq[demo]'")
    os.environ.setdefault("KERAS_BACKEND", installed[0])
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _write_digits(folder: Path) -> int:
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        # The digits come as 0 to 16, counts of inked pixels in a 4 x 4 block.
        Image.fromarray(np.minimum(pixels * 16, 255).astype(np.uint8)).save(place / f"{number:04d}.png")
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
        history = model.fit(train, validation_data=val, epochs=_EPOCHS, shuffle=False, verbose=2)
    return float(history.history["val_accuracy"][-1])
