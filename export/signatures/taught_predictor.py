"""Answers like a taught autoencoder: by interest and predicted rating."""

from typing import Any, NamedTuple, cast

import numpy as np
import tensorflow as tf

from export.signatures.predictor import Predictor
from export.signatures.ridge_decoder import RidgeDecoder
from trainer.model.sparse_products import multiply_sparse
from trainer.model.taught_autoencoder import TaughtAutoEncoder

#: Histories with one rating left out that are read at the same time.
_CHUNK_SIZE = 64


class Users(NamedTuple):
    """What a `TaughtPredictor` knows of users.

    Attributes:
        ratings: SparseTensor `(batch_size, num_items)`.
        offsets: `(batch_size, 1)`, which the centering subtracted.
        hidden: `(batch_size, units)`, the last hidden layer of the network.
        codes: `(batch_size, num_samples, 1 + rank)`, the codes of the ridge
            encoders; `None` if nobody asks them.
    """

    ratings: tf.SparseTensor
    offsets: tf.Tensor
    hidden: tf.Tensor
    codes: tf.Tensor | None


class TaughtPredictor(Predictor[Users]):
    """Answers like a `TaughtAutoEncoder`.

    The score is a sum of interest and predicted rating, and the predicted
    rating one of the network's and the ridge encoders':

        score = a * interest + b * rating
        rating = w * network + (1 - w) * encoders

    What the network adds to the score is linear in its last hidden layer, so
    all of it is one product with one kernel. The encoders cost more than that:
    they answer for the whole catalog only where their ratings rank, else for
    the items whose ratings are asked for. What has the weight 0 is not
    computed.

    Args:
        model: a trained model, its rating teacher `RidgeEncoders` or none.
        rank_by: one of `settings.RANK_BY`. `"score"` weighs as the model does.
    """

    vectors_from = "the output kernel of interest"

    def __init__(self, model: TaughtAutoEncoder, rank_by: str) -> None:
        self._model = model
        self._encoders = cast(Any, model.rating_teacher)
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
        self._network_weight = (
            1.0 if self._encoders is None else float(model.network_weight)
        )
        # What a unit of the network's and of the encoders' rating scores.
        self._network_share = rating_share * self._network_weight
        self._encoders_share = rating_share * (1 - self._network_weight)
        self._decoder = (
            RidgeDecoder(self._encoders) if self._encoders_share else None
        )

        def combine(interest: np.ndarray, rating: np.ndarray) -> np.ndarray:
            unit = self._network_share * deviation
            return interest_share * interest + unit * rating

        layers = model.interest_layer, model.rating_layer
        # (units, num_items)
        self._item_vectors = _constant(layers[0].reverse_kernel.numpy().T)
        if not self._network_share and interest_share:
            self._score_kernel = self._item_vectors
        elif self._network_share:
            self._score_kernel = _constant(
                combine(*(layer.reverse_kernel.numpy().T for layer in layers))
            )
        else:
            self._score_kernel = None
        self._score_bias = _constant(
            combine(*(layer.reverse_bias.numpy() for layer in layers))
            + self._network_share
            * (model.centering.mean + model.centering.item_offsets).numpy()
        )

    def read(self, ratings: tf.SparseTensor) -> Users:
        return self._read(ratings, asks_encoders=self._network_weight < 1)

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
            users = self._read(histories, self._encoders_share > 0)
            return self._score(users, targets)

        scores_without = tf.map_fn(
            lambda chunk: score_without(
                chunk * chunk_size + tf.range(chunk_size)
            ),
            tf.range(num_chunks),
            fn_output_signature=tf.TensorSpec([None, None], tf.float32),
            parallel_iterations=1,
        )
        scores_without = tf.reshape(
            scores_without,
            [num_chunks * chunk_size, tf.size(targets, tf.int64)],
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

    def _read(self, ratings: tf.SparseTensor, asks_encoders: bool) -> Users:
        centered_ratings, user_offsets = self._model.centering(ratings)
        hidden = self._model.decode_hidden(self._encode(centered_ratings))
        return Users(
            ratings,
            user_offsets,
            tf.cast(hidden, tf.float32),
            self._encoders.encode(ratings) if asks_encoders else None,
        )

    def _score(self, users: Users, items: tf.Tensor | None = None) -> tf.Tensor:
        """Computes the scores of the catalog, or of the items given."""
        scores = self._network_share * users.offsets
        if self._score_kernel is not None:
            kernel = tf.convert_to_tensor(self._score_kernel)
            bias = tf.convert_to_tensor(self._score_bias)
            if items is not None:
                kernel, bias = (
                    tf.gather(kernel, items, axis=1),
                    tf.gather(bias, items),
                )
            scores += tf.matmul(users.hidden, kernel) + bias
        if self._decoder is not None:
            scores += self._encoders_share * (
                self._decoder.decode(users.codes, users.ratings)
                if items is None
                else self._encoders.decode(users.codes, users.ratings, items)
            )
        return scores

    def _predict(self, users: Users, items: tf.Tensor) -> tf.Tensor:
        """Predicts the ratings of items, the same ones for all users."""
        ratings = 0.0
        if self._network_weight:
            layer = self._model.rating_layer
            kernel, bias = (
                tf.gather(tf.convert_to_tensor(weight.value), items)
                for weight in (layer.reverse_kernel, layer.reverse_bias)
            )
            outputs = tf.matmul(users.hidden, kernel, transpose_b=True) + bias
            ratings = self._network_weight * self._model.centering.restore(
                self._model.deviation * outputs, users.offsets, items
            )
        if users.codes is not None:
            ratings += (1 - self._network_weight) * self._encoders.decode(
                users.codes, users.ratings, items
            )
        return ratings


def _constant(values: np.ndarray) -> tf.Variable:
    """Makes a weight of the SavedModel."""
    return tf.Variable(values, trainable=False)
