"""Ratings that a factorization with known numbers generated."""

import numpy as np

from trainer.teachers.training_ratings import TrainingRatings


def generate(
    num_users=400,
    num_items=60,
    lengths=(20, 40),
    noise=0.5,
    levels=None,
    seed=0,
):
    """Generates ratings of rank two, and what they are without noise.

    Args:
        num_users: number of users.
        num_items: number of items.
        lengths: least and greatest number of ratings of a user.
        noise: standard deviation of the noise.
        levels: bounds between the classes of an ordinal scale from 1; `None`
            for a continuous scale.
        seed: seed.

    Returns:
        The ratings, and the noiseless ratings, `(num_users, num_items)`.
    """
    rng = np.random.default_rng(seed)
    user_factors = rng.normal(size=(num_users, 2))
    item_factors = rng.normal(size=(num_items, 2))
    latents = user_factors @ item_factors.T + rng.normal(0, 0.5, num_items)
    counts = rng.integers(*lengths, num_users, endpoint=True)
    items = np.concatenate(
        [np.sort(rng.permutation(num_items)[:count]) for count in counts]
    )
    users = np.repeat(np.arange(num_users), counts)
    values = latents[users, items] + rng.normal(0, noise, len(items))
    if levels is not None:
        values = 1 + np.searchsorted(levels, values)
    return make_ratings(users, items, values, num_users, num_items), latents


def make_ratings(users, items, values, num_users, num_items):
    """Makes compressed rows of ratings in the order of their users."""
    counts = np.bincount(users, minlength=num_users)
    return TrainingRatings(
        np.concatenate([[0], np.cumsum(counts)]),
        np.asarray(items, np.int32),
        np.asarray(values, np.float32),
        num_items,
    )


def to_sparse(ratings):
    """Makes the SparseTensor of all users."""
    import tensorflow as tf

    users = np.repeat(np.arange(ratings.num_users), np.diff(ratings.starts))
    return tf.SparseTensor(
        np.stack([users, ratings.items], axis=1).astype(np.int64),
        ratings.values,
        [ratings.num_users, ratings.num_items],
    )


def count_and_mean(ratings):
    """Counts the ratings of each item and takes their mean."""
    counts = np.bincount(ratings.items, minlength=ratings.num_items)
    sums = np.bincount(ratings.items, ratings.values, ratings.num_items)
    return counts, sums / np.maximum(counts, 1)
