"""Measures what a checkpoint within an epoch costs.

    python -m benchmarks.checkpoints [--num_items 17768] [--minutes 5]

Saves the state of the paper's network, after one training step each, on the
disk of `--work_dir`. Prints a JSON line per checkpoint, and one with the median
and its share of the time between two checkpoints.
"""

import json
import os
import shutil
import statistics
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# As `trainer.task` does.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")

import numpy as np
import tensorflow as tf
from absl import app, flags

from data_prep.dataset.items import Items
from trainer.job.checkpoints import Checkpoints, CheckpointSchedule
from trainer.job.paths import JobPaths
from trainer.recipes import PAPER
from trainer.training.train import create_model

_NUM_ITEMS = flags.DEFINE_integer(
    "num_items", 17_768, "Size of the catalog; by default that of Netflix."
)
_MINUTES = flags.DEFINE_float(
    "minutes", CheckpointSchedule.minutes, "Minutes between two checkpoints."
)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Checkpoints to write.")
_WORK_DIR = flags.DEFINE_string(
    "work_dir", None, "Directory of the checkpoints. Default: a temporary one."
)

_NUM_USERS = 128
_RATINGS_PER_USER = 200


def main(_: list[str]) -> None:
    """Saves checkpoints and prints what they cost."""
    work_dir = tempfile.mkdtemp(dir=_WORK_DIR.value)
    try:
        _measure(work_dir)
    finally:
        shutil.rmtree(work_dir)


def _measure(work_dir: str) -> None:
    num_items = _NUM_ITEMS.value
    items = Items(
        [str(item) for item in range(num_items)],
        np.ones(num_items, np.int64),
        np.full(num_items, 3.0),
        [None] * num_items,
    )
    strategy = tf.distribute.get_strategy()
    model = create_model(PAPER, items)
    paths = JobPaths.resolve(work_dir, environ={})
    checkpoints = Checkpoints(model, paths, strategy, _ROUNDS.value + 1)
    step = tf.function(model.train_step)
    batch = _make_batch(num_items)
    seconds = []
    for num_batches in range(1, _ROUNDS.value + 1):
        float(step(batch)["loss"])
        start = time.perf_counter()
        checkpoints.record_batches(num_batches)
        checkpoints.save()
        seconds.append(time.perf_counter() - start)
        _report(measured="checkpoint", seconds=round(seconds[-1], 3))
    median = statistics.median(seconds)
    (state, *_) = tf.io.gfile.glob(f"{paths.latest_checkpoint_dir}/*.data-*")
    _report(
        measured="checkpoints",
        items=num_items,
        megabytes=round(os.path.getsize(state) / 1e6, 1),
        median_seconds=round(median, 3),
        seconds_between=_MINUTES.value * 60,
        share_of_time=round(median / (median + _MINUTES.value * 60), 5),
    )


def _make_batch(num_items: int) -> tf.SparseTensor:
    rng = np.random.default_rng(0)
    num_rated = min(_RATINGS_PER_USER, num_items)
    items = [
        np.sort(rng.choice(num_items, num_rated, replace=False))
        for _ in range(_NUM_USERS)
    ]
    users = np.repeat(np.arange(_NUM_USERS), num_rated)
    return tf.SparseTensor(
        np.stack([users, np.concatenate(items)], axis=1),
        rng.integers(1, 6, len(users)).astype(np.float32),
        [_NUM_USERS, num_items],
    )


def _report(**values: object) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    app.run(main)
