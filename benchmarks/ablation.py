"""Measures what each part of the taught autoencoder is worth.

    python -m benchmarks.ablation --data_dir DIR --work_dir DIR [--seeds 0,1,2]

Fits the teachers and trains the network in steps, from an untaught one to the
whole model, without a tenth of the users. Prints a JSON line per row and seed:
RMSE of the users that took part and of those left out, ranking metrics of
both, seconds. A command that was stopped goes on after the last row in
`WORK_DIR/rows.jsonl`. Everything is chosen on validation ratings.
"""

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from data_prep.dataset.items import Items, read_items
from data_prep.dataset.records import list_shards, parse_users
from trainer.blend_weights import choose_network_weight, choose_rating_weight
from trainer.evaluation.baselines import Biases
from trainer.evaluation.ranking import RankingMetrics, rank_unrated
from trainer.optimizers import Adam
from trainer.rating_distribution import RatingDistribution
from trainer.taught_autoencoder import TaughtAutoEncoder
from trainer.teachers import bayesian_factorization, ease
from trainer.teachers.ridge_encoders import RidgeEncoders
from trainer.teachers.training_ratings import (
    TrainingRatings,
    read_training_ratings,
)

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Prepared data.")
_WORK_DIR = flags.DEFINE_string("work_dir", None, "Rows and teachers.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of the networks.")
_NUM_EPOCHS = flags.DEFINE_integer("num_epochs", 16, "Epochs of a network.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Users per batch.")
_LEARNING_RATE = flags.DEFINE_float(
    "learning_rate", 2e-3, "Highest rate; it falls to 0 along a cosine."
)
_LEFT_OUT = flags.DEFINE_float("left_out", 0.1, "Share of users left out.")

#: Users that are evaluated together.
_EVALUATED_USERS = 256

#: Share of the updates in which the learning rate rises.
_WARM_UP = 0.05

#: Students -> which teachers they have, and arguments of the network. Each has
#: what the one before has.
_STUDENTS: dict[str, tuple[bool, bool, dict[str, Any]]] = {
    "untaught": (False, False, {"whole_history_rate": 1.0, "num_refeeds": 0}),
    "+ rating teacher": (
        True,
        False,
        {"whole_history_rate": 1.0, "num_refeeds": 0},
    ),
    "+ parts of histories": (True, False, {"num_refeeds": 0}),
    "+ re-feeding": (True, False, {}),
    "+ interest teacher": (True, True, {}),
}

Answer = Callable[[tf.SparseTensor], tf.Tensor]


class Row(NamedTuple):
    """What is measured: an answer is `(batch_size, num_items)`."""

    ratings: Answer | None
    scores: Answer


@dataclasses.dataclass(frozen=True)
class Data:
    """Training ratings, and which users are left out of them."""

    ratings: TrainingRatings
    is_left_out: np.ndarray
    items: Items
    shards: list[str]

    def training(self) -> TrainingRatings:
        """Returns the ratings of the users that take part."""
        lengths = np.diff(self.ratings.starts)
        is_kept = np.repeat(~self.is_left_out, lengths)
        starts = np.cumsum(np.where(self.is_left_out, 0, lengths))
        return dataclasses.replace(
            self.ratings,
            starts=np.concatenate([[0], starts]),
            items=self.ratings.items[is_kept],
            values=self.ratings.values[is_kept],
        )

    def batch(self, users: np.ndarray) -> tf.SparseTensor:
        """Returns the training ratings of some users."""
        starts, ends = (
            self.ratings.starts[users],
            self.ratings.starts[users + 1],
        )
        places = np.concatenate(
            [np.arange(*bounds) for bounds in zip(starts, ends, strict=True)]
        )
        rows = np.repeat(np.arange(len(users)), ends - starts)
        return tf.SparseTensor(
            np.stack([rows, self.ratings.items[places]], axis=1),
            self.ratings.values[places],
            [len(users), self.ratings.num_items],
        )

    def held_out(self, group: str) -> tf.data.Dataset:
        """Reads training and held-out ratings, in the order of the users."""

        def parse(users: tf.Tensor) -> tuple[tf.SparseTensor, tf.SparseTensor]:
            parsed = parse_users(
                users, self.ratings.num_items, ["train", group]
            )
            return parsed["train"], parsed[group]

        users = tf.data.TFRecordDataset(self.shards).batch(_EVALUATED_USERS)
        return users.map(parse).prefetch(1)


