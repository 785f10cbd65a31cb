"""Measures accuracy, time and memory of the teachers on prepared data.

    python -m benchmarks.teachers --data_dir DIR [--rank 32] [--seed 0] [...]

Fits both teachers to the training ratings and prints JSON lines: the RMSE of
the biases and of the factorization, and the NDCG@10 of EASE over liked and
over all held-out ratings. With `--left_out .1`, a tenth of the users is left
out of the fits, and what the teachers answer them is a line of its own.
"""

import dataclasses
import itertools
import json
import resource
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from data_prep.dataset.records import list_shards, parse_users
from trainer.evaluation.baselines import Biases
from trainer.teachers import bayesian_factorization, ease
from trainer.teachers.ridge_encoders import RidgeEncoders
from trainer.teachers.training_ratings import (
    TrainingRatings,
    read_training_ratings,
)

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Prepared data.")
_LEFT_OUT = flags.DEFINE_float("left_out", 0.0, "Share of users left out.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "State of the chain.")
_SETTINGS = {
    field.name: (
        flags.DEFINE_float if field.type is float else flags.DEFINE_integer
    )(field.name, field.default, f"See `FactorizationConfig.{field.name}`.")
    for field in dataclasses.fields(bayesian_factorization.FactorizationConfig)
}

#: Users answered together.
_BATCH_SIZE = 128

#: Bounds of the lengths of history that are told apart.
_LENGTHS = (0, 5, 10, 20, 50, 200, 1_000_000)

#: Numbers of ratings shown instead of the whole history.
_SHOWN = (0, 1, 2, 3, 10, 30)


def main(_: list[str]) -> None:
    """Fits and measures."""
    logging.set_verbosity(logging.INFO)
    config = bayesian_factorization.FactorizationConfig(
        **{name: flag.value for name, flag in _SETTINGS.items()}
    )
    every = read_training_ratings(_DATA_DIR.value)
    is_out = np.random.default_rng(5).random(every.num_users) < _LEFT_OUT.value
    ratings = _leave_out(every, is_out)
    counts = np.bincount(ratings.items, minlength=ratings.num_items)
    sums = np.bincount(ratings.items, ratings.values, ratings.num_items)
    statistics = counts, sums / np.maximum(counts, 1)
    start = time.monotonic()
    posterior = bayesian_factorization.fit(ratings, config, _CHECKPOINT.value)
    _report(
        config=dataclasses.asdict(config),
        is_ordinal=posterior.is_ordinal,
        fit_seconds=round(time.monotonic() - start, 1),
        peak_mebibytes=_peak_mebibytes(),
    )
    _measure_rmse(
        tf.function(Biases(*statistics, "user_item"), reduce_retracing=True),
        tf.function(
            RidgeEncoders.from_posterior(posterior, *statistics),
            reduce_retracing=True,
        ),
        ratings.num_items,
        is_out,
    )
    start = time.monotonic()
    interest = ease.fit(ratings)
    _report(
        ease_fit_seconds=round(time.monotonic() - start, 1),
        peak_mebibytes=_peak_mebibytes(),
    )
    _measure_ndcg(interest, ratings.num_items, is_out)


def _leave_out(ratings: TrainingRatings, is_out: np.ndarray) -> TrainingRatings:
    """Takes the ratings of some users away."""
    lengths = np.diff(ratings.starts)
    is_kept = np.repeat(~is_out, lengths)
    return TrainingRatings(
        np.concatenate([[0], np.cumsum(np.where(is_out, 0, lengths))]),
        ratings.items[is_kept],
        ratings.values[is_kept],
        ratings.num_items,
    )


def _read(
    num_items: int, group: str
) -> Iterator[tuple[int, tf.SparseTensor, tf.SparseTensor]]:
    """Yields the first user's number, histories and held-out ratings."""
    shards = list_shards(_DATA_DIR.value)
    batches = tf.data.TFRecordDataset(shards).batch(_BATCH_SIZE)
    for number, batch in enumerate(batches):
        parsed = parse_users(batch, num_items, ["train", group])
        yield number * _BATCH_SIZE, parsed["train"], parsed[group]


def _measure_rmse(
    biases: tf.types.experimental.PolymorphicFunction,
    encoders: tf.types.experimental.PolymorphicFunction,
    num_items: int,
    is_out: np.ndarray,
) -> None:
    """Reports the RMSE of all users and of several sorts of them."""

    def errors(group: str, num_shown: int | None = None) -> np.ndarray:
        """Errors of both, history's length, number of the user; by rating."""
        rows = []
        for first, history, held_out in _read(num_items, group):
            lengths = np.bincount(
                history.indices[:, 0], minlength=history.shape[0]
            )
            shown = history if num_shown is None else _show(history, num_shown)
            users = held_out.indices.numpy()[:, 0]
            errors = [
                tf.gather_nd(model(shown), held_out.indices) - held_out.values
                for model in (biases, encoders)
            ]
            rows.append(np.stack([*errors, lengths[users], first + users]))
        return np.concatenate(rows, axis=1)

    def report(
        rows: np.ndarray, selected: np.ndarray, **values: object
    ) -> None:
        if np.any(selected):
            rmse = np.sqrt(np.mean(rows[:2, selected] ** 2, axis=1))
            _report(
                **values,
                num_ratings=int(np.sum(selected)),
                biases_rmse=round(float(rmse[0]), 5),
                encoders_rmse=round(float(rmse[1]), 5),
            )

    for group in ("validation", "test"):
        start = time.monotonic()
        rows = errors(group)
        seconds = round(time.monotonic() - start, 1)
        out = is_out[rows[3].astype(int)]
        report(rows, ~out, group=group, seconds=seconds)
        report(rows, out, group=group, users="left out")
        for low, high in itertools.pairwise(_LENGTHS):
            selected = (low <= rows[2]) & (rows[2] < high)
            report(rows, selected, group=group, history=[low, high - 1])
    for num_shown in _SHOWN:
        rows = errors("validation", num_shown)
        report(rows, rows[2] >= 0, group="validation", shown=num_shown)


def _show(history: tf.SparseTensor, num_shown: int) -> tf.SparseTensor:
    """Keeps so many random ratings of each user."""
    users = history.indices.numpy()[:, 0]
    order = np.lexsort((np.random.default_rng(0).random(len(users)), users))
    rank = np.empty(len(users), int)
    rank[order] = np.arange(len(users)) - np.searchsorted(users, users)
    return tf.sparse.retain(history, rank < num_shown)


def _measure_ndcg(
    interest: ease.Ease, num_items: int, is_out: np.ndarray
) -> None:
    """Reports the mean NDCG@10 of users with held-out ratings."""
    discounts = 1 / np.log2(np.arange(2, 12))
    for group in ("validation", "test"):
        rows = []
        for first, history, held_out in _read(num_items, group):
            scores = interest(history).numpy()
            scores[tuple(history.indices.numpy().T)] = -np.inf
            best = np.argsort(-scores, axis=1)[:, :10]
            users = first + np.arange(len(scores))
            for kind, least in (
                ("liked", float(interest.threshold)),
                ("all", -np.inf),
            ):
                relevant = np.zeros(scores.shape, bool)
                is_relevant = held_out.values.numpy() >= least
                relevant[tuple(held_out.indices.numpy()[is_relevant].T)] = True
                totals = relevant.sum(axis=1)
                hits = np.take_along_axis(relevant, best, axis=1)
                ideal = np.cumsum(discounts)[np.clip(totals, 1, 10) - 1]
                rows += [
                    (kind, is_out[user], ndcg)
                    for user, ndcg, total in zip(
                        users, hits @ discounts / ideal, totals, strict=True
                    )
                    if total
                ]
        for kind, out in itertools.product(("liked", "all"), (False, True)):
            values = [row[2] for row in rows if row[:2] == (kind, out)]
            if values:
                _report(
                    group=group,
                    users="left out" if out else "fitted",
                    relevant=kind,
                    num_users=len(values),
                    ease_ndcg_at_10=round(float(np.mean(values)), 4),
                )


def _peak_mebibytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _report(**values: object) -> None:
    print(json.dumps({"benchmark": "teachers", **values}), flush=True)


if __name__ == "__main__":
    flags.mark_flag_as_required("data_dir")
    app.run(main)
