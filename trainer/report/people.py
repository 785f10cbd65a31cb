"""What a model does for single people: predictions, lists and reasons."""

import dataclasses
import heapq
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.evaluation.outcomes import Outcomes
from trainer.evaluation.ranking import rank_unrated

#: Held-out ratings of a user, from which on their error says something.
_MIN_HELD_OUT = 10

#: Users with the lowest and with the highest error that are kept, each.
_NUM_EXTREMES = 3

#: People who are shown recommendations, and the lengths of their histories:
#: short enough for every rating to be left out once.
_NUM_PEOPLE = 5
_HISTORY_LENGTHS = (10, 60)

_NUM_RECOMMENDATIONS = 5
_NUM_REASONS = 2


@dataclasses.dataclass(frozen=True, eq=False)
class PredictedUser:
    """A test user, with what they rated and what was predicted.

    Attributes:
        rmse: root mean squared error over their test ratings.
        num_training_ratings: number of ratings that the model knows.
        items: items of the test ratings, `(num_held_out,)`.
        ratings: the test ratings, `(num_held_out,)`.
        predictions: their predictions, `(num_held_out,)`.
    """

    rmse: float
    num_training_ratings: int
    items: npt.NDArray[np.int64]
    ratings: npt.NDArray[np.float32]
    predictions: npt.NDArray[np.float32]


class ExtremeUsers:
    """Keeps the users whom a model predicts best and worst.

    Users with fewer than ten held-out ratings do not count.

    Args:
        name: the name of the model among those that predict.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        # Heaps of (order, number of the user, user): the number decides
        # between equals, as users have no order.
        self._best: list[tuple[float, int, PredictedUser]] = []
        self._worst: list[tuple[float, int, PredictedUser]] = []
        self._num_users = 0

    def update(self, outcomes: Outcomes) -> None:
        """Adds a batch of users."""
        predictions = outcomes.predictions[self._name]
        squares = (predictions.astype(np.float64) - outcomes.ratings) ** 2
        num_users = len(outcomes.history_lengths)
        counts = np.bincount(outcomes.users, minlength=num_users)
        errors = np.sqrt(
            np.bincount(outcomes.users, squares, num_users)
            / np.maximum(counts, 1)
        )
        for row in np.flatnonzero(counts >= _MIN_HELD_OUT):
            is_own = outcomes.users == row
            user = PredictedUser(
                rmse=float(errors[row]),
                num_training_ratings=int(outcomes.history_lengths[row]),
                items=outcomes.items[is_own],
                ratings=outcomes.ratings[is_own],
                predictions=predictions[is_own],
            )
            self._num_users += 1
            for heap, order in (
                (self._best, -user.rmse),
                (self._worst, user.rmse),
            ):
                heapq.heappush(heap, (order, self._num_users, user))
                if len(heap) > _NUM_EXTREMES:
                    heapq.heappop(heap)

    @property
    def best(self) -> list[PredictedUser]:
        """The users with the lowest error, the lowest first."""
        return [user for _, _, user in sorted(self._best, reverse=True)]

    @property
    def worst(self) -> list[PredictedUser]:
        """The users with the highest error, the highest first."""
        return [user for _, _, user in sorted(self._worst, reverse=True)]


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """An item in somebody's list.

    Attributes:
        item: its index.
        is_liked: whether the user liked it later, by their held-out ratings;
            `None` if they did not rate it.
        reasons: items of the history without which its score would be lower,
            the strongest first.
    """

    item: int
    is_liked: bool | None
    reasons: list[int]


@dataclasses.dataclass(frozen=True)
class Person:
    """A user with their history and the list that they get.

    Attributes:
        history: items and ratings, the highest first.
        recommendations: the list, best first.
    """

    history: list[tuple[int, float]]
    recommendations: list[Recommendation]


def recommend_to_people(
    score: Callable[[tf.SparseTensor], tf.Tensor],
    batches: tf.data.Dataset,
    liked_from: float,
) -> list[Person]:
    """Recommends to a few test users, with reasons.

    A reason is a rating without which the score of the item would be lower:
    each rating is left out in turn.

    Args:
        score: maps ratings `(batch_size, num_items)` to scores.
        batches: pairs of training and held-out ratings. People are chosen from
            the first batch, with short and with longer histories.
        liked_from: the lowest rating of an item that is liked.
    """
    first = next(iter(batches), None)
    if first is None:
        return []
    ratings, held_out = first
    users, items = ratings.indices.numpy().T
    held_out_users, held_out_items = held_out.indices.numpy().T
    people = []
    for row in _choose_rows(np.bincount(users)):
        own = held_out_users == row
        later = dict(
            zip(
                held_out_items[own].tolist(),
                (held_out.values.numpy()[own] >= liked_from).tolist(),
                strict=True,
            )
        )
        history = items[users == row], ratings.values.numpy()[users == row]
        people.append(_recommend(score, *history, later, ratings.shape[1]))
    return people


def _choose_rows(lengths: npt.NDArray[np.int64]) -> list[int]:
    """Chooses users of evenly spread history lengths, the shortest first."""
    low, high = _HISTORY_LENGTHS
    by_length = np.argsort(lengths, kind="stable")
    fitting = by_length[
        (lengths[by_length] >= low) & (lengths[by_length] <= high)
    ]
    if len(fitting) < _NUM_PEOPLE:
        fitting = by_length[lengths[by_length] > 0][:_NUM_PEOPLE]
    places = np.linspace(0, len(fitting) - 1, min(_NUM_PEOPLE, len(fitting)))
    return [int(row) for row in fitting[places.astype(int)]]


def _recommend(
    score: Callable[[tf.SparseTensor], tf.Tensor],
    items: npt.NDArray[np.int64],
    ratings: npt.NDArray[np.float32],
    later: dict[int, bool],
    num_items: int,
) -> Person:
    # Row 0 is the whole history; row k leaves out its rating k - 1.
    is_shown = ~np.eye(len(items) + 1, len(items), k=-1, dtype=bool)
    rows, places = np.nonzero(is_shown)
    histories = tf.SparseTensor(
        np.stack([rows, items[places]], axis=1),
        ratings[places],
        [len(items) + 1, num_items],
    )
    scores = score(histories)
    whole = tf.sparse.slice(histories, [0, 0], [1, num_items])
    listed = rank_unrated(scores[:1], whole, _NUM_RECOMMENDATIONS).numpy()[0]
    listed = listed[listed >= 0]
    # (num_history, num_listed): what each rating adds to each score.
    scores_of_listed = tf.gather(scores, listed, axis=1).numpy()
    gains = scores_of_listed[:1] - scores_of_listed[1:]
    strongest = np.argsort(-gains, axis=0, kind="stable")[:_NUM_REASONS]
    best_first = np.argsort(-ratings, kind="stable")
    return Person(
        history=[
            (int(items[place]), float(ratings[place])) for place in best_first
        ],
        recommendations=[
            Recommendation(
                item=int(item),
                is_liked=later.get(int(item)),
                reasons=[
                    int(items[place])
                    for place in strongest[:, column]
                    if gains[place, column] > 0
                ],
            )
            for column, item in enumerate(listed)
        ],
    )
