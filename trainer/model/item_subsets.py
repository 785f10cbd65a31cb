"""Restricts a batch to a part of the catalog: rated or sampled items."""

from typing import NamedTuple

import keras
import tensorflow as tf


class RatedItems(NamedTuple):
    """A batch of ratings with a column for each item that it rates.

    Attributes:
        ratings: SparseTensor `(batch_size, num_rated)`, float32: the same
            ratings, in the same order, with column `j` for item `items[j]`.
        items: `(num_rated,)`, int64, the distinct items of the batch.
    """

    ratings: tf.SparseTensor
    items: tf.Tensor


def find_rated_items(ratings: tf.SparseTensor) -> RatedItems:
    """Drops the columns of items that nobody in the batch rated.

    Args:
        ratings: SparseTensor `(batch_size, num_items)`.
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
    """Samples items that stand for the whole catalog.

    The sample is stratified: one item comes from each of `num_samples` equal
    strata of the catalog. So the mean over the sample is an unbiased
    estimate of the mean over all items, and a sample as large as the catalog
    is the catalog in order.

    Args:
        num_samples: size of the sample, at most `num_items`.
        num_items: size of the catalog.
        seed: generates the random seeds.

    Returns:
        `(num_samples,)`, int64, ascending. An item that two strata share may
        occur twice.
    """
    draws = tf.range(num_samples, dtype=tf.float64) + keras.random.uniform(
        [num_samples], seed=seed, dtype="float64"
    )
    items = tf.cast(draws * (num_items / num_samples), tf.int64)
    # Rounding may move a draw just below the end of the last stratum onto it.
    return tf.minimum(items, num_items - 1)
