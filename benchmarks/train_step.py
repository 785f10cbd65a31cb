"""Compares a training step with plain dense ones in PyTorch and Keras.

    python -m benchmarks.train_step [--num_items 17768] [--rounds 7] [...]

All three train the paper's network for Netflix on the same batches from the
same start, float32, SGD with momentum, with and without re-feeding. Rounds
are interleaved, and ratios are taken within a round, so that a busy machine
slows all of them alike. Prints JSON lines: one a step and setting, with
medians and quartiles in milliseconds, and the ratios last.
"""

import itertools
import json
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# As `trainer.task` does; the Keras step has it, too.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")

import keras
import numpy as np
import tensorflow as tf
import torch
from absl import app, flags

from benchmarks.batches import Batch, make_batches
from trainer.autoencoder import AutoEncoder
from trainer.optimizers import Momentum

_NUM_ITEMS = flags.DEFINE_integer("num_items", 17_768, "Catalogue size.")
_HIDDEN_UNITS = flags.DEFINE_multi_integer(
    "hidden_units", [512, 512, 1024], "Encoder layers, the code last."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Users a batch.")
_RATINGS_PER_USER = flags.DEFINE_integer(
    "ratings_per_user", 200, "Mean number of ratings of a user."
)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Interleaved rounds.")
_STEPS = flags.DEFINE_integer("steps", 4, "Steps a round.")

_LEARNING_RATE = 0.005
_MOMENTUM = 0.9


def main(_: list[str]) -> None:
    """Measures every step for each number of re-feeds."""
    batches = list(
        make_batches(
            8, _NUM_ITEMS.value, _BATCH_SIZE.value, _RATINGS_PER_USER.value
        )
    )
    ratios = {}
    for num_refeeds in (0, 1):
        steps = _make_steps(num_refeeds, batches)
        for _, step in steps.items():
            step(0)  # Traces and warms up.
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(_ROUNDS.value):
            for name, step in steps.items():
                start = time.perf_counter()
                for number in range(_STEPS.value):
                    step(number % len(batches))
                seconds[name].append(
                    (time.perf_counter() - start) / _STEPS.value
                )
        for name, values in seconds.items():
            low, median, high = statistics.quantiles(values, n=4)
            print(
                json.dumps(
                    {
                        "benchmark": "train_step",
                        "step": name,
                        "refeeds": num_refeeds,
                        "milliseconds": round(1e3 * median, 1),
                        "quartiles": [
                            round(1e3 * low, 1),
                            round(1e3 * high, 1),
                        ],
                        "users_per_second": round(_BATCH_SIZE.value / median),
                    }
                ),
                flush=True,
            )
        ratios[num_refeeds] = {
            f"ratio_to_{other}": round(
                statistics.median(
                    theirs / ours
                    for theirs, ours in zip(
                        seconds[other], seconds["project"], strict=True
                    )
                ),
                2,
            )
            for other in ("pytorch", "keras")
        }
    print(json.dumps({"benchmark": "train_step", "refeeds": ratios}))


def _make_steps(
    num_refeeds: int, batches: list[Batch]
) -> dict[str, Callable[[int], None]]:
    """Makes a function of the batch's number for each contender."""
    model = AutoEncoder(
        _NUM_ITEMS.value,
        hidden_units=_HIDDEN_UNITS.value,
        num_refeeds=num_refeeds,
    )
    model.compile(Momentum(_LEARNING_RATE, _MOMENTUM))
    model.optimizer.build(model.trainable_variables)
    return {
        "project": _project_step(model, batches),
        "pytorch": _pytorch_step(num_refeeds, batches),
        "keras": _keras_step(num_refeeds, batches),
    }


def _project_step(
    model: AutoEncoder, batches: list[Batch]
) -> Callable[[int], None]:
    shape = (_BATCH_SIZE.value, _NUM_ITEMS.value)
    ratings = [tf.SparseTensor(*batch, shape) for batch in batches]
    train_step = tf.function(model.train_step, reduce_retracing=True)

    def step(number: int) -> None:
        float(train_step(ratings[number])["loss"])

    return step


def _dense(batch: Batch) -> np.ndarray:
    indices, values = batch
    dense = np.zeros((_BATCH_SIZE.value, _NUM_ITEMS.value), np.float32)
    dense[tuple(indices.T)] = values
    return dense


def _pytorch_step(
    num_refeeds: int, batches: list[Batch]
) -> Callable[[int], None]:
    """The step of the authors' code, with layers as its users write them."""
    encoder = [_NUM_ITEMS.value, *_HIDDEN_UNITS.value]
    layers: list[torch.nn.Module] = []
    sizes = [*encoder, *encoder[-2::-1]]
    for position, (inputs, outputs) in enumerate(
        itertools.pairwise(sizes), start=1
    ):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.SELU()]
        if position == len(encoder) - 1:
            layers.append(torch.nn.Dropout(0.8))
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=_LEARNING_RATE, momentum=_MOMENTUM
    )
    ratings = [torch.from_numpy(_dense(batch)) for batch in batches]

    def update(inputs: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        mask = inputs != 0
        outputs = model(inputs)
        loss = ((outputs - inputs) * mask).square().sum() / mask.sum()
        loss.backward()
        optimizer.step()
        return outputs.detach()

    def step(number: int) -> None:
        outputs = update(ratings[number])
        for _ in range(num_refeeds):
            outputs = update(outputs)

    return step


def _keras_step(
    num_refeeds: int, batches: list[Batch]
) -> Callable[[int], None]:
    """The same with Dense layers over dense rows, as a graph."""
    sizes = [*_HIDDEN_UNITS.value, *_HIDDEN_UNITS.value[-2::-1]]
    layers: list[keras.layers.Layer] = [keras.Input((_NUM_ITEMS.value,))]
    for position, units in enumerate((*sizes, _NUM_ITEMS.value), start=1):
        layers.append(keras.layers.Dense(units, activation="selu"))
        if position == len(_HIDDEN_UNITS.value):
            layers.append(keras.layers.Dropout(0.8))
    model = keras.Sequential(layers)
    optimizer = keras.optimizers.SGD(_LEARNING_RATE, momentum=_MOMENTUM)
    optimizer.build(model.trainable_variables)
    ratings = [tf.constant(_dense(batch)) for batch in batches]

    def update(inputs: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            mask = tf.cast(inputs != 0, tf.float32)
            loss = tf.reduce_sum(mask * (outputs - inputs) ** 2)
            loss /= tf.reduce_sum(mask)
        weights = model.trainable_variables
        optimizer.apply_gradients(
            zip(tape.gradient(loss, weights), weights, strict=True)
        )
        return outputs

    @tf.function
    def train_step(inputs: tf.Tensor) -> tf.Tensor:
        outputs = update(inputs)
        for _ in range(num_refeeds):
            outputs = update(tf.stop_gradient(outputs))
        return outputs[0, 0]

    def step(number: int) -> None:
        float(train_step(ratings[number]))

    return step


if __name__ == "__main__":
    app.run(main)
