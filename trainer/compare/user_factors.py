"""Answers of factorizations that know each user by a vector of their own."""

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.compare.answers import Answers
from trainer.teachers.training_ratings import TrainingRatings

Floats = npt.NDArray[np.float32]


class UserFactors:
    """Predicts mean + biases + product of factors, for the users of a fit.

        mean + user_biases[u] + item_biases[i]
            + user_factors[u] @ item_factors[i]

    A user without training ratings gets the mean and the biases of the items.

    Args:
        ratings: the training ratings of the fit.
        mean: their mean.
        user_biases: `(num_users,)`.
        item_biases: `(num_items,)`.
        user_factors: `(num_users, num_factors)`.
        item_factors: `(num_items, num_factors)`.
    """

    def __init__(
        self,
        ratings: TrainingRatings,
        mean: float,
        user_biases: Floats,
        item_biases: Floats,
        user_factors: Floats,
        item_factors: Floats,
    ) -> None:
        is_known = np.diff(ratings.starts) > 0
        # The biases become factors whose counterpart is 1.
        self._users = np.column_stack(
            [
                is_known[:, np.newaxis] * user_factors,
                is_known * user_biases,
                np.ones(len(user_biases)),
            ]
        ).astype(np.float32)
        self._items = np.column_stack(
            [item_factors, np.ones(len(item_biases)), mean + item_biases]
        ).astype(np.float32)

    def __call__(self, ratings: tf.SparseTensor, rows: tf.Tensor) -> Answers:
        """Looks the users up; ranks by the predicted rating."""
        users = tf.gather(self._users, rows)
        predicted = tf.matmul(users, self._items, transpose_b=True)
        return Answers(predicted, predicted)
