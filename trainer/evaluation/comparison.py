"""Compares models on held-out ratings, all of them in one pass."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.evaluation.ranking import RankingMetrics, rank_unrated


class Candidates(NamedTuple):
    """What several models say of the same users, by the models' names.

    Attributes:
        ratings: predicted ratings, `(batch_size, num_items)` each.
        scores: what ranks items, the higher the better, of the same shape.
    """

    ratings: dict[str, tf.Tensor]
    scores: dict[str, tf.Tensor]


class Comparison(NamedTuple):
    """Metrics of several models on the same held-out ratings.

    Attributes:
        errors: `rmse`, `mae` and `num_ratings`, by the name of who predicts.
            Every held-out rating weighs the same.
        rankings: what `RankingMetrics` computes, by the name of who ranks.
    """

    errors: dict[str, dict[str, float]]
    rankings: dict[str, dict[str, float]]


def compare(
    answer: Callable[[tf.SparseTensor], Candidates],
    batches: tf.data.Dataset,
    item_counts: npt.NDArray[np.int64],
    liked_from: float,
) -> Comparison:
    """Measures all candidates in one pass over the users.

    Args:
        answer: maps ratings `(batch_size, num_items)` to the candidates. It is
            traced once.
        batches: pairs of training and held-out ratings, SparseTensors
            `(batch_size, num_items)`, such as
            `input_pipeline.evaluation_batches` returns.
        item_counts: training ratings of each item, `(num_items,)`.
        liked_from: the lowest rating of an item that is liked.

    Reference:
        Kuchaiev and Ginsburg, 2017, section 3: the input is the user's
        training ratings, and every held-out rating weighs the same
        (https://arxiv.org/abs/1708.01715).
    """

    @tf.function(input_signature=[batches.element_spec])
    def measure(
        batch: tuple[tf.SparseTensor, tf.SparseTensor],
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        ratings, held_out = batch
        candidates = answer(ratings)
        errors = {
            name: tf.gather_nd(predictions, held_out.indices) - held_out.values
            for name, predictions in candidates.ratings.items()
        }
        ranked = {
            name: rank_unrated(scores, ratings)
            for name, scores in candidates.scores.items()
        }
        return errors, ranked

    squares: dict[str, float] = {}
    distances: dict[str, float] = {}
    rankings: dict[str, RankingMetrics] = {}
    num_ratings = 0
    for batch in batches:
        errors, ranked = measure(batch)
        held_out = batch[1]
        indices, values = held_out.indices.numpy(), held_out.values.numpy()
        num_ratings += len(values)
        for name, tensor in errors.items():
            error = tensor.numpy().astype(np.float64)
            squares[name] = squares.get(name, 0.0) + float(error @ error)
            distances[name] = distances.get(name, 0.0) + float(
                np.abs(error).sum()
            )
        for name, lists in ranked.items():
            rankings.setdefault(
                name, RankingMetrics(item_counts, liked_from)
            ).update(lists.numpy(), indices, values)
    return Comparison(
        errors={
            name: {
                "rmse": math.sqrt(squares[name] / num_ratings),
                "mae": distances[name] / num_ratings,
                "num_ratings": num_ratings,
            }
            for name in squares
        },
        rankings={name: sums.result() for name, sums in rankings.items()},
    )
