"""Explains scores by the user's ratings that contributed most."""

from typing import Any

import tensorflow as tf

from export.signatures.predictor import Predictor

#: Number of ratings that explain a score.
NUM_REASONS = 5


class Explainer:
    """Finds the ratings without which a score would change most.

    The contribution of a rating is the score for the whole history minus the
    score for the history without it. It is exact, including the change of the
    user's offset.

    Users are explained one after the other, so the memory needed is that of
    the longest history, not of all of them.

    Args:
        predictor: computes the scores.
    """

    def __init__(self, predictor: Predictor[Any]) -> None:
        self._predictor = predictor

    def explain(
        self, histories: tf.SparseTensor, targets: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Finds the ratings that contributed most to scores.

        Args:
            histories: SparseTensor of ratings, `(batch_size, num_items)`, in
                order.
            targets: int64 `(batch_size, targets)`, item indices.

        Returns:
            Item indices, int64, and contributions, float32, both
            `(batch_size, targets, NUM_REASONS)`, the strongest first. A
            history with fewer ratings is filled up with -1 and 0.
        """
        batch_size = tf.shape(targets, tf.int64)[0]
        # A loop must run at least once to know the shape of its outputs: an
        # empty batch is padded by a row without ratings.
        num_rows = tf.maximum(batch_size, 1)
        targets = tf.pad(targets, [[0, num_rows - batch_size], [0, 0]])
        starts = tf.searchsorted(
            histories.indices[:, 0], tf.range(num_rows + 1)
        )

        def explain_user(user: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            rated = slice(starts[user], starts[user + 1])
            items = histories.indices[rated, 1]
            contributions = self._predictor.leave_each_out(
                items, histories.values[rated], targets[user]
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
