"""Errors over all held-out ratings, those of cold items included."""

import math
from collections.abc import Mapping

import tensorflow as tf

from data_prep.dataset.items import Items
from trainer.model.layers import RatingCentering


def include_cold_ratings(
    errors: Mapping[str, float], items: Items, batches: tf.data.Dataset
) -> dict[str, float]:
    """Adds the errors of cold ratings to those of ratings of known items.

    A cold item has no training ratings, so a model predicts the mean rating
    plus the user's offset, as the served signatures do.

    Args:
        errors: `rmse`, `mae` and `num_ratings` over held-out ratings of known
            items.
        items: the items, with the statistics of their training ratings.
        batches: pairs of training and cold ratings, such as
            `input_pipeline.cold_rating_batches` returns.

    Returns:
        `rmse`, `mae` and `num_ratings` over both. Every rating weighs the
        same.
    """
    centering = RatingCentering.from_statistics(
        "user_item", items.counts, items.means
    )

    @tf.function(input_signature=[batches.element_spec], autograph=False)
    def measure(batch: tuple[tf.SparseTensor, tf.SparseTensor]) -> tf.Tensor:
        ratings, cold = batch
        predictions = centering.predict_cold(ratings)[:, 0]
        predictions = tf.gather(predictions, cold.indices[:, 0])
        differences = tf.cast(predictions - cold.values, tf.float64)
        return tf.stack(
            [
                tf.reduce_sum(differences**2),
                tf.reduce_sum(tf.abs(differences)),
                tf.cast(tf.size(differences), tf.float64),
            ]
        )

    known = errors["num_ratings"]
    squares, distances = known * errors["rmse"] ** 2, known * errors["mae"]
    count = known
    for batch in batches:
        cold_squares, cold_distances, num_cold = measure(batch).numpy().tolist()
        squares += cold_squares
        distances += cold_distances
        count += int(num_cold)
    return {
        "rmse": math.sqrt(squares / count),
        "mae": distances / count,
        "num_ratings": count,
    }
