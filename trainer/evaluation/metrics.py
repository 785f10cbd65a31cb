"""Rating metrics: a sum and a count over all batches, divided once."""

import keras
import tensorflow as tf

from trainer.layers import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class RatingRootMeanSquaredError(keras.metrics.RootMeanSquaredError):
    """Root mean squared error over the rated entries of all batches.

    Every rating weighs the same, whoever gave it, as in the paper: a mean of
    per-user errors is another number.
    """

    def update_state(
        self, ratings: tf.SparseTensor, predictions: tf.Tensor
    ) -> None:
        """Adds a batch.

        Args:
            ratings: SparseTensor `(batch_size, num_items)`.
            predictions: `(batch_size, num_items)`.
        """
        super().update_state(
            ratings.values, tf.gather_nd(predictions, ratings.indices)
        )


@keras.saving.register_keras_serializable(package=PACKAGE)
class RatingMeanAbsoluteError(keras.metrics.Mean):
    """Mean absolute error over the rated entries of all batches."""

    def update_state(
        self, ratings: tf.SparseTensor, predictions: tf.Tensor
    ) -> None:
        """Adds a batch.

        Args:
            ratings: SparseTensor `(batch_size, num_items)`.
            predictions: `(batch_size, num_items)`.
        """
        errors = tf.gather_nd(predictions, ratings.indices) - ratings.values
        super().update_state(tf.abs(errors))
