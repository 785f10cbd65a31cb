"""Encoders in closed form: one ridge regression per user and sample."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.layers import PACKAGE
from trainer.rating_model import RatingModel
from trainer.sparse_products import multiply_sparse

#: Rounds of expectation and regression for an ordinal scale.
_NUM_ROUNDS = 2

#: Users whose Gram matrices are computed at the same time.
_PARALLEL_USERS = 4


@keras.saving.register_keras_serializable(package=PACKAGE)
class RidgeEncoders(RatingModel):
    """Predicts ratings as the mean over samples of a Bayesian factorization.

    A sample says of the latent rating `t` of item `i` by a user

        t = offset[i] + factors[i] @ code + noise
        code ~ Normal(prior_mean + weight * sum of implicit[j] over rated j,
                      1 / prior_precision)

    with `weight = (number of ratings + damping)^-1/2`, the first factor 1 for
    every item (so the first code is the user's bias) and noise of precision
    `noise_precision`. Given the ratings, the mean of the code is one ridge
    regression. No user id is asked for: whom training never saw is answered
    like everybody else.

    On a continuous scale `t` is the standardized rating. On an ordinal one
    the rating is the number of thresholds below `t`; `t` is replaced by its
    expectation given the rating and the code, and the regression repeated.

    Args:
        num_items: size of the catalogue.
        num_samples: number of samples.
        rank: number of factors beside the bias.
        num_classes: number of ratings of an ordinal scale; 0 if the scale is
            continuous.
        damping: number of ratings added to those of each user.
    """

    def __init__(
        self,
        num_items: int,
        num_samples: int,
        rank: int,
        num_classes: int,
        damping: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_items = num_items
        self.num_samples = num_samples
        self.rank = rank
        self.num_classes = num_classes
        self.damping = damping
        size = 1 + rank

        def add(name: str, *shape: int) -> Any:
            return self.add_weight(
                name=name, shape=shape, initializer="zeros", trainable=False
            )

        self.item_factors = add("item_factors", num_items, num_samples, size)
        self.implicit = add("implicit", num_items, num_samples, size)
        self.prior_mean = add("prior_mean", num_samples, size)
        self.prior_precision = add("prior_precision", num_samples, size)
        self.noise_precision = add("noise_precision", num_samples)
        if num_classes:
            self.values = add("values", num_classes)
            self.thresholds = add("thresholds", num_samples, num_classes - 1)
        else:
            self.scale = add("scale", 2)
        self.built = True

    def call(self, ratings, items=None, training=False):
        factors = tf.convert_to_tensor(self.item_factors)
        codes = self.encode(ratings)
        if items is not None:
            factors = tf.gather(factors, items)
        return self._decode(codes, factors)

    def encode(self, ratings: tf.SparseTensor) -> tf.Tensor:
        """Computes the codes, `(batch_size, num_samples, 1 + rank)`."""
        batch_size = ratings.dense_shape[0]
        user_index, item_index = tf.unstack(ratings.indices, axis=1)
        counts = tf.math.unsorted_segment_sum(
            tf.ones_like(ratings.values), user_index, batch_size
        )
        size = 1 + self.rank
        prior_mean = self.prior_mean + (
            tf.math.rsqrt(tf.maximum(counts + self.damping, 1.0))[:, None, None]
            * tf.reshape(
                multiply_sparse(
                    ratings.with_values(tf.ones_like(ratings.values)),
                    tf.reshape(self.implicit, [self.num_items, -1]),
                ),
                [-1, self.num_samples, size],
            )
        )
        rated = tf.gather(tf.convert_to_tensor(self.item_factors), item_index)
        offsets, features = rated[..., 0], tf.concat([tf.ones_like(rated[..., :1]), rated[..., 1:]], -1)
        starts = tf.searchsorted(user_index, tf.range(batch_size + 1))

        def gram(user):
            x = tf.transpose(features[starts[user]:starts[user + 1]], [1, 0, 2])
            return tf.matmul(x, x, transpose_a=True)

        precision = tf.map_fn(
            gram,
            tf.range(batch_size),
            parallel_iterations=_PARALLEL_USERS,
            fn_output_signature=tf.TensorSpec([self.num_samples, size, size], tf.float32),
        )
        noise = tf.convert_to_tensor(self.noise_precision)
        prior_precision = tf.convert_to_tensor(self.prior_precision)
        precision = precision * noise[:, None, None] + tf.linalg.diag(prior_precision)
        cholesky = tf.linalg.cholesky(precision)
        base = prior_mean * prior_precision

        def regress(latents):
            weighted = features * ((latents - offsets) * noise)[..., None]
            right = base + tf.math.unsorted_segment_sum(weighted, user_index, batch_size)
            return tf.linalg.cholesky_solve(cholesky, right[..., None])[..., 0]

        if not self.num_classes:
            mean, std = tf.unstack(self.scale)
            z = (ratings.values - mean) / std
            return regress(tf.repeat(z[:, None], self.num_samples, 1))
        classes = tf.searchsorted(
            (self.values[1:] + self.values[:-1]) / 2, ratings.values
        )
        infinity = tf.fill([self.num_samples, 1], 30.0)
        bounds = tf.transpose(tf.concat([-infinity, self.thresholds, infinity], 1))
        low, high = tf.gather(bounds, classes), tf.gather(bounds, classes + 1)
        codes = prior_mean
        for _ in range(_NUM_ROUNDS):
            x = offsets + tf.reduce_sum(features * tf.gather(codes, user_index), -1)
            codes = regress(x + _truncated_mean(low - x, high - x))
        return codes

    def _decode(self, codes, factors):
        # factors (num, samples, size)
        shape = [tf.shape(codes)[0], tf.shape(factors)[0]]
        if not self.num_classes:
            flat = tf.concat([tf.ones_like(codes[..., :1]), codes[..., 1:]], -1)
            x = tf.matmul(tf.reshape(flat, [shape[0], self.num_samples*(1+self.rank)]), tf.reshape(factors, [shape[1], self.num_samples*(1+self.rank)]), transpose_b=True)
            x = (x + tf.reduce_sum(codes[..., 0], 1)[:, None]) / self.num_samples
            mean, std = tf.unstack(self.scale)
            return x * std + mean
        total = tf.zeros(shape)
        steps = self.values[1:] - self.values[:-1]
        for n in range(self.num_samples):
            z, s = codes[:, n], factors[:, n]
            x = tf.matmul(z[:, 1:], s[:, 1:], transpose_b=True) + z[:, :1] + s[:, 0]
            for c in range(self.num_classes - 1):
                total += steps[c] * _normal_cdf(x - self.thresholds[n, c])
        return self.values[0] + total / self.num_samples

    def get_config(self):
        return {
            **super().get_config(),
            "num_items": self.num_items, "num_samples": self.num_samples, "rank": self.rank,
            "num_classes": self.num_classes, "damping": self.damping,
        }


def _normal_cdf(x):
    return 0.5 * tf.math.erfc(x * -0.7071067811865476)


def _density(x):
    return tf.exp(-0.5 * x * x) * 0.3989422804014327


def _truncated_mean(low, high):
    """Mean of a standard normal between two bounds"""
    mass = _normal_cdf(high) - _normal_cdf(low)
    return (_density(low) - _density(high)) / tf.maximum(mass, 1e-6)