def read_data() -> Data:
    """Reads the data; draws the users that are left out."""
    ratings = read_training_ratings(_DATA_DIR.value)
    draws = np.random.default_rng(1).random(ratings.num_users)
    return Data(
        ratings,
        draws < _LEFT_OUT.value,
        read_items(_DATA_DIR.value),
        list_shards(_DATA_DIR.value),
    )


def count_items(ratings: TrainingRatings) -> tuple[np.ndarray, np.ndarray]:
    """Returns numbers and means of the items' training ratings."""
    counts = np.bincount(ratings.items, minlength=ratings.num_items)
    sums = np.bincount(ratings.items, ratings.values, ratings.num_items)
    return counts, sums / np.maximum(counts, 1)


def create_student(
    data: Data, student: str, seed: int, teachers: dict[str, Any]
) -> TaughtAutoEncoder:
    """Makes a network with its first weights."""
    has_rating, has_interest, arguments = _STUDENTS[student]
    keras.utils.set_random_seed(seed)
    ratings = data.training()
    model = TaughtAutoEncoder(
        ratings.num_items,
        teachers["rating"] if has_rating else None,
        teachers["interest"] if has_interest else None,
        seed=seed,
        **arguments,
    )
    model.set_statistics(*count_items(ratings), float(ratings.values.std()))
    return model


def train(data: Data, model: TaughtAutoEncoder, seed: int) -> None:
    """Trains a network."""
    model.compile(Adam(_LEARNING_RATE.value))
    model.optimizer.build(model.trainable_variables)
    step = tf.function(model.train_step, reduce_retracing=True)
    users = np.flatnonzero(~data.is_left_out)
    steps_per_epoch = len(users) // _BATCH_SIZE.value
    num_steps = _NUM_EPOCHS.value * steps_per_epoch
    order = np.random.default_rng(seed)
    for epoch in range(_NUM_EPOCHS.value):
        shuffled = order.permutation(users)
        for number in range(steps_per_epoch):
            done = (epoch * steps_per_epoch + number) / num_steps
            model.optimizer.learning_rate = (
                _LEARNING_RATE.value
                * min(1, (done + 1 / num_steps) / _WARM_UP)
                * (1 + math.cos(math.pi * done))
                / 2
            )
            first = number * _BATCH_SIZE.value
            step(data.batch(shuffled[first : first + _BATCH_SIZE.value]))
        logging.info(
            "epoch %d: %s",
            epoch + 1,
            {
                k: round(float(v), 4)
                for k, v in model.training_metrics().items()
            },
        )
        model.reset_metrics()


