"""Metrics of predicted ratings, over the rated entries of all batches."""

import keras
import tensorflow as tf

from trainer.model.layers import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class RatingRootMeanSquaredError(keras.metrics.RootMeanSquaredError):
    """Computes the root mean squared error over all rated entries.

    Sum and count are kept over all batches and divided once. So every rating
    weighs the same, whoever gave it, as in the paper; a mean of per-user or
    per-batch errors is another number.
    """

    def update_state(
        self, ratings: tf.SparseTensor, predictions: tf.Tensor
    ) -> None:
        """Adds the errors of a batch.

        Args:
            ratings: SparseTensor `(batch_size, num_items)`, float32.
            predictions: `(batch_size, num_items)`, float32.
        """
        super().update_state(
            ratings.values, tf.gather_nd(predictions, ratings.indices)
        )


@keras.saving.register_keras_serializable(package=PACKAGE)
class RatingMeanAbsoluteError(keras.metrics.Mean):
    """Computes the mean absolute error over all rated entries."""

    def update_state(
        self, ratings: tf.SparseTensor, predictions: tf.Tensor
    ) -> None:
        """Adds the errors of a batch.

        Args:
            ratings: SparseTensor `(batch_size, num_items)`, float32.
            predictions: `(batch_size, num_items)`, float32.
        """
        errors = tf.gather_nd(predictions, ratings.indices) - ratings.values
        super().update_state(tf.abs(errors))
