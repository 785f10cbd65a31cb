"""Chooses on validation ratings how a model's answers are mixed."""

import numpy as np
import tensorflow as tf

from trainer.evaluation.ranking import RankingMetrics, rank_unrated
from trainer.taught_autoencoder import TaughtAutoEncoder

#: Weights of the rating in the score that are tried, per standard deviation
#: of the ratings. More brings liked items up and all others down, and one item
#: into the lists of more users.
RATING_WEIGHTS = (0.0, 0.25, 0.5, 1.0)


def choose_network_weight(
    model: TaughtAutoEncoder, batches: tf.data.Dataset
) -> float:
    """Sets the weight of the network beside its teacher in predicted ratings.

    The weight in [0, 1] of least squared error is known in closed form: with
    network `f`, teacher `t` and held-out rating `r`,

        weight = sum((f - t) (r - t)) / sum((f - t)^2)

    A network does better on users whom it was trained on, a teacher on all
    alike: choose on users of both kinds.

    Args:
        model: a trained model. Without a rating teacher its weight is 1.
        batches: pairs of training and validation ratings of the same users,
            as `input_pipeline.evaluation_batches` makes them.

    Returns:
        The weight, which `model` has from now on.
    """
    model.network_weight.assign(1.0)
    teacher = model.rating_teacher
    if teacher is None:
        return 1.0

    @tf.function(reduce_retracing=True)
    def add_up(
        ratings: tf.SparseTensor, held_out: tf.SparseTensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        taught = tf.gather_nd(teacher(ratings), held_out.indices)
        network = tf.gather_nd(model(ratings), held_out.indices)
        differences = network - taught
        return (
            tf.reduce_sum(differences * (held_out.values - taught)),
            tf.reduce_sum(differences**2),
        )

    gain = squares = 0.0
    for batch in batches:
        batch_gain, batch_squares = add_up(*batch)
        gain += float(batch_gain)
        squares += float(batch_squares)
    weight = float(np.clip(gain / squares, 0, 1)) if squares > 0 else 1.0
    model.network_weight.assign(weight)
    return weight


def choose_rating_weight(
    model: TaughtAutoEncoder,
    batches: tf.data.Dataset,
    item_counts: np.ndarray,
    liked_from: float,
) -> float:
    """Sets the weight of the predicted rating in the score that ranks.

    Args:
        model: a trained model, with the `network_weight` that it will have.
        batches: pairs of training and validation ratings of the same users.
        item_counts: training ratings of each item, `(num_items,)`.
        liked_from: the lowest rating of an item that is liked.

    Returns:
        The one of `RATING_WEIGHTS` with the highest mean of NDCG@10 over liked
        and over all held-out items, which `model` has from now on.
    """

    @tf.function(reduce_retracing=True)
    def rank(ratings: tf.SparseTensor) -> list[tf.Tensor]:
        model.rating_weight.assign(0.0)
        interest = model.scores(ratings)
        model.rating_weight.assign(1.0)
        rating = model.scores(ratings) - interest
        return [
            rank_unrated(interest + weight * rating, ratings)
            for weight in RATING_WEIGHTS
        ]

    metrics = [RankingMetrics(item_counts, liked_from) for _ in RATING_WEIGHTS]
    for ratings, held_out in batches:
        indices, values = held_out.indices.numpy(), held_out.values.numpy()
        for sums, ranked in zip(metrics, rank(ratings), strict=True):
            sums.update(ranked.numpy(), indices, values)
    results = [sums.result() for sums in metrics]
    gains = [r["liked/ndcg@10"] + r["all/ndcg@10"] for r in results]
    weight = RATING_WEIGHTS[int(np.argmax(gains))]
    model.rating_weight.assign(weight)
    return weight
