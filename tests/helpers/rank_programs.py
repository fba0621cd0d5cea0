"""Run by tests/training/test_several_processes.py: programs that train in one process of several.

Each prints as its last line what its steps received and what came out, as JSON. A library that a program needs is imported by
it alone.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import kseq
from tests.helpers.photos import numbers_of

EPOCHS = 2
Found = dict[str, Any]


def _rows(values: Any) -> np.ndarray:
    """The rows of an array that this process gave to a step, and no others."""
    shards = getattr(values, "addressable_shards", None)
    if shards is not None:
        return np.concatenate([np.asarray(shard.data) for shard in shards])
    return np.asarray(values)


def _model(*, built: bool = True) -> Any:
    """A model that notes the samples and the weights of every batch that a step of it is given, on each device by itself."""
    import keras

    seen: list[Any] = []

    def note(x: Any, weights: Any = None) -> None:
        seen.append((numbers_of(_rows(x)).tolist(), None if weights is None else _rows(weights).tolist()))

    class Recording(keras.Sequential):
        # Of the class, since Keras keeps a copy of a list that an object gets.
        records: list[Any] = seen

        def train_step(self, *arguments: Any) -> Any:
            x, _, weights = keras.utils.unpack_x_y_sample_weight(arguments[-1])
            if keras.backend.backend() == "tensorflow":
                import tensorflow as tf

                tf.py_function(note, [x] if weights is None else [x, weights], [])
            else:
                note(x, weights)
            return super().train_step(*arguments)

    keras.utils.set_random_seed(7)
    layers = [keras.layers.Rescaling(1 / 50), keras.layers.Flatten(), keras.layers.Dense(3)]
    model = Recording([keras.Input((4, 4, 3)), *layers] if built else layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    eager = keras.backend.backend() != "tensorflow"
    # TensorFlow would compile it by XLA, which takes seconds.
    model.compile("sgd", loss, weighted_metrics=["accuracy"], run_eagerly=eager, jit_compile="auto" if eager else False)
    return model


def _weights(model: Any) -> list[float]:
    import keras

    return [float(number) for variable in model.weights for number in keras.ops.convert_to_numpy(variable).ravel()]


def _refusal(act: Callable[[], Any]) -> str:
    """The text of the refusal that an act ends with."""
    try:
        act()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _fit(path: str, batch_size: int, make: Callable[[], Any] = _model, **arguments: Any) -> Found:
    """Train and validate a model, then evaluate it."""
    import keras

    model = make()
    train = kseq.ShardSequence(path, "train", batch_size=batch_size, seed=3, **arguments)
    val = kseq.ShardSequence(path, "val", batch_size=batch_size)
    epochs: list[int] = []
    note = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: epochs.append(train.epoch))
    history = model.fit(train, epochs=EPOCHS, validation_data=val, verbose=0, callbacks=[note])
    found = {
        "rank": [train.batches.rank, train.batches.world_size],
        "remainders": [train.batches.remainder, val.batches.remainder],
        "steps": len(train),
        "epochs": epochs,
        "records": model.records,
        "weights": _weights(model),
        "history": history.history,
        "evaluated": model.evaluate(val, verbose=0),
    }
    train.close()
    val.close()
    return found


def _evaluate(path: str) -> list[float]:
    """The figures of a model that is not trained, in one process."""
    with kseq.ShardSequence(path, "val", batch_size=7, rank=0, world_size=1) as val:
        return _model().evaluate(val, verbose=0)


def jax_evaluation(path: str, rank: int, world: int, port: int) -> Found:
    """The figures of processes that only evaluate."""
    import keras

    keras.distribution.initialize(f"localhost:{port}", world, rank)
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    return _evaluated_together(path)


def _evaluated_together(path: str) -> Found:
    """The rank, and the figures of a model that is not trained, in all processes together."""
    with kseq.ShardSequence(path, "val", batch_size=7) as val:
        return {"rank": [val.batches.rank, val.batches.world_size], "untrained": _model().evaluate(val, verbose=0)}


def jax_processes(path: str, rank: int, world: int, port: int) -> Found:
    """Processes that `keras.distribution` connects."""
    import keras

    before = kseq.ShardSequence(path, "train", batch_size=7)
    keras.distribution.initialize(f"localhost:{port}", world, rank)
    unconnected = kseq.ShardSequence(path, "train", batch_size=7)
    model = _model()
    found = {"not distributed": _refusal(lambda: model.fit(unconnected, verbose=0))}
    distribution = keras.distribution.DataParallel()
    keras.distribution.set_distribution(distribution)
    model = _model()
    if not hasattr(distribution, "num_data_shards"):
        # Up to Keras 3.15, which shares out nothing but a tf.data.Dataset. From 3.16 on, kseq lets it share nothing out.
        found["shared out by Keras"] = _refusal(lambda: model.fit(unconnected, verbose=0))
        distribution.auto_shard_dataset = False
    found["made before"] = _refusal(lambda: model.fit(before, verbose=0))
    alone = kseq.ShardSequence(path, "train", batch_size=7, rank=0, world_size=1)
    found["without ranks"] = _refusal(lambda: model.fit(alone, verbose=0))
    kept = kseq.ShardSequence(path, "train", batch_size=7, remainder="keep")
    found["partial"] = _refusal(lambda: model.fit(kept, verbose=0))
    for sequence in (before, unconnected, alone, kept):
        sequence.close()
    return {**found, **_evaluated_together(path), "fitted": _fit(path, 7), "padded": _fit(path, 7, remainder="pad")}


def jax_devices(path: str, rank: int, world: int, port: int) -> Found:
    """One process with two devices, among which Keras divides each batch."""
    import jax
    import keras

    jax.config.update("jax_num_cpu_devices", 2)
    alone = {"dropped": _fit(path, 14, remainder="drop"), "padded": _fit(path, 14, remainder="pad")}
    untrained = _evaluate(path)
    made_before = kseq.ShardSequence(path, "train", batch_size=14)
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    model = _model()
    refused = {
        "odd": kseq.ShardSequence(path, "train", batch_size=7),
        "made before": made_before,
        "skipping": kseq.ShardSequence(path, "train", batch_size=14, on_error="skip"),
    }
    found = {}
    for name, sequence in refused.items():
        found[name] = _refusal(lambda sequence=sequence: model.fit(sequence, verbose=0))
        sequence.close()
    return {"alone": alone, "untrained": untrained, **found, **_fit(path, 14)}


def tf_mirrored(path: str, rank: int, world: int, port: int) -> Found:
    """One process with two devices under a strategy of TensorFlow."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

    def make(built: bool) -> Any:
        with strategy.scope():
            return _model(built=built)

    found: Found = {"untrained": _evaluate(path)}
    with kseq.ShardSequence(path, "val", batch_size=14) as val:
        found["together"] = make(True).evaluate(val, verbose=0)
    with kseq.ShardSequence(path, "val", batch_size=7) as odd, kseq.ShardSequence({path: 1.0}, epoch_size=5) as small:
        found["odd"] = _refusal(lambda: make(True).evaluate(odd, verbose=0))
        found["small"] = _refusal(lambda: make(True).fit(small, verbose=0))
    # Keras looks at batches to build a model; with one batch a pass, it looks at the whole.
    found["14, built"] = _fit(path, 14, lambda: make(True))
    found["80, not built"] = _fit(path, 80, lambda: make(False))
    return found


