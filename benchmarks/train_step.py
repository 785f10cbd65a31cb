"""Compares a training step with plain dense ones in PyTorch and Keras.

    python -m benchmarks.train_step [--num_items 17768] [--device gpu] [...]

All three train the paper's network for Netflix on the same batches from the
same initial weights in float32 by SGD with momentum, with and without
re-feeding. First without dropout, which each draws in its own way, to check
that their weights are the same after 20 steps. Then with dropout, to time a
step: rounds are interleaved, and ratios are taken within a round, so that a
busy machine slows all of them alike. Prints JSON lines: one per step and
setting, with median and quartiles in milliseconds, and the ratios last.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# As `trainer.task` does; the Keras step has it, too.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")

import keras
import numpy as np
import tensorflow as tf
import torch
from absl import app, flags

from benchmarks.batches import Batch, make_batches
from benchmarks.torch_network import make_network, make_update
from trainer.model.autoencoder import AutoEncoder
from trainer.model.optimizers import Momentum

_NUM_ITEMS = flags.DEFINE_integer("num_items", 17_768, "Catalog size.")
_HIDDEN_UNITS = flags.DEFINE_multi_integer(
    "hidden_units", [512, 512, 1024], "Encoder layers, the code last."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Users per batch.")
_RATINGS_PER_USER = flags.DEFINE_integer(
    "ratings_per_user", 200, "Mean number of ratings per user."
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 7, "Interleaved rounds.", lower_bound=2
)
_DEVICE = flags.DEFINE_enum(
    "device", "cpu", ["cpu", "gpu"], "Device that all of them run on."
)
_STEPS = flags.DEFINE_integer("steps", 4, "Steps per round.")

_LEARNING_RATE = 0.005
_MOMENTUM = 0.9
_DROPOUT_RATE = 0.8
_COMPARED_STEPS = 20


#: Kernel `(inputs, outputs)` and bias of each layer, first to last.
_Weights = list[tuple[np.ndarray, np.ndarray]]


class _Contender(NamedTuple):
    """An implementation of the training step.

    Attributes:
        step: trains on the batch with a given number.
        read_weights: returns the weights.
    """

    step: Callable[[int], None]
    read_weights: Callable[[], _Weights]


def main(_: list[str]) -> None:
    """Compares the results, then the times, for each number of re-feeds."""
    _choose_device()
    batches = list(
        make_batches(
            8, _NUM_ITEMS.value, _BATCH_SIZE.value, _RATINGS_PER_USER.value
        )
    )
    ratios = {}
    for num_refeeds in (0, 1):
        _compare_results(num_refeeds, batches)
        ratios[num_refeeds] = _compare_times(num_refeeds, batches)
    _report(refeeds=ratios)


def _report(**values: object) -> None:
    print(json.dumps({"benchmark": "train_step", **values}), flush=True)


def _choose_device() -> None:
    """Makes the chosen device the only one, and lets it compute in float32."""
    if _DEVICE.value == "cpu":
        tf.config.set_visible_devices([], "GPU")
    elif not tf.config.list_physical_devices("GPU"):
        raise SystemExit("error: TensorFlow sees no GPU. Try --device cpu.")
    elif not torch.cuda.is_available():
        raise SystemExit(
            "error: this PyTorch sees no GPU. Install a CUDA build of it."
        )
    tf.config.experimental.enable_tensor_float_32_execution(False)


def _compare_results(num_refeeds: int, batches: list[Batch]) -> None:
    """Reports the largest difference of weights after some steps."""
    weights = {}
    for name, contender in _make_contenders(num_refeeds, 0.0, batches):
        for number in range(_COMPARED_STEPS):
            contender.step(number % len(batches))
        weights[name] = contender.read_weights()
    ours = weights.pop("project")
    for name, theirs in weights.items():
        differences = [
            np.abs(mine - other).max()
            for layer, other_layer in zip(ours, theirs, strict=True)
            for mine, other in zip(layer, other_layer, strict=True)
        ]
        _report(
            compared_with=name,
            refeeds=num_refeeds,
            steps=_COMPARED_STEPS,
            largest_difference_of_a_weight=float(f"{max(differences):.1e}"),
        )


def _compare_times(num_refeeds: int, batches: list[Batch]) -> dict[str, float]:
    """Reports the time per step; returns the ratios of the others to ours."""
    contenders = dict(_make_contenders(num_refeeds, _DROPOUT_RATE, batches))
    for contender in contenders.values():
        contender.step(0)  # Traces and warms up.
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(_ROUNDS.value):
        for name, contender in contenders.items():
            start = time.perf_counter()
            for number in range(_STEPS.value):
                contender.step(number % len(batches))
            seconds[name].append((time.perf_counter() - start) / _STEPS.value)
    for name, values in seconds.items():
        low, median, high = statistics.quantiles(values, n=4)
        _report(
            step=name,
            refeeds=num_refeeds,
            milliseconds=round(1e3 * median, 1),
            quartiles=[round(1e3 * low, 1), round(1e3 * high, 1)],
            users_per_second=round(_BATCH_SIZE.value / median),
        )
    ours = seconds.pop("project")
    return {
        f"ratio_to_{name}": round(
            statistics.median(
                theirs / mine for theirs, mine in zip(values, ours, strict=True)
            ),
            2,
        )
        for name, values in seconds.items()
    }


def _make_contenders(
    num_refeeds: int, dropout_rate: float, batches: list[Batch]
) -> Iterator[tuple[str, _Contender]]:
    """Yields each contender by name, all with the same initial weights."""
    model = AutoEncoder(
        _NUM_ITEMS.value,
        hidden_units=_HIDDEN_UNITS.value,
        dropout_rate=dropout_rate,
        num_refeeds=num_refeeds,
    )
    project = _make_project(model, batches)
    arguments = project.read_weights(), num_refeeds, dropout_rate, batches
    yield "project", project
    yield "pytorch", _make_pytorch(*arguments)
    yield "keras", _make_keras(*arguments)


def _make_project(model: AutoEncoder, batches: list[Batch]) -> _Contender:
    model.compile(Momentum(_LEARNING_RATE, _MOMENTUM))
    model.optimizer.build(model.trainable_variables)
    shape = (_BATCH_SIZE.value, _NUM_ITEMS.value)
    ratings = [tf.SparseTensor(*batch, shape) for batch in batches]
    train_step = tf.function(model.train_step, reduce_retracing=True)

    def step(number: int) -> None:
        float(train_step(ratings[number])["loss"])

    def read_weights() -> _Weights:
        layers = model.dense_layers
        return [
            *((layer.kernel.numpy(), layer.bias.numpy()) for layer in layers),
            *(
                (layer.reverse_kernel.numpy().T, layer.reverse_bias.numpy())
                for layer in reversed(layers)
            ),
        ]

    return _Contender(step, read_weights)


def _to_dense(batch: Batch) -> np.ndarray:
    indices, values = batch
    dense = np.zeros((_BATCH_SIZE.value, _NUM_ITEMS.value), np.float32)
    dense[tuple(indices.T)] = values
    return dense


def _make_pytorch(
    start: _Weights,
    num_refeeds: int,
    dropout_rate: float,
    batches: list[Batch],
) -> _Contender:
    """Makes the step of the authors' code, of plain PyTorch layers."""
    device = "cuda" if _DEVICE.value == "gpu" else "cpu"
    model = make_network(
        _NUM_ITEMS.value, _HIDDEN_UNITS.value, dropout_rate
    ).to(device)
    linear = [layer for layer in model if isinstance(layer, torch.nn.Linear)]
    for layer, (kernel, bias) in zip(linear, start, strict=True):
        layer.weight.data = torch.from_numpy(kernel.T.copy()).to(device)
        layer.bias.data = torch.from_numpy(bias.copy()).to(device)
    update = make_update(model, _LEARNING_RATE, _MOMENTUM)
    ratings = [
        torch.from_numpy(_to_dense(batch)).to(device) for batch in batches
    ]

    def step(number: int) -> None:
        outputs, loss = update(ratings[number])
        for _ in range(num_refeeds):
            outputs, _ = update(outputs)
        float(loss)
        if device == "cuda":
            torch.cuda.synchronize()

    def read_weights() -> _Weights:
        return [
            (
                layer.weight.detach().cpu().numpy().T.copy(),
                layer.bias.detach().cpu().numpy().copy(),
            )
            for layer in linear
        ]

    return _Contender(step, read_weights)


