"""Ratings of the whole catalog by ridge encoders, fast for a few users."""

import tensorflow as tf

from trainer.teachers.ridge_encoders import LatentMoments, RidgeEncoders


class RidgeDecoder:
    """Predicts what `RidgeEncoders` predict, of every item.

    The encoders keep the numbers of an item together, for users to gather
    those of the items that they rated. Here each sample has its own kernel
    with a column per item (see `Predictor`).

    With `[bias, code]` the user's numbers in a sample and `[offset, factors]`
    an item's, the latent rating is

        bias + [1, code] @ [offset, factors]

    Args:
        encoders: fitted encoders. Their factors are copied as they are now.
    """

    def __init__(self, encoders: RidgeEncoders) -> None:
        self._encoders = encoders
        self._thresholds = encoders.thresholds.numpy().mean(axis=0)
        self._values = encoders.values.numpy()
        # (num_samples, 1 + rank, num_items)
        kernels = encoders.item_factors.numpy().transpose(1, 2, 0)
        if not encoders.num_classes:
            # The mean over the samples is one product.
            kernels = kernels.reshape(1, -1, encoders.num_items)
        self._kernels = [
            tf.Variable(kernel, trainable=False, name=f"item_factors_{sample}")
            for sample, kernel in enumerate(kernels)
        ]

    def decode(self, codes: tf.Tensor, ratings: tf.SparseTensor) -> tf.Tensor:
        """Predicts all ratings of users.

        Args:
            codes: `(batch_size, num_samples, 1 + rank)`, the users' codes.
            ratings: SparseTensor `(batch_size, num_items)`, float32.

        Returns:
            `(batch_size, num_items)`, float32.
        """
        biases = codes[..., :1]
        codes = tf.concat([tf.ones_like(biases), codes[..., 1:]], axis=-1)
        samples = (
            self._expect_classes(biases, codes)
            if self._encoders.num_classes
            else self._expect_values(biases, codes)
        )
        return self._encoders.add_biases(samples, ratings)

    def _expect_values(self, biases: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        (kernel,) = self._kernels
        size = codes.shape[1] * codes.shape[2]
        latents = (
            tf.reduce_mean(biases, axis=1)
            + tf.matmul(
                tf.reshape(codes, [-1, size]), tf.convert_to_tensor(kernel)
            )
            / self._encoders.num_samples
        )
        mean, deviation = self._values.tolist()
        return mean + deviation * latents

    def _expect_classes(self, biases: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        moments = LatentMoments()
        for sample, kernel in enumerate(self._kernels):
            moments.add(
                biases[:, sample]
                + tf.matmul(codes[:, sample], tf.convert_to_tensor(kernel))
            )
        return moments.expected_ratings(self._thresholds, self._values)