def tf_workers(path: str, rank: int, world: int, port: int) -> Found:
    """Workers of TensorFlow in a training loop of one's own, the three ways to give them batches."""
    os.environ["TF_CONFIG"] = json.dumps(
        {
            "cluster": {"worker": [f"localhost:{port + number}" for number in range(world)]},
            "task": {"type": "worker", "index": rank},
        }
    )
    import keras
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        model = _model()
        optimizer = keras.optimizers.SGD(0.1)
        optimizer.build(model.trainable_variables)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    signature = (tf.TensorSpec((None, 4, 4, 3), tf.uint8), tf.TensorSpec((None,), tf.int32))

    @tf.function
    def step(x: Any, y: Any) -> Any:
        def replica(x: Any, y: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = loss_of(y, model(x, training=True)) / (7 * world)
            gradients = tape.gradient(loss, model.trainable_variables)
            gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
                variable.value.assign_sub(0.1 * gradient)
            return x

        return strategy.run(replica, args=(x, y))

    def train(dataset: Any) -> list[list[int]]:
        return [numbers_of(_rows(strategy.experimental_local_results(step(x, y))[0])).tolist() for x, y in dataset]

    def from_batches(batches: kseq.Batches, epoch: int) -> Any:
        return tf.data.Dataset.from_generator(lambda: batches.epoch(epoch), output_signature=signature)

    found: Found = {}
    shared = kseq.Batches(path, "train", batch_size=7, seed=3)
    whole = kseq.Batches(path, "train", batch_size=7 * world, seed=3, rank=0, world_size=1, remainder="drop")
    found["rank"] = [shared.rank, shared.world_size]
    found["by function"] = train(strategy.distribute_datasets_from_function(lambda context: from_batches(shared, 0)))
    found["by TensorFlow"] = train(strategy.experimental_distribute_dataset(from_batches(whole, 1)))
    found["weights"] = _weights(model)
    found |= _tf_evaluation(strategy, path)
    distributed = strategy.experimental_distribute_dataset(from_batches(shared, 2).prefetch(2))
    found["shared out twice"] = _refusal(lambda: train(distributed))
    sequence = kseq.ShardSequence(path, "train", batch_size=7)
    found["fit"] = _refusal(lambda: model.fit(sequence, verbose=0))
    found["evaluate"] = _refusal(lambda: model.evaluate(sequence, verbose=0))
    found["fit outside"] = _refusal(lambda: _model().fit(sequence, verbose=0))
    return found


def tensorflow_evaluation(path: str, rank: int, world: int, port: int) -> Found:
    """The figures of workers of TensorFlow that only evaluate."""
    cluster = {"worker": [f"localhost:{port + number}" for number in range(world)]}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": rank}})
    import tensorflow as tf

    return _tf_evaluation(tf.distribute.MultiWorkerMirroredStrategy(), path)


def _tf_evaluation(strategy: Any, path: str) -> Found:
    """The loss and the accuracy of a model that is not trained: of all workers together in a loop, and of this one by Keras."""
    import keras
    import tensorflow as tf

    with strategy.scope():
        model = _model()
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=None)
    signature = (tf.TensorSpec((7, 4, 4, 3), tf.uint8), tf.TensorSpec((7,), tf.int32), tf.TensorSpec((7,), tf.float32))

    @tf.function
    def step(x: Any, y: Any, weights: Any) -> Any:
        def replica(x: Any, y: Any, weights: Any) -> Any:
            outputs = model(x, training=False)
            is_right = tf.cast(tf.argmax(outputs, axis=-1, output_type=tf.int32) == y, tf.float32)
            sums = [tf.reduce_sum(values * weights) for values in (loss_of(y, outputs), is_right, tf.ones_like(weights))]
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.stack(sums))

        return strategy.run(replica, args=(x, y, weights))

    with kseq.Batches(path, "val", batch_size=7) as val:
        dataset = strategy.distribute_datasets_from_function(
            lambda context: tf.data.Dataset.from_generator(lambda: val.epoch(0), output_signature=signature)
        )
        totals = [np.asarray(strategy.experimental_local_results(step(*batch))[0], np.float64) for batch in dataset]
        loss, accuracy, weight = np.sum(totals, axis=0)
        rank = [val.rank, val.world_size]
    return {"rank": rank, "untrained": _evaluate(path), "together": [loss / weight, accuracy / weight]}


