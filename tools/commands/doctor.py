"""`kseq doctor`: who waits for whom in a training, and what to change."""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any

import kseq

from ..console.json_output import add_json_option, print_json
from ..console.options import add_storage_options, storage_options
from ..doctor.examination import examine
from ..doctor.report import as_json, as_text
from ..doctor.script import call_function
from ..doctor.sequence_arguments import read_arguments, read_augment
from ..doctor.stepping import RateStep, Step, model_step

_SHUFFLES: dict[str, bool | str] = {"yes": True, "no": False, "block": "block"}
# Options that are arguments of the Sequence of the same name.
_PLAIN = ("batch_size", "input_shape", "workers", "use_multiprocessing", "decode", "read")

_SECONDS = 40.0
_LEAST_SECONDS = 1.0


def add_parser(commands: Any) -> None:
    """Add `doctor` to the command."""
    parser = commands.add_parser(
        "doctor",
        examples=(
            "kseq doctor flowers --input-shape 224 224 3 --rate 2000",
            "kseq doctor --batches train.py:make_train --model train.py:make_model",
        ),
        help="measure who waits for whom in a training, and what to change",
        description="Measure how fast this disk, this decoder and these cores give batches of DATASET, how long a training "
        "step takes, and who waits for whom; try other settings, and name the one to change next. Samples are packed otherwise "
        "in a temporary folder beside DATASET.",
    )
    parser.add_argument("dataset", metavar="DATASET", nargs="?", help="folder of a dataset, or its URL")
    parser.add_argument(
        "--batches",
        metavar="SCRIPT.py:FUNCTION",
        help="function without arguments that returns the ShardSequence or Batches of your training, in place of DATASET and "
        "the options from --split to --argument",
    )
    step = parser.add_mutually_exclusive_group()
    step.add_argument(
        "--model", metavar="SCRIPT.py:FUNCTION", help="function without arguments that returns your compiled model of Keras"
    )
    step.add_argument("--rate", type=float, metavar="IMAGES_PER_S", help="how fast your training is on batches that are there")
    parser.add_argument("--split", metavar="SPLIT", help="split to read (default: train)")
    parser.add_argument(
        "--shuffle",
        choices=tuple(_SHUFFLES),
        help="order of the samples (default: yes, but no for val and test)",
    )
    parser.add_argument(
        "--augment",
        nargs="+",
        metavar="STEP",
        help="augmentations as your training has them: such as 'RandomFlip()', or SCRIPT.py:FUNCTION, which returns them",
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="samples per batch (default: 32)")
    parser.add_argument(
        "--input-shape", nargs=3, type=int, metavar=("H", "W", "C"), help="shape of an image in a batch (default: as stored)"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="threads or processes that read (default: one for each core)")
    parser.add_argument("--use-multiprocessing", action="store_true", help="read in processes")
    parser.add_argument("--decode", choices=("fast", "exact"), help="how JPEGs are decoded (default: fast)")
    parser.add_argument("--read", choices=("auto", "map", "pread"), help="how bytes come from files (default: auto)")
    parser.add_argument(
        "--argument",
        nargs="+",
        metavar="NAME=VALUE",
        help="any other argument of the ShardSequence, such as dtype=float32 scale=1/255",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=_SECONDS,
        metavar="S",
        help="how long to measure; what there is no time for is said (default: %(default)g)",
    )
    add_json_option(parser)
    add_storage_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print what was found."""
    _check(arguments)
    with _open(arguments) as batches:
        print(f"kseq doctor: measures for {arguments.seconds:.0f} s; Ctrl-C breaks off", file=sys.stderr, flush=True)
        step: Step | RateStep | None = None
        if arguments.model is not None:
            step = model_step(call_function("--model", arguments.model))
        elif arguments.rate is not None:
            step = RateStep(arguments.rate)
        examined = examine(batches, step, arguments.seconds)
    if arguments.json:
        print_json(arguments, as_json(examined))
    else:
        print(as_text(examined))
    return 0


def _check(arguments: argparse.Namespace) -> None:
    if (arguments.dataset is None) == (arguments.batches is None):
        raise kseq.errors.ArgumentError("kseq doctor: give DATASET, or --batches SCRIPT.py:FUNCTION, which opens it itself")
    if arguments.batches is not None:
        given = [name for name in ("split", "shuffle", "augment", *_PLAIN, "argument") if _is_given(arguments, name)]
        if given:
            option = f"--{given[0].replace('_', '-')}"
            raise kseq.errors.ArgumentError(f"{option}: does not go with --batches, whose function says all arguments")
    for option, least in (("rate", 0.0), ("seconds", _LEAST_SECONDS)):
        value = getattr(arguments, option)
        if value is not None and not (math.isfinite(value) and value >= least and value > 0):
            raise kseq.errors.ArgumentError(f"--{option} {value:g}: allowed are {least:g} and more, above 0")


def _is_given(arguments: argparse.Namespace, name: str) -> bool:
    value = getattr(arguments, name)
    return value is not None and value is not False


def _open(arguments: argparse.Namespace) -> kseq.Batches:
    if arguments.batches is not None:
        made = call_function("--batches", arguments.batches)
        batches = made if isinstance(made, kseq.Batches) else getattr(made, "batches", None)
        if not isinstance(batches, kseq.Batches):
            raise kseq.errors.ArgumentError(
                f"--batches {arguments.batches}: gave a {type(made).__name__}, expected is a kseq.ShardSequence or kseq.Batches"
            )
        # Of an epoch that was begun, not every batch can be read, and others are tried.
        batches.forget_state()
        return batches
    return kseq.Batches(
        arguments.dataset, arguments.split, **_sequence_arguments(arguments), storage_options=storage_options(arguments)
    )


def _sequence_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of the Sequence that options give, each once."""
    values: dict[str, Any] = {name: getattr(arguments, name) for name in _PLAIN if _is_given(arguments, name)}
    if "input_shape" in values:
        values["input_shape"] = tuple(values["input_shape"])
    if arguments.shuffle is not None:
        values["shuffle"] = _SHUFFLES[arguments.shuffle]
    if arguments.augment is not None:
        values["augment"] = read_augment(arguments.augment)
    others = read_arguments(arguments.argument or ())
    twice = next((name for name in others if name in values), None)
    if twice is not None:
        raise kseq.errors.ArgumentError(f"--argument {twice}=: --{twice.replace('_', '-')} gives it, too")
    return values | others