def measure(data: Data, row: Row) -> dict[str, Any]:
    """Measures a row on both groups of held-out ratings and of users."""
    liked_from = RatingDistribution.of(data.ratings.values).liked_from
    counts, _ = count_items(data.training())

    @tf.function(reduce_retracing=True)
    def answer(
        ratings: tf.SparseTensor, held_out: tf.SparseTensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        errors = tf.zeros([0])
        if row.ratings is not None:
            predictions = row.ratings(ratings)
            errors = tf.gather_nd(predictions, held_out.indices)
            errors -= held_out.values
        return errors, rank_unrated(row.scores(ratings), ratings)

    figures: dict[str, Any] = {}
    for group in ("validation", "test"):
        errors, is_error_left_out, num_users = [], [], 0
        ranking = {
            name: RankingMetrics(counts, liked_from)
            for name in ("seen", "unseen", "users")
        }
        for ratings, held_out in data.held_out(group):
            batch_errors, ranked = (
                a.numpy() for a in answer(ratings, held_out)
            )
            indices, values = held_out.indices.numpy(), held_out.values.numpy()
            left_out = data.is_left_out[num_users : num_users + len(ranked)]
            num_users += len(ranked)
            of_left_out = left_out[indices[:, 0]]
            errors.append(batch_errors)
            is_error_left_out.append(of_left_out)
            ranking["users"].update(ranked, indices, values)
            for name, users in (("seen", ~left_out), ("unseen", left_out)):
                places = np.cumsum(users) - 1
                own = users[indices[:, 0]]
                rows = places[indices[own, 0]]
                ranking[name].update(
                    ranked[users],
                    np.stack([rows, indices[own, 1]], axis=1),
                    values[own],
                )
        figures[group] = {
            name: round_all(metrics.result())
            for name, metrics in ranking.items()
        }
        if row.ratings is not None:
            squares = np.concatenate(errors) ** 2
            left_out = np.concatenate(is_error_left_out)
            figures[group]["rmse"] = round_all(
                {
                    "seen": np.sqrt(squares[~left_out].mean()),
                    "unseen": np.sqrt(squares[left_out].mean())
                    if left_out.any()
                    else math.nan,
                    "users": np.sqrt(squares.mean()),
                }
            )
    return figures


def round_all(figures: dict[str, float]) -> dict[str, float]:
    """Rounds for people."""
    return {name: round(float(value), 5) for name, value in figures.items()}


def fit_teachers(data: Data) -> tuple[dict[str, Any], dict[str, float]]:
    """Fits the teachers, or restores them; says the seconds that it took."""
    ratings = data.training()
    seconds = {}
    start = time.monotonic()
    posterior = bayesian_factorization.fit(
        ratings,
        bayesian_factorization.FactorizationConfig(),
        os.path.join(_WORK_DIR.value, "factorization.npz"),
    )
    rating = RidgeEncoders.from_posterior(posterior, *count_items(ratings))
    seconds["rating"] = time.monotonic() - start
    start = time.monotonic()
    interest = ease.fit(ratings)
    seconds["interest"] = time.monotonic() - start
    return {"rating": rating, "interest": interest}, seconds


def make_rows(data: Data) -> Iterator[tuple[str, int, Callable[[], Any]]]:
    """Lists name and seed of each row, and a function that makes the row.

    The function returns the row, its seconds and what else to say of it.
    """
    counts, means = count_items(data.training())
    biases = Biases(counts, means, "user_item")
    teachers, seconds = fit_teachers(data)
    popularity = tf.constant(counts[np.newaxis], tf.float32)

    def popular(ratings: tf.SparseTensor) -> tf.Tensor:
        return tf.repeat(popularity, ratings.dense_shape[0], axis=0)

    yield "popularity", 0, lambda: (Row(None, popular), 0.0, {})
    yield "biases", 0, lambda: (Row(biases, biases), 0.0, {})
    rating, interest = teachers["rating"], teachers["interest"]
    yield (
        "rating teacher",
        0,
        lambda: (Row(rating, rating), seconds["rating"], {}),
    )
    yield (
        "interest teacher",
        0,
        lambda: (Row(None, interest), seconds["interest"], {}),
    )
    liked_from = RatingDistribution.of(data.ratings.values).liked_from

    def weights_path(student: str, seed: int) -> str:
        return os.path.join(_WORK_DIR.value, f"{student}-{seed}.weights.h5")

    for seed in map(int, _SEEDS.value):
        for student in _STUDENTS:

            def teach(student: str = student, seed: int = seed) -> Any:
                start = time.monotonic()
                model = create_student(data, student, seed, teachers)
                train(data, model, seed)
                seconds = time.monotonic() - start
                model.save_weights(weights_path(student, seed))
                return (
                    Row(model, lambda ratings: model.answer(ratings).interest),
                    seconds,
                    {},
                )

            yield student, seed, teach

        def blend(student: str = student, seed: int = seed) -> Any:
            model = create_student(data, student, seed, teachers)
            model.load_weights(weights_path(student, seed))
            start = time.monotonic()
            validation = data.held_out("validation")
            weights = {
                "network_weight": choose_network_weight(model, validation),
                "rating_weight": choose_rating_weight(
                    model, validation, counts, liked_from
                ),
            }
            return (
                Row(model, lambda ratings: model.score(model.answer(ratings))),
                time.monotonic() - start,
                weights,
            )

        yield "+ blended", seed, blend


def main(_: list[str]) -> None:
    """Makes and measures the rows that are not there yet."""
    logging.set_verbosity(logging.INFO)
    os.makedirs(_WORK_DIR.value, exist_ok=True)
    path = os.path.join(_WORK_DIR.value, "rows.jsonl")
    done = set()
    if os.path.exists(path):
        with open(path) as file:
            done = {(row["row"], row["seed"]) for row in map(json.loads, file)}
    data = read_data()
    for name, seed, make in make_rows(data):
        if (name, seed) in done:
            continue
        row, seconds, chosen = make()
        line = json.dumps(
            {
                "benchmark": "ablation",
                "row": name,
                "seed": seed,
                "seconds": round(seconds, 1),
                **chosen,
                **measure(data, row),
            }
        )
        print(line, flush=True)
        with open(path, "a") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    flags.mark_flags_as_required(["data_dir", "work_dir"])
    app.run(main)
