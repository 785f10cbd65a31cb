"""Measures what a training step costs as the catalog grows.

    python -m benchmarks.item_sampling [--num_items 17768,1000000] [...]

Uses the paper's layers, a lazy optimizer, and the same numbers of ratings per
user and of sampled items per batch for every catalog. Rounds are
interleaved. Prints JSON lines: one per catalog, then the ratio of the largest
catalog to the smallest and the peak resident memory of the process.
"""

import json
import os
import resource
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# As `trainer.task` does.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")

import tensorflow as tf
from absl import app, flags

from benchmarks.batches import make_batches
from trainer.model.autoencoder import AutoEncoder
from trainer.model.optimizers import Momentum

_NUM_ITEMS = flags.DEFINE_list(
    "num_items", ["17768", "1000000"], "Catalog sizes, ascending."
)
_NUM_SAMPLED_ITEMS = flags.DEFINE_integer(
    "num_sampled_items", 4000, "Items sampled per batch."
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 7, "Interleaved rounds.", lower_bound=2
)

_BATCH_SIZE = 128
_RATINGS_PER_USER = 200
_STEPS = 4


class _Training:
    """Trains a model of one catalog on batches in memory."""

    def __init__(self, num_items: int) -> None:
        self.num_items = num_items
        model = AutoEncoder(
            num_items, num_sampled_items=_NUM_SAMPLED_ITEMS.value
        )
        model.compile(Momentum(0.001, lazy=True))
        model.optimizer.build(model.trainable_variables)
        self._train_step = tf.function(model.train_step, reduce_retracing=True)
        shape = (_BATCH_SIZE, num_items)
        self._batches = [
            tf.SparseTensor(*batch, shape)
            for batch in make_batches(
                4, num_items, _BATCH_SIZE, _RATINGS_PER_USER
            )
        ]

    def run(self) -> float:
        """Trains one round; returns the seconds per step."""
        start = time.perf_counter()
        for number in range(_STEPS):
            batch = self._batches[number % len(self._batches)]
            float(self._train_step(batch)["loss"])
        return (time.perf_counter() - start) / _STEPS


def main(_: list[str]) -> None:
    """Measures every catalog."""
    trainings = [_Training(int(size)) for size in _NUM_ITEMS.value]
    for training in trainings:
        training.run()  # Traces and warms up.
    rounds = [
        [training.run() for training in trainings] for _ in range(_ROUNDS.value)
    ]
    for training, seconds in zip(
        trainings, zip(*rounds, strict=True), strict=True
    ):
        low, median, high = statistics.quantiles(seconds, n=4)
        print(
            json.dumps(
                {
                    "benchmark": "item_sampling",
                    "num_items": training.num_items,
                    "num_sampled_items": _NUM_SAMPLED_ITEMS.value,
                    "milliseconds": round(1e3 * median, 1),
                    "quartiles": [round(1e3 * low, 1), round(1e3 * high, 1)],
                }
            ),
            flush=True,
        )
    peak_kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {
                "benchmark": "item_sampling",
                "ratio": round(
                    statistics.median(row[-1] / row[0] for row in rounds), 2
                ),
                "peak_megabytes": peak_kilobytes // 1024,
            }
        )
    )


if __name__ == "__main__":
    app.run(main)
