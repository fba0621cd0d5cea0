"""Where a training writes what it is like: event files of TensorBoard, and runs of Weights & Biases."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from kseq.errors import ArgumentError, WriteError

__all__ = ["RunLog", "open_tensorboard", "wandb_log"]


class RunLog(Protocol):
    """What is written of a training."""

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        """What the training reads, as names and values."""

    def write_number(self, name: str, number: float, epoch: int) -> None:
        """A number of an epoch."""

    def write_picture(self, name: str, pixels: np.ndarray, caption: str, epoch: int) -> None:
        """A picture of an epoch, `(height, width, 3)` uint8, RGB."""

    def flush(self) -> None:
        """Let others see what was written."""

    def close(self) -> None:
        """Nothing more comes; of what was opened for it, nothing stays."""


class _TensorFlowLog:
    """Event files, by `tf.summary`."""

    def __init__(self, folder: str, tensorflow: Any) -> None:
        self._summary = tensorflow.summary
        # The images of a summary are encoded on this device: a GPU is for the training.
        self._device: Callable[[], Any] = lambda: tensorflow.device("CPU:0")
        self._writer = self._summary.create_file_writer(folder)

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        with self._device(), self._writer.as_default(step=0):
            self._summary.text("input/dataset", _as_markdown(facts))

    def write_number(self, name: str, number: float, epoch: int) -> None:
        with self._device(), self._writer.as_default(step=epoch):
            self._summary.scalar(name, number)

    def write_picture(self, name: str, pixels: np.ndarray, caption: str, epoch: int) -> None:
        with self._device(), self._writer.as_default(step=epoch):
            self._summary.image(name, pixels[None], description=caption)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _TorchLog:
    """Event files, by `torch.utils.tensorboard`."""

    def __init__(self, folder: str, tensorboard: Any) -> None:
        self._writer = tensorboard.SummaryWriter(folder)

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        self._writer.add_text("input/dataset", _as_markdown(facts), 0)

    def write_number(self, name: str, number: float, epoch: int) -> None:
        self._writer.add_scalar(name, number, epoch)

    def write_picture(self, name: str, pixels: np.ndarray, caption: str, epoch: int) -> None:
        self._writer.add_image(name, pixels, epoch, dataformats="HWC")

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _WandbLog:
    """A run of Weights & Biases."""

    def __init__(self, run: Any, image: Callable[..., Any]) -> None:
        self._run = run
        self._image = image

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        self._run.config.update({"input": dict(facts)}, allow_val_change=True)

    def write_number(self, name: str, number: float, epoch: int) -> None:
        self._run.log({name: number, "input/epoch": epoch})

    def write_picture(self, name: str, pixels: np.ndarray, caption: str, epoch: int) -> None:
        self._run.log({name: self._image(pixels, caption=caption), "input/epoch": epoch})

    def flush(self) -> None:
        pass

    def close(self) -> None:
        # The run is the user's.
        pass


def open_tensorboard(folder: str) -> RunLog:
    """Event files in a folder, written by TensorFlow or by PyTorch, whichever has what that takes; what is loaded comes first.

    Raises:
        ArgumentError: If neither can write them.
        WriteError: If the folder cannot be made.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{folder}: {error.strerror or error}") from error
    ways: list[tuple[str, str, Callable[[str, Any], RunLog]]] = [
        ("tensorflow", "tensorflow", _TensorFlowLog),
        ("torch", "torch.utils.tensorboard", _TorchLog),
    ]
    reasons = []
    for package, name, log in sorted(ways, key=lambda way: way[0] not in sys.modules):
        try:
            module = importlib.import_module(name)
            if package == "tensorflow" and not hasattr(module.summary, "image"):
                raise ImportError("tf.summary needs tensorboard")
            return log(folder, module)
        except ImportError as error:
            reasons.append(f"{package}: {' '.join(str(error).split())}")
    raise ArgumentError(
        f"log_dir={folder!r}: event files are written by TensorFlow or PyTorch with tensorboard, which are not installed: "
        f"pip install tensorboard ({'; '.join(reasons)})"
    )


def wandb_log(run: Any) -> RunLog:
    """A run of Weights & Biases, which `wandb.init` returns.

    Raises:
        ArgumentError: If it is none, or wandb is missing.
    """
    if not callable(getattr(run, "log", None)) or not hasattr(getattr(run, "config", None), "update"):
        raise ArgumentError(f"run={run!r}: allowed is a run of Weights & Biases, which wandb.init() returns")
    try:
        image = importlib.import_module("wandb").Image
    except ImportError as error:
        raise ArgumentError(f"run={run!r}: pictures for Weights & Biases need wandb: pip install wandb") from error
    return _WandbLog(run, image)


def _as_markdown(facts: Mapping[str, Any]) -> str:
    """A table, in which every value is code, so that none is markup."""
    cells = {name: str(value).replace("`", "'").replace("|", "\\|") for name, value in facts.items()}
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | `{value}` |" for name, value in cells.items())])
