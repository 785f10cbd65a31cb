"""What a client answers with."""

from dataclasses import dataclass
from typing import NamedTuple


class Recommendation(NamedTuple):
    """An item and the rating that the user would give it."""

    item_id: str
    predicted_rating: float


class Prediction(NamedTuple):
    """The rating that the user would give an item.

    What is predicted for an item that is not `known` to the model says nothing
    about that item.
    """

    item_id: str
    predicted_rating: float
    known: bool


class Reason(NamedTuple):
    """A rating of the user's, and how far it moved a predicted rating."""

    item_id: str
    contribution: float


class Explanation(NamedTuple):
    """The ratings that moved the prediction for an item most.

    What moved it most comes first. For an item that is not `known` to the
    model there are no reasons.
    """

    item_id: str
    known: bool
    reasons: list[Reason]


@dataclass(frozen=True)
class Recommendations:
    """What the user would like best, best first, without what he rated.

    `num_known_items` counts the rated items that the model knows.
    """

    items: list[Recommendation]
    num_known_items: int


@dataclass(frozen=True)
class Predictions:
    """A prediction for each candidate, in the order of the candidates.

    `num_known_items` counts the rated items that the model knows.
    """

    items: list[Prediction]
    num_known_items: int


@dataclass(frozen=True)
class Explanations:
    """An explanation for each target, in the order of the targets.

    `num_known_items` counts the rated items that the model knows.
    """

    items: list[Explanation]
    num_known_items: int


@dataclass(frozen=True)
class Encoding:
    """The user as the model sees him.

    `num_known_items` counts the rated items that the model knows.
    """

    code: list[float]
    num_known_items: int
