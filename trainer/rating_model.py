"""What every model that predicts ratings has in common: how it is scored."""

from typing import Any

import keras
import tensorflow as tf

from trainer.evaluation.metrics import (
    RatingMeanAbsoluteError,
    RatingRootMeanSquaredError,
)
from trainer.item_subsets import find_rated_items


class RatingModel(keras.Model):
    """A model from the ratings that users gave to their rating of every item.

    A subclass says in `call` how it predicts; this class scores the
    predictions against ratings that were held out.

    Call arguments:
        ratings: SparseTensor `(batch_size, num_items)`, float32. Its indices,
            in the order of the users, say what is rated: a stored 0 is a
            rating.
        items: `(num_asked,)`, int64, the items to predict, by default the
            catalogue in order.
        training: whether the model is in training mode.

    Output shape:
        `(batch_size, num_items)` or `(batch_size, num_asked)`, float32.
    """

    def __init__(self, **kwargs: Any) -> None:
        # Ratings stay float32 under mixed precision; layers that compute in
        # another type cast for themselves.
        super().__init__(autocast=False, **kwargs)
        # In float64, so that sums and counts of a hundred million ratings
        # stay exact.
        self.rmse = RatingRootMeanSquaredError(name="rmse", dtype="float64")
        self.mae = RatingMeanAbsoluteError(name="mae", dtype="float64")

    def test_step(
        self, data: tuple[tf.SparseTensor, tf.SparseTensor]
    ) -> dict[str, tf.Tensor]:
        """Compares the predictions for a batch with held-out ratings.

        Args:
            data: the users' training ratings, the model's input, and their
                held-out ratings, each a SparseTensor `(batch_size,
                num_items)`.

        Returns:
            The metrics so far, `rmse` and `mae`, over the held-out ratings.
        """
        ratings, held_out_ratings = data
        held_out = find_rated_items(held_out_ratings)
        predictions = self(ratings, held_out.items, training=False)
        self.rmse.update_state(held_out.ratings, predictions)
        self.mae.update_state(held_out.ratings, predictions)
        return {"rmse": self.rmse.result(), "mae": self.mae.result()}
