"""The cold-start curve: what a model is worth by number of known ratings."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.evaluation.comparison import compare
from trainer.evaluation.deviations import Deviations
from trainer.evaluation.outcomes import Candidates
from trainer.evaluation.ranking import Rankings
from trainer.evaluation.rating_errors import Errors

#: Numbers of shown ratings. `None` shows all.
SHOWN = (0, 1, 2, 5, 10, None)

#: Users who are measured at most. Records are in the order of hashed user
#: ids, so the first are a random sample.
_MAX_USERS = 512


def measure_cold_start(
    answer: Callable[[tf.SparseTensor], Candidates],
    batches: tf.data.Dataset,
    item_counts: npt.NDArray[np.int64],
    liked_from: float,
    rating_range: tuple[float, float],
) -> list[dict[str, Any]]:
    """Measures models that are shown only a few ratings of each user.

    The ratings that are shown are drawn at random; more shown ratings include
    the fewer. Held-out ratings are predicted, and items ranked, as ever: the
    lists leave out all training ratings, shown or not, so that the figures
    differ only by what is known of the user. At most 512 users are measured.

    Args:
        answer: maps ratings `(batch_size, num_items)` to the candidates.
        batches: pairs of training and held-out ratings.
        item_counts: training ratings of each item, `(num_items,)`.
        liked_from: the lowest rating of an item that is liked.
        rating_range: lowest and highest rating of the scale.

    Returns:
        For each of `SHOWN`: `num_shown`, `None` for all; `errors`, `ranking`
        and `uncertainty`, by the models' names.
    """

    def answer_each(ratings: tf.SparseTensor) -> Candidates:
        candidates = Candidates({}, {}, {})
        for num_shown in SHOWN:
            some = answer(show_part(ratings, num_shown))
            for everything, part in zip(candidates, some, strict=True):
                everything.update(
                    {f"{num_shown}/{name}": part[name] for name in part}
                )
        return candidates

    first = next(iter(batches), None)
    batch_size = int(first[0].dense_shape[0]) if first else 1
    errors, rankings = Errors(rating_range), Rankings(item_counts, liked_from)
    deviations = Deviations(rating_range)
    compare(
        answer_each,
        batches.take(-(-_MAX_USERS // batch_size)),
        [errors, rankings, deviations],
    )
    return [
        {
            "num_shown": num_shown,
            "errors": _select(errors.result(), num_shown),
            "ranking": _select(rankings.result(), num_shown),
            "uncertainty": _select(deviations.result(), num_shown),
        }
        for num_shown in SHOWN
    ]


def _select(
    figures: Mapping[str, dict[str, Any]], num_shown: int | None
) -> dict[str, dict[str, Any]]:
    prefix = f"{num_shown}/"
    return {
        name.removeprefix(prefix): row
        for name, row in figures.items()
        if name.startswith(prefix)
    }


def show_part(
    ratings: tf.SparseTensor, num_shown: int | None
) -> tf.SparseTensor:
    """Draws some ratings of each user, the same in each call.

    Args:
        ratings: SparseTensor `(batch_size, num_items)`, in the order of the
            users.
        num_shown: how many ratings of each user to keep; `None` keeps all.

    Returns:
        A SparseTensor of the same shape.
    """
    if num_shown is None:
        return ratings
    users = ratings.indices[:, 0]
    draws = tf.random.stateless_uniform(
        tf.shape(users), seed=(0, 0), dtype=tf.float64
    )
    # Sorted by user, and at random within a user.
    order = tf.argsort(tf.cast(users, tf.float64) + draws)
    place_in_order = tf.cast(tf.argsort(order), tf.int64)
    counts = tf.math.bincount(
        tf.cast(users, tf.int32),
        minlength=tf.cast(ratings.dense_shape[0], tf.int32),
        dtype=tf.int64,
    )
    first_places = tf.cumsum(counts, exclusive=True)
    is_shown = place_in_order - tf.gather(first_places, users) < num_shown
    return tf.sparse.retain(ratings, is_shown)
