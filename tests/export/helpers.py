"""Calls signatures, and the Keras model that they must agree with."""

import numpy as np
import tensorflow as tf

from data_prep.dataset.items import Items
from export.signatures.signatures import Signatures
from trainer.model.taught_autoencoder import TaughtAutoEncoder
from trainer.teachers.ridge_encoders import RidgeEncoders


def make_items(item_ids, titles=None):
    """Makes items that have one training rating of 3 each."""
    return Items(
        item_ids=item_ids,
        counts=np.ones(len(item_ids), np.int64),
        means=np.full(len(item_ids), 3.0),
        titles=titles or [None] * len(item_ids),
    )


def make_signatures(model, item_ids, titles=None, **settings):
    """Makes the signatures of a model, with default settings unless given."""
    return Signatures(
        model,
        make_items(item_ids, titles),
        **{
            "rating_scale": (0.0, 5.0),
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
            name: tf.constant(
                value
                if isinstance(value, np.ndarray)
                else np.array(value, object)
            )
            for name, value in others.items()
        },
    )
    return {name: tensor.numpy() for name, tensor in answer.items()}


def make_taught_model(
    num_items, *, is_ordinal=True, network_weight=0.4, rating_weight=0.5
):
    """Makes a taught autoencoder of random weights, ridge encoders inside."""
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 20, num_items)
    means = rng.uniform(1, 4, num_items)
    encoders = RidgeEncoders(num_items, 3, 2, 6 if is_ordinal else 0, 4.0)
    for weight in (encoders.item_factors, encoders.implicit):
        weight.assign(rng.normal(0, 0.7, weight.shape))
    encoders.prior_mean.assign(rng.normal(size=(3, 3)))
    encoders.prior_precision.assign(1 + rng.normal(size=(3, 3)) ** 2)
    encoders.noise_precision.assign([1.0, 1.2, 0.8])
    encoders.thresholds.assign(np.sort(rng.normal(size=(3, 5 * is_ordinal))))
    encoders.values.assign(np.arange(6.0) if is_ordinal else [2.5, 1.3])
    encoders.centering.set_statistics(counts, means)
    model = TaughtAutoEncoder(num_items, encoders, None, hidden_units=(6, 4))
    for weight in model.trainable_variables:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    model.set_statistics(counts, means, 1.2)
    model.network_weight.assign(network_weight)
    model.rating_weight.assign(rating_weight)
    return model


def to_sparse(item_ids, history):
    """Makes the ratings of one user of known items, as a model takes them."""
    indices = sorted((item_ids.index(item), rating) for item, rating in history)
    return tf.SparseTensor(
        np.array([[0, index] for index, _ in indices]).reshape(-1, 2),
        [np.float32(rating) for _, rating in indices] or np.zeros(0, "f"),
        (1, len(item_ids)),
    )


def model_predictions(model, item_ids, history):
    """Predicts all ratings of one history of known items by the Keras model."""
    return model(to_sparse(item_ids, history)).numpy()[0]


def leave_one_out(score, item_ids, history):
    """Computes the contribution of each rating to each score.

    Args:
        score: the Keras model, or the method of it that ranks.
        item_ids: the raw id of each item index.
        history: pairs of item id and rating.

    Returns:
        `(num_ratings, num_items)`, in the order of the history.
    """
    # The whole history, and one without each of its ratings.
    histories = [
        history,
        *(history[:p] + history[p + 1 :] for p in range(len(history))),
    ]
    whole, *without = score(
        tf.sparse.concat(0, [to_sparse(item_ids, kept) for kept in histories])
    ).numpy()
    return np.reshape(
        [whole - scores for scores in without], (len(history), len(item_ids))
    )


def round_matrices(model, num_bits):
    """Rounds the matrices of a model to so many bits after the leading one.

    A GPU does so with the factors of its products, 10 bits in TF32 and 7 in
    bfloat16.
    """
    for weight in model.weights:
        if len(weight.shape) < 2 or weight.dtype != "float32":
            continue
        mantissas, exponents = np.frexp(np.array(weight))
        scale = 2.0 ** (num_bits + 1)
        rounded = np.ldexp(np.rint(mantissas * scale) / scale, exponents)
        weight.assign(rounded.astype(np.float32))
