"""Baselines that the autoencoder has to beat, evaluated like the model.

To add one, let `trainer.job.metrics` answer with it, and name it there for
people. What `trainer.compare` compares is listed in `trainer.compare.models`.
"""

import numpy as np
import tensorflow as tf

from trainer.model.layers import RatingCentering
from trainer.model.rating_model import RatingModel

#: Name of each baseline -> the mode of `RatingCentering` that it predicts with.
BASELINES = {"mean": "mean", "biases": "user_item"}


class Biases(RatingModel):
    """Predicts ratings from the biases of users and items alone.

    Args:
        counts: `(num_items,)`, the number of training ratings of each item.
        means: `(num_items,)`, their mean.
        centering: one of `layers.CENTERINGS`: "mean" predicts the mean rating
            throughout, "user_item" the mean plus damped offsets of item and
            user.
        **damping: `item_damping` and `user_damping` of `RatingCentering`.
    """

    def __init__(
        self,
        counts: np.ndarray,
        means: np.ndarray,
        centering: str,
        **damping: float,
    ) -> None:
        super().__init__()
        self.centering = RatingCentering.from_statistics(
            centering, counts, means, **damping
        )
        self.built = True

    def call(
        self,
        ratings: tf.SparseTensor,
        items: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        _, user_offsets = self.centering(ratings)
        num_users, num_items = tf.unstack(ratings.dense_shape)
        if items is not None:
            num_items = tf.size(items, tf.int64)
        return self.centering.restore(
            tf.zeros([num_users, num_items]), user_offsets, items
        )


class Popularity:
    """Scores items by the number of their training ratings, for everybody.

    Args:
        counts: `(num_items,)`, the number of training ratings of each item.
    """

    def __init__(self, counts: np.ndarray) -> None:
        self._counts = counts.astype(np.float32)

    def __call__(self, ratings: tf.SparseTensor) -> tf.Tensor:
        """Repeats the counts for each user, `(batch_size, num_items)`."""
        return tf.tile(self._counts[np.newaxis], [ratings.dense_shape[0], 1])
