"""Answers like a taught autoencoder: by interest and predicted rating."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from export.signatures.predictor import Predictor
from trainer.sparse_products import multiply_sparse
from trainer.taught_autoencoder import TaughtAutoEncoder

#: Histories with one rating left out that are read at the same time.
_CHUNK_SIZE = 64


class Users(NamedTuple):
    """What a `TaughtPredictor` knows of users.

    Attributes:
        ratings: SparseTensor `(batch_size, num_items)`.
        offsets: `(batch_size, 1)`, which the centering subtracted.
        hidden: `(batch_size, units)`, the last hidden layer of the network.
    """

    ratings: tf.SparseTensor
    offsets: tf.Tensor
    hidden: tf.Tensor


class TaughtPredictor(Predictor[Users]):
    """Answers like a `TaughtAutoEncoder`.

    The score is a sum of interest and predicted rating, and the predicted
    rating one of network and rating teacher:

        score = a * interest + b * rating
        rating = w * network + (1 - w) * teacher

    What the network adds is linear in its last hidden layer, so all of it is
    one product with one kernel. The teacher, which costs more than that, runs
    for the whole catalog only where it ranks; else for the items whose ratings
    are asked for.

    Args:
        model: a trained model.
        rank_by: one of `settings.RANK_BY`. `"score"` weighs as the model does.
    """

    vectors_from = "the output kernel of interest"

    def __init__(self, model: TaughtAutoEncoder, rank_by: str) -> None:
        self._model = model
        self._teacher = model.rating_teacher
        self.num_items = model.num_items
        deviation = float(model.deviation)
        rating_weight = float(model.rating_weight)
        self.is_scored_by_rating = rank_by == "rating"
        interest_share, rating_share, self.ranks_by = {
            "score": (
                1.0,
                rating_weight / deviation,
                f"the interest plus {rating_weight:g} times the predicted"
                f" rating in standard deviations of {deviation:.4g}",
            ),
            "rating": (0.0, 1.0, "the predicted rating"),
            "interest": (1.0, 0.0, "the interest"),
        }[rank_by]
        self._rating_share = rating_share
        self._network_weight = (
            1.0 if model.rating_teacher is None else float(model.network_weight)
        )
        network_share = rating_share * self._network_weight
        unit = network_share * deviation
        # (units, num_items)
        self._item_vectors = _to_columns(
            model.interest_layer.reverse_kernel.numpy(), "interest_kernel"
        )
        self._score_kernel = (
            self._item_vectors
            if interest_share and not unit
            else _to_columns(
                interest_share * model.interest_layer.reverse_kernel.numpy()
                + unit * model.rating_layer.reverse_kernel.numpy(),
                "score_kernel",
            )
        )
        biases = model.centering.mean + model.centering.item_offsets
        self._score_bias = tf.Variable(
            interest_share * model.interest_layer.reverse_bias.value
            + unit * model.rating_layer.reverse_bias.value
            + network_share * biases,
            trainable=False,
            name="score_bias",
        )
        self._user_share = network_share

    def read(self, ratings: tf.SparseTensor) -> Users:
        centered_ratings, user_offsets = self._model.centering(ratings)
        hidden = self._model.decode_hidden(self._encode(centered_ratings))
        return Users(ratings, user_offsets, tf.cast(hidden, tf.float32))

    def score(self, users: Users) -> tf.Tensor:
        return self._score(users)

    def predict(self, users: Users, items: tf.Tensor) -> tf.Tensor:
        distinct, columns = tf.unique(tf.reshape(items, [-1]))
        ratings = self._predict(users, distinct)
        return tf.gather(
            ratings, tf.reshape(columns, tf.shape(items)), batch_dims=1
        )

    def encode(self, ratings: tf.SparseTensor) -> tf.Tensor:
        centered_ratings, _ = self._model.centering(ratings)
        return self._encode(centered_ratings)

    def leave_each_out(
        self, items: tf.Tensor, ratings: tf.Tensor, targets: tf.Tensor
    ) -> tf.Tensor:
        num_ratings = tf.size(items, tf.int64)
        chunk_size = tf.clip_by_value(num_ratings, 1, _CHUNK_SIZE)
        # A loop must run at least once to know the shape of its output.
        num_chunks = tf.maximum(-(-num_ratings // chunk_size), 1)

        def score_without(left_out: tf.Tensor) -> tf.Tensor:
            """Scores the history without the rating at each position."""
            kept = tf.where(left_out[:, tf.newaxis] != tf.range(num_ratings))
            rows, positions = tf.unstack(kept, axis=1)
            histories = tf.SparseTensor(
                tf.stack([rows, tf.gather(items, positions)], axis=1),
                tf.gather(ratings, positions),
                [tf.size(left_out, tf.int64), self.num_items],
            )
            return self._score(self.read(histories), targets)

        scores_without = tf.map_fn(
            lambda chunk: score_without(
                chunk * chunk_size + tf.range(chunk_size)
            ),
            tf.range(num_chunks),
            fn_output_signature=tf.TensorSpec([None, None], tf.float32),
            parallel_iterations=1,
        )
        scores_without = tf.reshape(
            scores_without, [num_chunks * chunk_size, tf.size(targets)]
        )
        # There is no rating at position -1: nothing is left out.
        scores = score_without(tf.constant([-1], tf.int64))
        return scores - scores_without[:num_ratings]

    def read_item_vectors(self) -> tf.Tensor:
        return tf.convert_to_tensor(self._item_vectors)

    def _encode(self, centered_ratings: tf.SparseTensor) -> tf.Tensor:
        model = self._model
        values, mask = model.scale_inputs(centered_ratings)
        return model.encode_sums(
            sum(
                multiply_sparse(
                    inputs, tf.convert_to_tensor(layer.kernel.value)
                )
                + layer.bias.value
                for inputs, layer in (
                    (values, model.rating_layer),
                    (mask, model.interest_layer),
                )
            )
        )

    def _score(self, users: Users, items: tf.Tensor | None = None) -> tf.Tensor:
        """Computes the scores of the catalog, or of the items given."""
        kernel = tf.convert_to_tensor(self._score_kernel)
        bias = tf.convert_to_tensor(self._score_bias)
        if items is not None:
            kernel, bias = (
                tf.gather(kernel, items, axis=1),
                tf.gather(bias, items),
            )
        scores = tf.matmul(users.hidden, kernel) + (
            bias + self._user_share * users.offsets
        )
        teacher_share = self._rating_share * (1 - self._network_weight)
        if self._teacher is not None and teacher_share:
            scores += teacher_share * self._teacher(users.ratings, items)
        return scores

    def _predict(self, users: Users, items: tf.Tensor) -> tf.Tensor:
        """Predicts the ratings of items, the same ones for all users."""
        if self._teacher is not None and not self._network_weight:
            return self._teacher(users.ratings, items)
        model, layer = self._model, self._model.rating_layer
        kernel = tf.gather(
            tf.convert_to_tensor(layer.reverse_kernel.value), items
        )
        bias = tf.gather(tf.convert_to_tensor(layer.reverse_bias.value), items)
        outputs = tf.matmul(users.hidden, kernel, transpose_b=True) + bias
        ratings = model.centering.restore(
            model.deviation * outputs, users.offsets, items
        )
        if self._teacher is None or self._network_weight == 1:
            return ratings
        taught = self._teacher(users.ratings, items)
        return taught + self._network_weight * (ratings - taught)


def _to_columns(kernel: np.ndarray, name: str) -> tf.Variable:
    """Makes a variable with a column per row of a kernel."""
    return tf.Variable(kernel.T, trainable=False, name=name)
