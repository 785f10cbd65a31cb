"""The part of the catalogue that a batch is about."""

from typing import NamedTuple

import keras
import tensorflow as tf


class RatedItems(NamedTuple):
    """A batch of ratings without the columns of items that nobody rated.

    Attributes:
        ratings: SparseTensor `(batch_size, num_rated)`: the same ratings, in
            the same order, column `j` for item `items[j]`.
        items: `(num_rated,)`, int64, the distinct items of the batch.
    """

    ratings: tf.SparseTensor
    items: tf.Tensor


def find_rated_items(ratings: tf.SparseTensor) -> RatedItems:
    """Drops the columns of items that nobody in the batch rated.

    Args:
        ratings: `(batch_size, num_items)`.
    """
    users, items = tf.unstack(ratings.indices, axis=1)
    items, columns = tf.unique(items, out_idx=tf.int64)
    return RatedItems(
        items=items,
        ratings=tf.SparseTensor(
            tf.stack([users, columns], axis=1),
            ratings.values,
            [ratings.dense_shape[0], tf.size(items, tf.int64)],
        ),
    )


def sample_items(
    num_samples: int, num_items: int, seed: keras.random.SeedGenerator
) -> tf.Tensor:
    """Draws items that stand for the whole catalogue.

    One from each of `num_samples` equal stretches of the catalogue, so that
    the mean over the sample is an unbiased estimate of the mean over all
    items, and a sample as large as the catalogue is the catalogue in order.

    Args:
        num_samples: number of draws, at most `num_items`.
        num_items: size of the catalogue.
        seed: where the draws come from.

    Returns:
        `(num_samples,)`, int64, ascending. Where a stretch ends within an
        item, two draws may be the same.
    """
    draws = tf.range(num_samples, dtype=tf.float64) + keras.random.uniform(
        [num_samples], seed=seed, dtype="float64"
    )
    items = tf.cast(draws * (num_items / num_samples), tf.int64)
    # A draw just below the end of the last stretch may be rounded to it.
    return tf.minimum(items, num_items - 1)