def torch_evaluation(path: str, rank: int, world: int, port: int) -> Found:
    """The figures of processes of PyTorch's that only evaluate."""
    import torch

    torch.distributed.init_process_group("gloo", f"tcp://localhost:{port}", rank=rank, world_size=world)
    with kseq.Batches(path, "val", batch_size=7) as val:
        found = {"rank": [val.rank, val.world_size], "together": _torch_evaluation(_model(), val.epoch(0))}
    found["untrained"] = _evaluate(path)
    torch.distributed.destroy_process_group()
    return found


def _torch_evaluation(model: Any, val: Iterable[Any]) -> list[float]:
    """The loss and the accuracy of all processes together, in a loop."""
    import torch

    total = torch.zeros(3, dtype=torch.float64)
    with torch.no_grad():
        for images, labels, weights in val:
            outputs, targets = model(torch.as_tensor(images)), torch.as_tensor(labels).long()
            losses = torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
            values = torch.stack([losses, (outputs.argmax(-1) == targets).float(), torch.ones_like(losses)])
            total += (values * torch.as_tensor(weights)).sum(dim=1).double()
    torch.distributed.all_reduce(total)
    return (total[:2] / total[2]).tolist()


def torch_processes(path: str, rank: int, world: int, port: int) -> Found:
    """Processes of PyTorch's: Keras's own way, where there is one, and a training loop of one's own."""
    import torch

    before = kseq.Batches(path, "train", batch_size=7)
    alone = _fit(path, 7 * world, remainder="drop")
    torch.distributed.init_process_group("gloo", f"tcp://localhost:{port}", rank=rank, world_size=world)
    found: Found = {"alone": alone, "untrained": _evaluate(path), "made before": _refusal(lambda: before.batch(0, 0))}
    train = kseq.ShardSequence(path, "train", batch_size=7, seed=3)
    val = kseq.ShardSequence(path, "val", batch_size=7)
    found["rank"] = [train.batches.rank, train.batches.world_size]
    model = _model()
    found["fit"] = _refusal(lambda: model.fit(train, verbose=0))
    found["evaluate"] = _refusal(lambda: model.evaluate(val, verbose=0))
    train.epoch = 0
    if not found["fit"]:
        # From Keras 3.16 on.
        found["fitted"] = _fit(path, 7)
    found["everything"] = _evaluate(path)
    found["together"] = _torch_evaluation(_model(), val)
    found["loop"] = _torch_loop(_model(), train, val)
    torch.distributed.destroy_process_group()
    return found


