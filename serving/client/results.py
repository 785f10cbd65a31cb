"""What a client returns.

Everywhere, `known` tells whether the model knows an item, and
`num_known_items` counts the items that the user rated and the model knows.
`title` is the item's title, or its id if it has none or the model knows no
titles. Ratings and predictions are on the rating scale of the model. A score is
what the model ranks items by: the predicted rating, or how interested the user
is in the item, or some of both. Only scores of one user compare.
"""

from dataclasses import dataclass
from typing import NamedTuple


class Recommendation(NamedTuple):
    """An item, the rating that the user is predicted to give it, its score."""

    item_id: str
    predicted_rating: float
    score: float
    title: str


class Prediction(NamedTuple):
    """The rating that the user is predicted to give an item.

    For an item that is not `known` the prediction says nothing about the item.
    `standard_deviation` is that of the rating around the prediction; older
    models do not know it.
    """

    item_id: str
    predicted_rating: float
    known: bool
    standard_deviation: float | None = None


class Reason(NamedTuple):
    """A rated item, and how far its rating moved a score.

    `contribution` is the score minus what it would be without that rating.
    """

    item_id: str
    contribution: float
    title: str


class Explanation(NamedTuple):
    """The ratings that moved the score of an item most, largest first.

    An item that is not `known` has no reasons.
    """

    item_id: str
    known: bool
    reasons: list[Reason]


class SimilarItem(NamedTuple):
    """An item, and its similarity to another one.

    `similarity` is the cosine of the two items' rows of the model's output
    kernel, from -1 to 1.
    """

    item_id: str
    similarity: float
    title: str


class SimilarItems(NamedTuple):
    """The items most similar to an item, the most similar first.

    An item that is not `known` has no similar ones.
    """

    item_id: str
    known: bool
    items: list[SimilarItem]


@dataclass(frozen=True)
class Recommendations:
    """The items of highest score that the user did not rate, best first."""

    items: list[Recommendation]
    num_known_items: int


@dataclass(frozen=True)
class Predictions:
    """A prediction for each candidate, in the order of the candidates."""

    items: list[Prediction]
    num_known_items: int


@dataclass(frozen=True)
class Explanations:
    """An explanation for each target, in the order of the targets."""

    items: list[Explanation]
    num_known_items: int


@dataclass(frozen=True)
class Similarities:
    """The similar items of each item asked about, in that order."""

    items: list[SimilarItems]


@dataclass(frozen=True)
class Encoding:
    """The code of the user, `code_units` numbers: the encoder's output."""

    code: list[float]
    num_known_items: int
