"""Answers of the nearest neighbors among the items that a user rated."""

import numba
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.compare.answers import Answers
from trainer.teachers.blocks import run_in_blocks

Floats = npt.NDArray[np.float32]


class NearestItems:
    """Predicts a rating from those of the most similar items the user rated.

    With the baseline `b(u, i) = mean + user_bias(u) + item_biases[i]` and the
    `num_neighbors` items `j` of positive similarity `s` that are nearest to
    `i` among those that `u` rated:

        b(u, i) + sum s(i, j) (r(u, j) - b(u, j)) / sum s(i, j)

    where `user_bias(u) = sum (r - mean - item_biases) / (count + damping)`
    follows from the ratings, as all else does.

    Reference:
        Koren, 2010, "Factor in the neighbors", section 2.2
        (https://doi.org/10.1145/1644873.1644874).

    Args:
        mean: mean of the training ratings.
        item_biases: `(num_items,)`.
        damping: ratings at the baseline that every user starts with.
        similarities: `(num_items, num_items)`.
        num_neighbors: number of neighbors.
    """

    def __init__(
        self,
        mean: float,
        item_biases: Floats,
        damping: float,
        similarities: Floats,
        num_neighbors: int,
    ) -> None:
        self._offsets = (mean + item_biases).astype(np.float32)
        self._damping = damping
        self._similarities = similarities.astype(np.float32)
        self._num_neighbors = num_neighbors

    def __call__(self, ratings: tf.SparseTensor, rows: tf.Tensor) -> Answers:
        """Predicts all ratings of users; ranks by them."""
        num_users = ratings.dense_shape[0]
        predicted = tf.numpy_function(
            self._predict,
            [ratings.indices, ratings.values, num_users],
            tf.float32,
        )
        predicted = tf.ensure_shape(predicted, [None, len(self._offsets)])
        return Answers(predicted, predicted)

    def _predict(
        self,
        indices: npt.NDArray[np.int64],
        values: Floats,
        num_users: np.int64,
    ) -> Floats:
        users, items = indices.T
        counts = np.bincount(users, minlength=num_users)
        residuals = values - self._offsets[items]
        sums = np.bincount(users, residuals, minlength=num_users)
        biases = (sums / np.maximum(counts + self._damping, 1e-9)).astype(
            np.float32
        )
        residuals -= biases[users]
        predicted = self._offsets + biases[:, np.newaxis]
        run_in_blocks(
            _add_neighbors,
            int(num_users),
            np.concatenate([[0], np.cumsum(counts)]),
            np.ascontiguousarray(items),
            residuals,
            self._similarities,
            self._num_neighbors,
            predicted,
        )
        return predicted


@numba.njit(cache=True, nogil=True)
def _add_neighbors(
    first: int,
    end: int,
    starts: npt.NDArray[np.int64],
    items: npt.NDArray[np.int64],
    residuals: Floats,
    similarities: Floats,
    num_neighbors: int,
    predicted: Floats,
) -> None:
    """Adds the weighted residuals of the neighbors, users `first` to `end`."""
    # A heap whose root is the least of the largest similarities so far; the
    # zeros that it starts with stand for neighbors that are not there.
    nearest = np.empty(num_neighbors, np.float32)
    for user in range(first, end):
        rated = range(starts[user], starts[user + 1])
        for item in range(predicted.shape[1]):
            row = similarities[item]
            nearest[:] = 0
            for k in rated:
                if row[items[k]] > nearest[0]:
                    _replace_root(nearest, row[items[k]])
            total = weight = np.float32(0)
            for k in rated:
                similarity = row[items[k]]
                if similarity > 0 and similarity >= nearest[0]:
                    total += similarity * residuals[k]
                    weight += similarity
            if weight > 0:
                predicted[user, item] += total / weight


@numba.njit(cache=True, nogil=True)
def _replace_root(heap: Floats, value: np.float32) -> None:
    """Puts a value in the place of the least, which is the root."""
    place = 0
    while 2 * place + 1 < len(heap):
        child = 2 * place + 1
        if child + 1 < len(heap) and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = value