def torch_distribution(path: str, rank: int, world: int, port: int) -> Found:
    """Processes that `keras.distribution` connects on PyTorch, as it does from Keras 3.16 on, with and without its sharing."""
    import keras
    import torch

    alone = _fit(path, 7 * world, remainder="drop")
    untrained = _evaluate(path)
    keras.distribution.initialize(f"localhost:{port}", world, rank)
    found: Found = {"alone": alone, "untrained": untrained}
    for auto_shard in (True, False):
        keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=auto_shard))
        single = kseq.ShardSequence(path, "train", batch_size=7, rank=0, world_size=1)
        refusal = _refusal(lambda single=single: _model().fit(single, verbose=0))
        single.close()
        found[str(auto_shard)] = {
            "without ranks": refusal,
            "evaluated": _evaluated_together(path),
            "fitted": _fit(path, 7),
        }
    torch.distributed.destroy_process_group()
    return found


def _torch_loop(model: Any, train: kseq.ShardSequence, val: kseq.ShardSequence) -> Found:
    import torch

    parallel = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(parallel.parameters(), 0.1)
    loss_of = torch.nn.functional.cross_entropy
    ids = []
    for _ in range(EPOCHS):
        for images, labels in train:
            ids.append(numbers_of(images).tolist())
            optimizer.zero_grad()
            loss_of(parallel(torch.as_tensor(images)), torch.as_tensor(labels).long()).backward()
            optimizer.step()
    return {"ids": ids, "weights": _weights(model), "loss": _torch_evaluation(model, val)[0]}