def _make_keras(
    start: _Weights,
    num_refeeds: int,
    dropout_rate: float,
    batches: list[Batch],
) -> _Contender:
    """Makes the same step of Keras' Dense layers over dense rows."""
    dense = [
        keras.layers.Dense(kernel.shape[1], activation="selu")
        for kernel, _ in start
    ]
    layers: list[keras.layers.Layer] = [keras.Input((_NUM_ITEMS.value,))]
    for position, layer in enumerate(dense, start=1):
        layers.append(layer)
        if position == len(_HIDDEN_UNITS.value):
            layers.append(keras.layers.Dropout(dropout_rate))
    model = keras.Sequential(layers)
    for layer, weights in zip(dense, start, strict=True):
        layer.set_weights(weights)
    optimizer = keras.optimizers.SGD(_LEARNING_RATE, momentum=_MOMENTUM)
    optimizer.build(model.trainable_variables)
    ratings = [tf.constant(_to_dense(batch)) for batch in batches]

    def update(inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            mask = tf.cast(inputs != 0, tf.float32)
            loss = tf.reduce_sum(mask * (outputs - inputs) ** 2)
            loss /= tf.reduce_sum(mask)
        weights = model.trainable_variables
        optimizer.apply_gradients(
            zip(tape.gradient(loss, weights), weights, strict=True)
        )
        return tf.stop_gradient(outputs), loss

    @tf.function
    def train_step(inputs: tf.Tensor) -> tf.Tensor:
        outputs, loss = update(inputs)
        for _ in range(num_refeeds):
            outputs, _ = update(outputs)
        return loss

    def step(number: int) -> None:
        float(train_step(ratings[number]))

    return _Contender(step, lambda: [layer.get_weights() for layer in dense])


if __name__ == "__main__":
    app.run(main)
