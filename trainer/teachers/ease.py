"""EASE: which items users like, by a linear model in closed form."""

from typing import Any

import keras
import numba
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from trainer.input.rating_distribution import RatingDistribution
from trainer.model.layers import PACKAGE
from trainer.model.sparse_products import multiply_sparse
from trainer.teachers.blocks import run_in_blocks
from trainer.teachers.training_ratings import TrainingRatings

#: Largest catalog: a matrix of its items takes 1.6 GB, and the fit needs
#: three of them at a time.
MAX_ITEMS = 20_000

#: What a disliked item counts, where a liked one counts 1. Chosen on
#: validation ratings of MovieLens-1M: NDCG@10 of liked items .182, and .177
#: where dislikes count nothing.
_DISLIKED = -0.5

#: Columns of the inverse computed at the same time.
_BLOCK_SIZE = 1024


@keras.saving.register_keras_serializable(package=PACKAGE)
class Ease(keras.Model):
    """Scores items by their likeness to the items that the user liked.

        scores = opinions @ weights

    where `opinions` is 1 for the items that the user rated at `liked_from` or
    above, -0.5 for those below `disliked_below`, and 0 for all others. The
    weights are those that predict the opinions of an item best from those of
    the other items, in the sense of least squares with a penalty on their
    squares, which is larger for items of many opinions.

    Reference:
        Steck, 2019, "Embarrassingly shallow autoencoders for sparse data",
        section 3 (https://arxiv.org/abs/1905.03375); Steck, 2020,
        "Autoencoders that don't overfit towards the identity": a penalty in
        proportion to the diagonal.

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
        self.liked_from, self.disliked_below = (
            self.add_weight(
                name=name,
                shape=(),
                initializer="zeros",
                dtype="float32",
                trainable=False,
            )
            for name in ("liked_from", "disliked_below")
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
        opinions = tf.where(
            ratings.values >= self.liked_from,
            1.0,
            tf.where(ratings.values < self.disliked_below, _DISLIKED, 0.0),
        )
        return multiply_sparse(ratings.with_values(opinions), weights)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_items": self.num_items}


def fit(
    ratings: TrainingRatings,
    penalty: float = 1000.0,
    diagonal_penalty: float = 1.0,
) -> Ease:
    """Fits EASE to what users liked and disliked.

    What is liked and disliked, `RatingDistribution` says.

    Args:
        ratings: the training ratings.
        penalty: weight of the squares of the weights, in users.
        diagonal_penalty: the same, per squared opinion of the item.

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
    distribution = RatingDistribution.of(ratings.values)
    liked_from = distribution.liked_from
    disliked_below = distribution.disliked_below
    opinions = np.select(
        [ratings.values >= liked_from, ratings.values < disliked_below],
        [np.float32(1), np.float32(_DISLIKED)],
        np.float32(0),
    )
    gram = _add_products(ratings, opinions)
    diagonal = np.diag_indices(num_items)
    gram[diagonal] += penalty + diagonal_penalty * gram[diagonal]
    model = Ease(num_items)
    model.liked_from.assign(liked_from)
    model.disliked_below.assign(disliked_below)
    model.item_weights.assign(_solve(gram))
    return model


def _add_products(
    ratings: TrainingRatings, opinions: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Adds up, for each two items, the products of the users' opinions."""
    has_opinion = opinions != 0
    ends = np.concatenate([[0], np.cumsum(has_opinion)])
    gram = np.zeros((ratings.num_items, ratings.num_items), np.float32)
    run_in_blocks(
        _add_pairs,
        ratings.num_items,
        ends[ratings.starts],
        ratings.items[has_opinion],
        opinions[has_opinion],
        gram,
    )
    return gram


@numba.njit(cache=True, nogil=True)
def _add_pairs(
    first: int,
    end: int,
    starts: npt.NDArray[Any],
    items: npt.NDArray[Any],
    opinions: npt.NDArray[Any],
    gram: npt.NDArray[Any],
) -> None:
    """Adds every pair of items of a user, rows `first` to `end`."""
    for user in range(len(starts) - 1):
        for k in range(starts[user], starts[user + 1]):
            item = items[k]
            if first <= item < end:
                row = gram[item]
                for other in range(starts[user], starts[user + 1]):
                    row[items[other]] += opinions[k] * opinions[other]


def _solve(gram: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Computes `I - P / diag(P)`, with `P` the inverse of `gram`."""
    num_items = len(gram)
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
