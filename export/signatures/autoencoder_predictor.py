"""Answers like an autoencoder, which ranks items by predicted rating."""

import tensorflow as tf

from data_prep.dataset.errors import UserError
from export.signatures.predictor import Predictor
from trainer.model.autoencoder import AutoEncoder
from trainer.model.sparse_products import multiply_sparse


class AutoEncoderPredictor(Predictor[tf.Tensor]):
    """Answers like an `AutoEncoder`.

    What it reads of users is the prediction of all their ratings, which are
    the scores as well.

    Args:
        model: a trained model.
        rank_by: one of `settings.RANK_BY`. The score is the rating.

    Raises:
        UserError: items are to be ranked by interest, of which the model knows
            nothing.
    """

    ranks_by = "the predicted rating"
    is_scored_by_rating = True
    vectors_from = "the output kernel"

    def __init__(self, model: AutoEncoder, rank_by: str) -> None:
        if rank_by == "interest":
            raise UserError(
                "`rank_by` must be score or rating for a model that predicts"
                " ratings alone. Received: rank_by='interest'. A model of the"
                " recipe `recommended` knows interest."
            )
        self._model = model
        self._centering = model.centering
        self._input_layer = model.dense_layers[0]
        self.num_items = model.num_items
        # (units, num_items)
        self._output_kernel = tf.Variable(
            tf.transpose(self._input_layer.reverse_kernel.value),
            trainable=False,
            name="output_kernel",
        )

    def read(self, ratings: tf.SparseTensor) -> tf.Tensor:
        centered_ratings, user_offsets = self._centering(ratings)
        return self._centering.restore(
            self._decode(self._encode(centered_ratings)), user_offsets
        )

    def score(self, users: tf.Tensor) -> tf.Tensor:
        return users

    def predict(self, users: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        return tf.gather(users, items, batch_dims=1)

    def predict_ranked(
        self, users: tf.Tensor, items: tf.Tensor, scores: tf.Tensor
    ) -> tf.Tensor:
        # Reading `users` again would keep the scores of rated items from being
        # overwritten in place: a copy of the catalog for each user.
        return scores

    def encode(self, ratings: tf.SparseTensor) -> tf.Tensor:
        centered_ratings, _ = self._centering(ratings)
        return self._encode(centered_ratings)

    def leave_each_out(
        self, items: tf.Tensor, ratings: tf.Tensor, targets: tf.Tensor
    ) -> tf.Tensor:
        # A history of L ratings costs a batch of L + 1 rows rather than L + 1
        # histories: the first layer is a sum over the ratings, so leaving one
        # out is a subtraction. Let k be the rows of the kernel, r the ratings
        # centered except for the user's offset, and o the user's offset
        # without rating e. For the history without e, the first layer computes
        #
        #     sum over j != e of (r[j] - o) * k[j]
        #         = sum(r * k) - o * sum(k) - (r[e] - o) * k[e]
        centered_ratings, user_offsets = self._centering(
            tf.SparseTensor(
                tf.stack([tf.zeros_like(items), items], axis=1),
                ratings,
                [1, self.num_items],
            )
        )
        user_offset = user_offsets[0, 0]
        ratings = centered_ratings.values + user_offset
        kernel = tf.gather(self._read_input_kernel(), items)
        offsets = self._offsets_without_each(ratings)
        rating_sum = tf.linalg.matvec(kernel, ratings, transpose_a=True)
        kernel_sum = tf.reduce_sum(kernel, axis=0)
        sums_without_each = (
            rating_sum
            - offsets[:, tf.newaxis] * kernel_sum
            - (ratings - offsets)[:, tf.newaxis] * kernel
        )
        sum_of_all = rating_sum - user_offset * kernel_sum
        # (1 + num_ratings, units): the whole history, then without each rating
        sums = tf.concat([sum_of_all[tf.newaxis], sums_without_each], axis=0)
        offsets = tf.concat([user_offset[tf.newaxis], offsets], axis=0)
        predictions = (
            self._decode(self._encode_sums(sums), targets)
            + offsets[:, tf.newaxis]
        )
        return predictions[0] - predictions[1:]

    def read_item_vectors(self) -> tf.Tensor:
        return tf.convert_to_tensor(self._output_kernel)

    def _encode(self, centered_ratings: tf.SparseTensor) -> tf.Tensor:
        return self._encode_sums(
            multiply_sparse(centered_ratings, self._read_input_kernel())
        )

    def _read_input_kernel(self) -> tf.Tensor:
        """Returns the kernel of the first layer, float32 `(num_items, units)`.

        Gather its rows from this tensor, not from the variable: that makes
        every later read of the whole variable copy it.
        """
        return tf.convert_to_tensor(self._input_layer.kernel.value)

    def _encode_sums(self, sums: tf.Tensor) -> tf.Tensor:
        """Computes the code of each user from the sums of the first layer.

        Args:
            sums: `(batch_size, units)`, float32, for each user the sum of the
                rows of the input kernel times their centered ratings.

        Returns:
            `(batch_size, code_units)`.
        """
        return self._model.encode_hidden(
            self._input_layer.activation(sums + self._input_layer.bias.value)
        )

    def _decode(
        self, code: tf.Tensor, items: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Computes centered predictions from the code of each user.

        Args:
            code: `(batch_size, code_units)`.
            items: `(num_targets,)`, int64, the items to predict; by default
                the catalog in order.

        Returns:
            `(batch_size, num_items)` or `(batch_size, num_targets)`, float32.
        """
        hidden = self._model.decode_hidden(code)
        kernel = tf.convert_to_tensor(self._output_kernel)
        bias = tf.convert_to_tensor(self._input_layer.reverse_bias.value)
        if items is not None:
            kernel, bias = (
                tf.gather(kernel, items, axis=1),
                tf.gather(bias, items),
            )
        return self._input_layer.reverse_activation(
            tf.matmul(tf.cast(hidden, tf.float32), kernel) + bias
        )

    def _offsets_without_each(self, ratings: tf.Tensor) -> tf.Tensor:
        """Computes the user's offset without each of their ratings."""
        if self._centering.mode != "user_item":
            return tf.zeros_like(ratings)
        num_others = tf.cast(tf.size(ratings) - 1, tf.float32)
        return tf.math.divide_no_nan(
            tf.reduce_sum(ratings) - ratings,
            num_others + self._centering.user_damping,
        )
