"""EASE: which items users like, by a linear model in closed form."""

from typing import Any

import keras
import numba
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from trainer.layers import PACKAGE
from trainer.sparse_products import multiply_sparse
from trainer.teachers.blocks import run_in_blocks
from trainer.teachers.training_ratings import TrainingRatings

#: Largest catalog: a matrix of its items takes 1.6 GB, and the fit needs
#: three of them at a time.
MAX_ITEMS = 20_000

#: Columns of the inverse computed at the same time.
_BLOCK_SIZE = 1024


@keras.saving.register_keras_serializable(package=PACKAGE)
class Ease(keras.Model):
    """Scores items by their likeness to the items that the user liked.

        scores = liked @ weights

    where `liked` is 1 for the items that the user rated at `threshold` or
    above. The weights are those that predict `liked` best from the other
    items, in the sense of least squares with a penalty on their squares.

    Reference:
        Steck, 2019, "Embarrassingly shallow autoencoders for sparse data",
        section 3 (https://arxiv.org/abs/1905.03375).

    Args:
        num_items: size of the catalog.

    Call arguments:
        ratings: SparseTensor `(batch_size, num_items)`, float32.
        items: `(num_asked,)`, int64, the items to score, by default the
            catalog in order.

    Output shape:
        `(batch_size, num_items)` or `(batch_size, num_asked)`, float32.
    """

    def __init__(self, num_items: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.num_items = num_items
        # Not `weights`, which Keras has for itself.
        self.item_weights = self.add_weight(
            name="item_weights",
            shape=(num_items, num_items),
            initializer="zeros",
            dtype="float32",
            trainable=False,
        )
        self.threshold = self.add_weight(
            name="threshold",
            shape=(),
            initializer="zeros",
            dtype="float32",
            trainable=False,
        )
        self.built = True

    def call(
        self,
        ratings: tf.SparseTensor,
        items: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        weights = tf.convert_to_tensor(self.item_weights)
        if items is not None:
            weights = tf.gather(weights, items, axis=1)
        liked = ratings.values >= self.threshold
        return multiply_sparse(
            ratings.with_values(tf.cast(liked, tf.float32)), weights
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_items": self.num_items}


def fit(ratings: TrainingRatings, penalty: float = 300.0) -> Ease:
    """Fits EASE to the items that users liked.

    A rating at or above the median of all training ratings is liked: 4 and 5
    on most scales from 1 to 5, everything where all ratings are equal. Ranks
    have no scale.

    Args:
        ratings: the training ratings.
        penalty: weight of the squares of the weights, in users.

    Raises:
        UserError: when there are more than `MAX_ITEMS` items.
    """
    num_items = ratings.num_items
    if num_items > MAX_ITEMS:
        raise UserError(
            f"EASE solves for a dense matrix of all items, at most {MAX_ITEMS}."
            f" Received: {num_items} items. Prepare the data with a higher"
            " `--min-item-ratings`."
        )
    threshold = find_liked_threshold(ratings)
    weights = _solve(_count_pairs(ratings, threshold), penalty)
    model = Ease(num_items)
    model.threshold.assign(threshold)
    model.item_weights.assign(weights)
    return model


def find_liked_threshold(ratings: TrainingRatings) -> float:
    """Returns the upper median of the ratings: from there on, a user likes."""
    middle = len(ratings.values) // 2
    return float(np.partition(ratings.values, middle)[middle])


def _count_pairs(
    ratings: TrainingRatings, threshold: float
) -> npt.NDArray[np.float32]:
    """Counts for each two items the users who liked both."""
    liked = ratings.values >= threshold
    ends = np.concatenate([[0], np.cumsum(liked)])
    gram = np.zeros((ratings.num_items, ratings.num_items), np.float32)
    run_in_blocks(
        _add_pairs,
        ratings.num_items,
        ends[ratings.starts],
        ratings.items[liked],
        gram,
    )
    return gram


@numba.njit(cache=True, nogil=True)
def _add_pairs(
    first: int,
    end: int,
    starts: npt.NDArray[Any],
    items: npt.NDArray[Any],
    gram: npt.NDArray[Any],
) -> None:
    """Adds every pair of items of a user, rows `first` to `end`."""
    for user in range(len(starts) - 1):
        for k in range(starts[user], starts[user + 1]):
            item = items[k]
            if first <= item < end:
                row = gram[item]
                for other in range(starts[user], starts[user + 1]):
                    row[items[other]] += 1.0


def _solve(
    gram: npt.NDArray[np.float32], penalty: float
) -> npt.NDArray[np.float32]:
    """Computes `I - P / diag(P)`, with `P` the inverse of `gram + penalty I`.

    Adds the penalty in place.
    """
    num_items = len(gram)
    gram[np.diag_indices(num_items)] += penalty
    logging.info("EASE: inverts a matrix of %d items", num_items)
    cholesky = tf.linalg.cholesky(gram)
    weights = np.empty_like(gram)
    for first in range(0, num_items, _BLOCK_SIZE):
        size = min(_BLOCK_SIZE, num_items - first)
        columns = np.zeros((num_items, size), np.float32)
        columns[np.arange(first, first + size), np.arange(size)] = 1
        weights[:, first : first + size] = tf.linalg.cholesky_solve(
            cholesky, columns
        )
    weights /= -np.diag(weights).copy()
    np.fill_diagonal(weights, 0)
    return weights
