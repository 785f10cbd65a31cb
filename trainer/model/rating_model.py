"""The base class of the models that predict ratings."""

from typing import Any

import keras
import tensorflow as tf

from trainer.model import losses
from trainer.model.item_subsets import find_rated_items
from trainer.model.metrics import (
    RatingMeanAbsoluteError,
    RatingRootMeanSquaredError,
)
from trainer.model.optimizers import RowOptimizer


class RatingModel(keras.Model):
    """Predicts every rating of users from the ratings that they gave.

    A subclass predicts in `call`; this class scores the predictions against
    held-out ratings.

    Call arguments:
        ratings: SparseTensor `(batch_size, num_items)`, float32. Its indices,
            in the order of the users, say what is rated: a stored 0 is a
            rating.
        items: `(num_targets,)`, int64, the items to predict; by default the
            catalog in order.
        training: whether the model is in training mode.

    Output shape:
        `(batch_size, num_items)` or `(batch_size, num_targets)`, float32, on
        the scale of the ratings.
    """

    def __init__(self, **kwargs: Any) -> None:
        # Ratings stay float32 under mixed precision: layers that compute in
        # another type cast them.
        super().__init__(autocast=False, **kwargs)
        # In float64, so that the count of a hundred million ratings stays
        # exact.
        self.rmse = RatingRootMeanSquaredError(name="rmse", dtype="float64")
        self.mae = RatingMeanAbsoluteError(name="mae", dtype="float64")

    def test_step(
        self, data: tuple[tf.SparseTensor, tf.SparseTensor]
    ) -> dict[str, tf.Tensor]:
        """Adds the errors of a batch's held-out ratings to the metrics.

        Args:
            data: the users' training ratings, which are the model's input,
                and their held-out ratings, each a SparseTensor `(batch_size,
                num_items)`.

        Returns:
            `rmse` and `mae` over all held-out ratings so far.
        """
        ratings, held_out_ratings = data
        held_out = find_rated_items(held_out_ratings)
        predictions = self(ratings, held_out.items, training=False)
        self.rmse.update_state(held_out.ratings, predictions)
        self.mae.update_state(held_out.ratings, predictions)
        return {"rmse": self.rmse.result(), "mae": self.mae.result()}

    def loss_trackers(self) -> list[keras.metrics.Mean]:
        """Lists the metrics that `train_step` updates, if there is one."""
        return []

    def training_metrics(self) -> dict[str, tf.Tensor]:
        """Reads the metrics that `train_step` updates, scalars.

        Outside `strategy.run` they cover all replicas, inside only its own.
        """
        return {
            tracker.name: tracker.result() for tracker in self.loss_trackers()
        }

    def _apply_gradients(self, tape: tf.GradientTape, loss: tf.Tensor) -> None:
        """Updates the weights that the loss depends on."""
        weights = self.trainable_variables
        updates = [
            (gradient, weight)
            for gradient, weight in zip(
                tape.gradient(loss, weights), weights, strict=True
            )
            if gradient is not None
        ]
        if not isinstance(
            getattr(self.optimizer, "inner_optimizer", self.optimizer),
            RowOptimizer,
        ):
            # Keras' optimizers mishandle rows that several replicas read.
            updates = [(tf.convert_to_tensor(g), w) for g, w in updates]
        self.optimizer.apply_gradients(updates)

    def _track_loss(
        self, tracker: keras.metrics.Mean, total: tf.Tensor, count: tf.Tensor
    ) -> tf.Tensor:
        """Adds a loss to its metric; returns the loss to differentiate."""
        tracker.update_state(tf.math.divide_no_nan(total, count), count)
        return self.optimizer.scale_loss(losses.global_mean(total, count))