def _fails_on(rank: int, failing: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function over a batch that fails on one rank, after some batches."""
    batches = iter(range(1_000_000))

    def fail(images: np.ndarray) -> np.ndarray:
        if rank == failing and next(batches) == 8:
            raise FloatingPointError("my own trouble")
        return images

    return fail


def failing_jax_first(path: str, rank: int, world: int, port: int) -> Found:
    """Processes of `keras.distribution`, of which the first fails in its data."""
    import keras

    keras.distribution.initialize(f"localhost:{port}", world, rank)
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    train = kseq.ShardSequence(path, "train", batch_size=7, augment=[_fails_on(rank, 0)])
    model = _model()
    model.fit(train, epochs=20, verbose=0)
    return {}


def failing_jax_early(path: str, rank: int, world: int, port: int) -> Found:
    """Processes of `keras.distribution`, of which the last has no dataset."""
    import keras

    keras.distribution.initialize(f"localhost:{port}", world, rank)
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    train = kseq.ShardSequence(path if rank < world - 1 else f"{path}-elsewhere", "train", batch_size=7)
    _model().fit(train, epochs=20, verbose=0)
    return {}


def resumed_jax(path: str, rank: int, world: int, port: int) -> Found:
    """A script with ResumeTraining in processes of `keras.distribution`; the last rank may fail in the middle of an epoch.

    `KSEQ_TEST_CHECKPOINTS` is its folder, `KSEQ_TEST_FAILS` the step after which it fails.
    """
    import keras

    keras.distribution.initialize(f"localhost:{port}", world, rank)
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    return _resumed(path, rank, world)


def elastic_jax(path: str, rank: int, world: int, port: int) -> Found:
    """The same with a global batch that most numbers of ranks do not divide; one process needs no connection."""
    import keras

    if world > 1:
        keras.distribution.initialize(f"localhost:{port}", world, rank)
        keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    return _resumed(path, rank, world, global_batch_size=15)


def resumed_torch(path: str, rank: int, world: int, port: int) -> Found:
    """The same in processes of torch, where Keras connects them."""
    import torch

    torch.distributed.init_process_group("gloo", f"tcp://localhost:{port}", rank=rank, world_size=world)
    with kseq.ShardSequence(path, "train", batch_size=7) as sequence:
        refusal = _refusal(lambda: _model().fit(sequence, verbose=0))
    found = {"refused": refusal} if refusal else _resumed(path, rank, world)
    torch.distributed.destroy_process_group()
    return found


def _resumed(path: str, rank: int, world: int, **arguments: Any) -> Found:
    import keras

    fails_after = int(os.environ.get("KSEQ_TEST_FAILS", "0"))
    notes: list[list[int]] = []

    def note(epoch: int, batch: int) -> None:
        notes.append([epoch, batch])
        if rank == world - 1 and len(notes) == fails_after:
            raise FloatingPointError("my own trouble")

    model = _model()
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    train = kseq.ShardSequence(path, "train", seed=3, **(arguments or {"batch_size": 7}))
    calls: Any = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: note(train.epoch, batch))
    resume = kseq.ResumeTraining(os.environ["KSEQ_TEST_CHECKPOINTS"], every=1)
    history = model.fit(train, epochs=3, verbose=0, callbacks=[resume, calls])
    return {
        "steps": notes,
        "ids": [ids for ids, _ in model.records],
        "records": model.records,
        "weights": _weights(model),
        "epochs": history.epoch,
        "history": history.history,
    }


def failing_torch(path: str, rank: int, world: int, port: int) -> Found:
    """Processes of torch in a loop of one's own, of which the last catches its error and ends later."""
    import torch

    torch.distributed.init_process_group("gloo", f"tcp://localhost:{port}", rank=rank, world_size=world)
    total = torch.zeros(1)
    batches = kseq.Batches(path, "train", batch_size=7, augment=[_fails_on(rank, world - 1)])
    try:
        for epoch in range(20):
            for _ in batches.epoch(epoch):
                torch.distributed.all_reduce(total)
    except FloatingPointError as error:
        raise SystemExit(3) from error
    return {}


def failing_tensorflow(path: str, rank: int, world: int, port: int) -> Found:
    """Workers of TensorFlow in a loop of one's own, of which the last fails in its data."""
    os.environ["TF_CONFIG"] = json.dumps(
        {
            "cluster": {"worker": [f"localhost:{port + number}" for number in range(world)]},
            "task": {"type": "worker", "index": rank},
        }
    )
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    batches = kseq.Batches(path, "train", batch_size=7, augment=[_fails_on(rank, world - 1)])

    @tf.function
    def step(x: Any) -> Any:
        def replica(x: Any) -> Any:
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.reduce_sum(tf.cast(x, tf.float32)))

        return strategy.run(replica, args=(x,))

    for epoch in range(20):
        for x, _ in batches.epoch(epoch):
            step(tf.convert_to_tensor(x))
    return {}


def main() -> None:
    program, path, *numbers = sys.argv[1:]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = globals()[program](path, *map(int, numbers))
    found["warnings"] = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    print(json.dumps(found))
