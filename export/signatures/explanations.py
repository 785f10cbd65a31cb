"""Explains predictions by the user's ratings that contributed most."""

import tensorflow as tf

from export.signatures.predictor import Predictor

#: Number of ratings that explain a prediction.
NUM_REASONS = 5


class Explainer:
    """Measures how leaving out each rating of a history changes predictions.

    The contribution of a rating is the prediction for the whole history minus
    the prediction for the history without it. It is exact, including the
    change of the user's offset, and still a history of L ratings costs a batch
    of L + 1 rows rather than L + 1 histories: the first layer is a sum over
    the ratings, so leaving one out is a subtraction; and only the columns of
    the targets are computed in the last layer, so the size of the catalog
    does not matter.

    Users are explained one after the other, so the memory needed is that of
    the longest history, not of all of them.

    Args:
        predictor: predicts the ratings.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def explain(
        self, histories: tf.SparseTensor, targets: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Finds the ratings that contributed most to predictions.

        Args:
            histories: SparseTensor of ratings, `(batch_size, num_items)`, in
                order.
            targets: int64 `(batch_size, targets)`, item indices.

        Returns:
            Item indices, int64, and contributions, float32, both
            `(batch_size, targets, NUM_REASONS)`, the strongest first. A
            history with fewer ratings is filled up with -1 and 0.
        """
        centered_ratings, user_offsets = self._predictor.centering(histories)
        batch_size = tf.shape(targets, tf.int64)[0]
        # A loop must run at least once to know the shape of its outputs: an
        # empty batch is padded by a row without ratings.
        num_rows = tf.maximum(batch_size, 1)
        targets = tf.pad(targets, [[0, num_rows - batch_size], [0, 0]])
        user_offsets = tf.pad(
            user_offsets, [[0, num_rows - batch_size], [0, 0]]
        )
        starts = tf.searchsorted(
            histories.indices[:, 0], tf.range(num_rows + 1)
        )

        def explain_user(user: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            rated = slice(starts[user], starts[user + 1])
            items = histories.indices[rated, 1]
            contributions = self._contributions(
                items,
                centered_ratings.values[rated],
                user_offsets[user, 0],
                targets[user],
            )
            return _strongest(items, tf.transpose(contributions))

        reasons, contributions = tf.map_fn(
            explain_user,
            tf.range(num_rows),
            fn_output_signature=(
                tf.TensorSpec([None, NUM_REASONS], tf.int64),
                tf.TensorSpec([None, NUM_REASONS], tf.float32),
            ),
            parallel_iterations=1,
        )
        return reasons[:batch_size], contributions[:batch_size]

    def _contributions(
        self,
        items: tf.Tensor,
        centered_ratings: tf.Tensor,
        user_offset: tf.Tensor,
        targets: tf.Tensor,
    ) -> tf.Tensor:
        """Computes the contribution of each rating to each prediction.

        Args:
            items: `(num_ratings,)`, the items that the user rated.
            centered_ratings: `(num_ratings,)`, their ratings.
            user_offset: scalar, which the centering subtracted.
            targets: `(targets,)`, item indices.

        Returns:
            `(num_ratings, targets)`.
        """
        # Let k be the rows of the kernel, r the ratings centered except for
        # the user's offset, and o the user's offset without rating e. For the
        # history without e, the first layer computes
        #
        #     sum over j != e of (r[j] - o) * k[j]
        #         = sum(r * k) - o * sum(k) - (r[e] - o) * k[e]
        kernel = tf.gather(self._predictor.read_input_kernel(), items)
        ratings = centered_ratings + user_offset
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
            self._predictor.decode(self._predictor.encode_sums(sums), targets)
            + offsets[:, tf.newaxis]
        )
        return predictions[0] - predictions[1:]

    def _offsets_without_each(self, ratings: tf.Tensor) -> tf.Tensor:
        """Computes the user's offset without each of their ratings."""
        centering = self._predictor.centering
        if centering.mode != "user_item":
            return tf.zeros_like(ratings)
        num_others = tf.cast(tf.size(ratings) - 1, tf.float32)
        return tf.math.divide_no_nan(
            tf.reduce_sum(ratings) - ratings,
            num_others + centering.user_damping,
        )


def _strongest(
    items: tf.Tensor, contributions: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Selects the ratings of one user with the largest contributions.

    Args:
        items: `(num_ratings,)`.
        contributions: `(targets, num_ratings)`.

    Returns:
        Item indices and contributions, `(targets, NUM_REASONS)`.
    """
    # Fillers make sure that there are enough entries to select from.
    fillers = tf.fill([tf.shape(contributions)[0], NUM_REASONS], -1.0)
    items = tf.concat(
        [items, tf.fill([NUM_REASONS], tf.constant(-1, tf.int64))], axis=0
    )
    sizes, selected = tf.math.top_k(
        tf.concat([tf.abs(contributions), fillers], axis=1), NUM_REASONS
    )
    contributions = tf.concat([contributions, fillers], axis=1)
    return (
        tf.gather(items, selected),
        tf.where(
            sizes >= 0, tf.gather(contributions, selected, batch_dims=1), 0.0
        ),
    )
