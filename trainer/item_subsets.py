"""The part of the catalogue that a batch is about."""

from typing import NamedTuple

import tensorflow as tf


class RatedItems(NamedTuple):
    """A batch of ratings without the columns of items that nobody rated.

    Attributes:
        items: `(num_rated,)`, int64, the distinct items of the batch.
        ratings: SparseTensor `(batch_size, num_rated)`: the same ratings, in
            the same order, column `j` for item `items[j]`.
    """

    items: tf.Tensor
    ratings: tf.SparseTensor

    def to_dense(self) -> tf.Tensor:
        """Spreads the ratings over `(batch_size, num_rated)`, 0 elsewhere."""
        return tf.scatter_nd(
            self.ratings.indices, self.ratings.values, self.ratings.dense_shape
        )


def find_rated_items(ratings: tf.SparseTensor) -> RatedItems:
    """Drops the columns of items that nobody in the batch rated.

    On a CPU the dense product with the rows of these items is faster than any
    sparse one with the rows of all.

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


class ItemSample(NamedTuple):
    """Distinct items that stand for the whole catalogue.

    Attributes:
        items: `(num_sampled,)`, int64. None is the whole catalogue itself, in
            order.
        weights: `(num_sampled,)`, float32, how many items each stands for: a
            sum over the sample of `weights * values` is an unbiased estimate
            of the sum of `values` over all items. None where each stands for
            itself.
    """

    items: tf.Tensor | None = None
    weights: tf.Tensor | None = None

    def weigh(self, values: tf.Tensor) -> tf.Tensor:
        """Multiplies columns `(batch_size, num_sampled)` by the weights."""
        return values if self.weights is None else values * self.weights


def sample_items(
    rated_items: tf.Tensor, draws: tf.Tensor, num_items: int
) -> ItemSample:
    """Makes a sample of the rated items and of draws from the catalogue.

    A rated item is in every sample and stands for itself. Another one is drawn
    `d` times, `draws / num_items` on average, and stands for `d * num_items /
    draws` items.

    Args:
        rated_items: `(num_rated,)`, int64, distinct.
        draws: `(num_draws,)`, int64, items drawn uniformly, with replacement.
        num_items: size of the catalogue.
    """
    num_rated, num_draws = tf.size(rated_items), tf.size(draws)
    items, places = tf.unique(tf.concat([rated_items, draws], axis=0))
    times_drawn = tf.math.unsorted_segment_sum(
        tf.ones([num_draws]), places[num_rated:], tf.size(items)
    )
    weights = tf.where(
        tf.range(tf.size(items)) < num_rated,
        1.0,
        times_drawn * num_items / tf.cast(num_draws, tf.float32),
    )
    return ItemSample(items, weights)
