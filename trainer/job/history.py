"""The history of a job: the figures of each epoch, kept beside its state."""

import os
from typing import Any

import tensorflow as tf

from data_prep.dataset.files import read_json, write_json
from trainer.job.paths import JobPaths
from trainer.model.rating_model import RatingModel

#: Users of whom the fixed-point gap is taken. Their predictions are dense: a
#: user who rated the whole catalog each.
_NUM_GAP_USERS = 16


class History:
    """Keeps the figures of each epoch, so that a resumed job has them all.

    Args:
        paths: the paths of the job.
        num_epochs: number of completed epochs; figures of later ones are
            those of an epoch that is repeated, and dropped.
    """

    def __init__(self, paths: JobPaths, num_epochs: int) -> None:
        self._path = paths.history_file
        self._epochs = [
            row for row in read_history(paths) if row["epoch"] <= num_epochs
        ]

    def record(self, epoch: int, figures: dict[str, float]) -> None:
        """Adds an epoch, counted from 1, and writes the history."""
        self._epochs.append({"epoch": epoch, **figures})
        tf.io.gfile.makedirs(os.path.dirname(self._path))
        write_json(self._path, self._epochs)


def read_history(paths: JobPaths) -> list[dict[str, Any]]:
    """Reads the figures of all epochs, with their numbers as `epoch`.

    A job of an earlier version has none.
    """
    if not tf.io.gfile.exists(paths.history_file):
        return []
    epochs: list[dict[str, Any]] = read_json(paths.history_file)
    return epochs


def measure_fixed_point_gap(
    model: RatingModel, batches: tf.data.Dataset
) -> float:
    """Computes the mean of |f(f(x)) - f(x)| over items and a few users.

    Dense re-feeding drives it towards 0: an ideal `f` predicts from its own
    predictions what it predicted.

    Reference:
        Kuchaiev and Ginsburg, 2017, section 2.3 "Dense re-feeding"
        (https://arxiv.org/abs/1708.01715).

    Args:
        model: the model.
        batches: pairs of training and held-out ratings.

    Returns:
        The gap, on the scale of the ratings; 0 without held-out users.
    """
    for ratings, _ in batches.take(1):
        num_users = min(int(ratings.dense_shape[0]), _NUM_GAP_USERS)
        some = tf.sparse.slice(
            ratings, [0, 0], [num_users, ratings.dense_shape[1]]
        )
        outputs = model(some)
        places = tf.where(tf.ones_like(outputs, tf.bool))
        refed = tf.SparseTensor(
            places, tf.reshape(outputs, [-1]), some.dense_shape
        )
        return float(tf.reduce_mean(tf.abs(model(refed) - outputs)))
    return 0.0
