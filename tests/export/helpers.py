"""Calls signatures, and the Keras model that they must agree with."""

import numpy as np
import tensorflow as tf

from export.signatures.signatures import Signatures


def make_signatures(model, item_ids, **settings):
    """Makes the signatures of a model, with default settings unless given."""
    return Signatures(
        model,
        item_ids,
        **{
            "rating_scale": (0.0, 5.0),
            "mean_rating": 3.0,
            "top_k": 4,
            "history_length": 32,
            **settings,
        },
    )


def ask(function, histories, **others):
    """Calls a signature with histories padded to one length."""
    length = max(len(history) for history in histories)
    padded = [
        [*history, *[("", 0.0)] * (length - len(history))]
        for history in histories
    ]
    shape = (len(histories), length)
    answer = function(
        item_ids=tf.constant(
            [[item_id for item_id, _ in row] for row in padded],
            tf.string,
            shape,
        ),
        ratings=tf.constant(
            [[rating for _, rating in row] for row in padded],
            tf.float32,
            shape,
        ),
        **{
            name: tf.constant(np.array(value, object))
            for name, value in others.items()
        },
    )
    return {name: tensor.numpy() for name, tensor in answer.items()}


def model_predictions(model, item_ids, history):
    """Predicts all ratings of one history of known items by the Keras model."""
    indices = sorted((item_ids.index(item), rating) for item, rating in history)
    ratings = tf.SparseTensor(
        np.array([[0, index] for index, _ in indices]).reshape(-1, 2),
        [np.float32(rating) for _, rating in indices] or np.zeros(0, "f"),
        (1, len(item_ids)),
    )
    return model(ratings).numpy()[0]


def leave_one_out(model, item_ids, history):
    """Computes the contribution of each rating to each prediction.

    Returns:
        `(num_ratings, num_items)`, in the order of the history.
    """
    whole = model_predictions(model, item_ids, history)
    return np.array(
        [
            whole
            - model_predictions(
                model, item_ids, history[:position] + history[position + 1 :]
            )
            for position in range(len(history))
        ]
    ).reshape(len(history), len(item_ids))
