"""Run by test_keras_names.py in a process for each backend: trainings of models with inputs and outputs of several names."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import keras

import kseq

SHAPE = (8, 8, 3)


def look(image: Any) -> Any:
    return keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))


def plain() -> keras.Model:
    return keras.Sequential([keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(1)])


def with_names(as_dicts: bool) -> keras.Model:
    photo = keras.Input(SHAPE, name="photo")
    height = keras.layers.Dense(1, name="height")(look(photo))
    return keras.Model({"photo": photo}, {"height": height}) if as_dicts else keras.Model(photo, height)


def with_two_of_each() -> keras.Model:
    inputs = {name: keras.Input(SHAPE, name=name) for name in ("photo", "above")}
    seen = keras.layers.Concatenate()([look(image) for image in inputs.values()])
    return keras.Model(inputs, {name: keras.layers.Dense(1, name=name)(seen) for name in ("height", "width")})


def of_text() -> keras.Model:
    photo, text = keras.Input(SHAPE, name="photo"), keras.Input((None,), dtype="uint8", name="text")
    words = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(256, 4)(text))
    return keras.Model({"photo": photo, "text": text}, keras.layers.Dense(1)(keras.layers.Concatenate()([look(photo), words])))


def of_pixels() -> keras.Model:
    return keras.Sequential([keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(1, 1)])


CASES: dict[str, tuple[Callable[[], keras.Model], Any, dict[str, Any]]] = {
    "a name alone": (plain, "mse", {"inputs": "photo", "targets": "height"}),
    "a dict of one target": (plain, "mse", {"inputs": "photo", "targets": {"height": "height"}}),
    "a dict of one target of another name": (plain, "mse", {"inputs": "above", "targets": {"size": "height"}}),
    "names of a model": (lambda: with_names(False), {"height": "mse"}, {"inputs": "photo", "targets": {"height": "height"}}),
    "a dict of one input": (lambda: with_names(False), "mse", {"inputs": {"photo": "above"}, "targets": "height"}),
    "dicts of one": (
        lambda: with_names(True),
        {"height": "mse"},
        {"inputs": {"photo": "photo"}, "targets": {"height": "height"}},
    ),
    "names for dicts of one": (lambda: with_names(True), "mse", {"inputs": "photo", "targets": "height"}),
    "weights": (plain, "mse", {"inputs": "photo", "targets": {"height": "height"}, "sample_weight": "width"}),
    "dicts of two": (
        with_two_of_each,
        {"height": "mse", "width": "mae"},
        {"targets": {"height": "height", "width": "width"}, "sample_weight": "width"},
    ),
    "text as an input": (of_text, "mse", {"inputs": {"photo": "photo", "text": "text"}, "targets": "height"}),
    "text padded": (
        of_text,
        "mse",
        {"inputs": {"photo": "photo", "text": "text"}, "targets": "height", "pad_to": {"text": 40}},
    ),
    "a mask by the name of its column": (of_pixels, "mse", {"inputs": "photo", "targets": "lesion_mask"}),
}


def main() -> None:
    for name, (make, loss, names) in CASES.items():
        model = make()
        # To trace and compile functions takes most of the time: it is done where there are two of each name.
        jit = "auto" if keras.backend.backend() == "jax" else False
        model.compile("adam", loss, run_eagerly=name != "dicts of two", jit_compile=jit)
        with kseq.ShardSequence(sys.argv[1], "all", batch_size=5, workers=1, **names) as train:
            history = model.fit(train, epochs=2, verbose=0, validation_data=train)
            model.evaluate(train, verbose=0)
            rows = model.predict(train, verbose=0)
        rows = rows["height"] if isinstance(rows, dict) else rows
        print(json.dumps([name, history.history["loss"], len(rows)]), flush=True)


if __name__ == "__main__":
    main()
