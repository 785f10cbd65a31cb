"""Finds the items that a model scores alike: similarity of item vectors."""

from typing import Any

import numpy as np
import tensorflow as tf

from export.signatures.predictor import Predictor
from export.signatures.ranking import top_k


class ItemSimilarity:
    """Ranks items by the cosine of their vectors.

    The vector of an item holds its weights in the last layer
    (`Predictor.read_item_vectors`). Items with similar vectors are scored
    alike for every user.

        similarity(i, j) = vector[i] @ vector[j] / (|vector[i]| * |vector[j]|)

    An item whose vector is 0 has the similarity 0 to every item.

    Args:
        predictor: holds the item vectors.
        k: number of similar items per target, fewer than the catalog.
    """

    def __init__(self, predictor: Predictor[Any], k: int) -> None:
        self._predictor = predictor
        self._k = k
        # In float64, whose squares neither overflow nor vanish.
        vectors = predictor.read_item_vectors().numpy()
        norms = np.sqrt(
            np.einsum("ui,ui->i", vectors, vectors, dtype=np.float64)
        )
        is_zero = norms < np.finfo(np.float32).tiny
        self._inverse_norms = np.where(
            is_zero, 0.0, 1 / np.where(is_zero, 1.0, norms)
        ).astype(np.float32)

    def find_similar(self, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Finds the items most similar to each target, itself left out.

        Args:
            targets: int64 `(num_targets,)`, item indices.

        Returns:
            Item indices, int64, and similarities, float32 in [-1, 1], both
            `(num_targets, k)`, most similar first.
        """
        vectors = self._predictor.read_item_vectors()
        inverse_norms = tf.constant(self._inverse_norms)
        # (units, num_targets), each column of length 1
        of_targets = tf.gather(vectors, targets, axis=1) * tf.gather(
            inverse_norms, targets
        )
        similarities = (
            tf.matmul(of_targets, vectors, transpose_a=True) * inverse_norms
        )
        rows = tf.range(tf.size(targets, tf.int64))
        similarities = tf.tensor_scatter_nd_update(
            similarities,
            tf.stack([rows, targets], axis=1),
            tf.fill(tf.shape(targets), -float("inf")),
        )
        best, indices = top_k(similarities, self._k)
        # Rounding may lead a little beyond 1.
        return tf.cast(indices, tf.int64), tf.clip_by_value(best, -1.0, 1.0)
