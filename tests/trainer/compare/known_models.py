"""Models whose worth is known, for tests of comparisons."""

import numpy as np
import tensorflow as tf

from trainer.compare.answers import Answers
from trainer.compare.fit_data import read_batches
from trainer.compare.user_factors import UserFactors


def constant(value):
    """A model that predicts the same rating for everything."""

    def answer(ratings, rows):
        predicted = tf.fill(ratings.dense_shape, np.float32(value))
        return Answers(predicted, predicted)

    return answer


def fit_constant(data, seed, epochs, value):
    """Gets nearer to a constant, by half of the way per epoch."""
    for num_epochs in epochs:
        yield constant(value * (1 - 0.5**num_epochs) if num_epochs else value)


def clairvoyant(data, training):
    """A lookup by user that knows the test ratings; all others are 0."""
    truth = np.zeros((training.num_users, training.num_items), np.float32)
    for _, held_out, rows in read_batches(data, "test"):
        places, items = held_out.indices.numpy().T
        truth[rows.numpy()[places], items] = held_out.values
    return UserFactors(
        training,
        mean=0.0,
        user_biases=np.zeros(training.num_users, np.float32),
        item_biases=np.zeros(training.num_items, np.float32),
        user_factors=truth,
        item_factors=np.eye(training.num_items, dtype=np.float32),
    )
