"""Accuracy, time and memory of the teachers on prepared data.

    python -m benchmarks.teachers --data_dir DIR [--rank 32] [--seed 0]

fits the teachers to the training ratings and prints, for validation and test,
the RMSE of the biases and of the factorization in the graph: over all users,
by the length of their histories, and, of every user, with only some of their
ratings shown. `--left_out .1` leaves a tenth of the users out of the fit and
gives their RMSE apart.
"""

import dataclasses
import itertools
import resource
import time

import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from data_prep.records import list_shards
from data_prep.vocabulary import read_items
from trainer.baselines import Biases
from trainer.input_pipeline import evaluation_batches
from trainer.teachers.bayesian_factorization import FactorizationConfig, fit
from trainer.teachers.ridge_encoders import RidgeEncoders
from trainer.teachers.training_ratings import (
    TrainingRatings,
    read_training_ratings,
)

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Prepared data.")
_LEFT_OUT = flags.DEFINE_float("left_out", 0.0, "Share of users left out.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "State of the chain.")
_CONFIG = {
    field.name: (flags.DEFINE_float if field.type is float else flags.DEFINE_integer)(
        field.name, field.default, f"`FactorizationConfig.{field.name}`."
    )
    for field in dataclasses.fields(FactorizationConfig)
}

#: Bounds of the lengths of histories that are told apart.
_LENGTHS = (0, 5, 10, 20, 50, 200, 1_000_000)

#: Ratings shown.
_SHOWN = (0, 1, 2, 3, 10, 30)


def leave_users_out(
    ratings: TrainingRatings, share: float
) -> tuple[TrainingRatings, np.ndarray]:
    """Takes the ratings of some users away; says whose."""
    is_out = np.random.default_rng(5).random(ratings.num_users) < share
    lengths = np.diff(ratings.starts)
    kept = np.repeat(~is_out, lengths)
    starts = np.concatenate([[0], np.cumsum(np.where(is_out, 0, lengths))])
    return dataclasses.replace(
        ratings,
        starts=starts,
        items=ratings.items[kept],
        values=ratings.values[kept],
    ), is_out


def show(ratings: tf.SparseTensor, num_shown: int) -> tf.SparseTensor:
    """Keeps so many random ratings of each user."""
    users = ratings.indices.numpy()[:, 0]
    order = np.lexsort((np.random.default_rng(0).random(len(users)), users))
    rank = np.empty(len(users), int)
    rank[order] = np.arange(len(users)) - np.searchsorted(users, users)
    return tf.sparse.retain(ratings, rank < num_shown)


def rmse(errors: np.ndarray) -> float:
    """Root of the mean square; NaN of none."""
    return float(np.sqrt(np.mean(errors**2))) if len(errors) else float("nan")


def main(_: list[str]) -> None:
    """Fits, measures, prints."""
    logging.set_verbosity(logging.INFO)
    data_dir = _DATA_DIR.value
    start = time.monotonic()
    ratings, is_out = leave_users_out(
        read_training_ratings(data_dir), _LEFT_OUT.value
    )
    print(f"read in {time.monotonic() - start:.1f} s", flush=True)
    start = time.monotonic()
    config = FactorizationConfig(**{n: f.value for n, f in _CONFIG.items()})
    posterior = fit(ratings, config, _CHECKPOINT.value)
    print(f"{config} fitted in {time.monotonic() - start:.1f} s", flush=True)
    counts = np.bincount(ratings.items, minlength=ratings.num_items)
    sums = np.bincount(ratings.items, ratings.values, ratings.num_items)
    means = sums / np.maximum(counts, 1)
    biases = Biases(counts, means, "user_item")
    encoders = RidgeEncoders.from_posterior(posterior, counts, means)
    shards = list_shards(data_dir)

    @tf.function(reduce_retracing=True)
    def predict(history, held_out):
        return [
            tf.gather_nd(model(history), held_out.indices)
            for model in (biases, encoders)
        ]

    def errors(group, num_shown=None):
        rows = []
        for history, held_out in evaluation_batches(
            shards, ratings.num_items, 128, group
        ):
            users = held_out.indices.numpy()[:, 0]
            lengths = np.bincount(history.indices.numpy()[:, 0], minlength=history.shape[0])[users]
            if num_shown is not None:
                history = show(history, num_shown)
            rows.append(
                np.stack([*(p - held_out.values for p in predict(history, held_out)), lengths])
            )
        return np.concatenate(rows, axis=1)

    def line(name, selected, of):
        print(f"{name:28s} biases {rmse(of[0][selected]):.4f} encoders {rmse(of[1][selected]):.5f} ({np.sum(selected)} ratings)", flush=True)

    for group in ("validation", "test"):
        start = time.monotonic()
        of = errors(group)
        print(f"{group}: {time.monotonic() - start:.1f} s")
        line(group, of[2] >= 0, of)
        for low, high in itertools.pairwise(_LENGTHS):
            line(f"  {low}..{high - 1} ratings", (of[2] >= low) & (of[2] < high), of)
    for num_shown in _SHOWN:
        of = errors("validation", num_shown)
        line(f"validation, {num_shown} shown", of[2] >= 0, of)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    flags.mark_flag_as_required("data_dir")
    app.run(main)
