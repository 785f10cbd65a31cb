"""The interface of a split, and what several splits share.

A split decides which ratings are held out. The decision is its method
`assign`, which sees all ratings of some users and returns the outcome of each
rating: `train`, `validation`, `test`, or the reason why the rating is dropped.
The method never sees how users are spread over files and workers, and random
choices hash the ids and the seed (`data_prep.hashing.draw_uniform`), so the
outcome depends on neither row order, nor number of shards, nor engine.
`registry` lists the splits by name.
"""

import abc
import dataclasses
import fractions
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from data_prep.dataset.errors import UserError
from data_prep.dataset.schema import SUBSETS
from data_prep.hashing import draw_uniform
from data_prep.ratings import Ratings

#: For each rating the position of its outcome in the split's `outcomes`.
Outcomes = npt.NDArray[np.int8]

#: Returns the exact quantile of all timestamps at each share of them.
QuantileFinder = Callable[[Sequence[fractions.Fraction]], Sequence[float]]

TRAIN, VALIDATION, TEST, DROPPED = range(4)


@dataclasses.dataclass(frozen=True)
class Split(abc.ABC):
    """A way to hold ratings out."""

    name: ClassVar[str]
    needs_timestamps: ClassVar[bool]
    #: Whether the test is what the source marks as such.
    needs_test_ratings: ClassVar[bool] = False
    #: Fold of a public data set, which the source then marks as its test.
    source_fold: ClassVar[str | None] = None
    #: What the user can change if a subset comes out empty.
    advice: ClassVar[str]
    #: The subsets that must have ratings.
    filled_subsets: ClassVar[tuple[str, ...]] = tuple(SUBSETS)
    #: The subsets, followed by the reasons to drop a rating.
    outcomes: ClassVar[tuple[str, ...]] = tuple(SUBSETS)
    #: Published counts of this split, by what is counted.
    published_counts: ClassVar[dict[str, int]] = {}

    def describe(self) -> dict[str, Any]:
        """Returns the name and the parameters, for the manifest."""
        parameters = dataclasses.asdict(self)
        return {"name": self.name} | {
            name: value
            for name, value in parameters.items()
            if value is not None
        }

    def find_cuts(self, find_quantiles: QuantileFinder) -> dict[str, float]:
        """Returns the first timestamps of `validation` and `test`, in seconds.

        The result is empty for a split that is not cut by time.

        Args:
            find_quantiles: computes quantiles of all timestamps; a full pass
                over the data.
        """
        return {}

    @abc.abstractmethod
    def assign(
        self, ratings: Ratings, seed: int, cuts: dict[str, float]
    ) -> Outcomes:
        """Returns the outcome of each rating.

        Args:
            ratings: all ratings of some users, without duplicates, sorted by
                user and item.
            seed: the seed of random choices.
            cuts: the result of `find_cuts`.

        Returns:
            int8 `(num_ratings,)`.
        """


def draw_per_rating(ratings: Ratings, seed: int) -> npt.NDArray[np.uint64]:
    """Draws a number for each rating, uniform in [0, 2^64)."""
    return draw_uniform(
        ratings.user_ids, ratings.item_ids, ratings.users, ratings.items, seed
    )


def check_fractions(validation: float, test: float) -> None:
    """Checks that two fractions leave training ratings.

    Raises:
        UserError: if they do not.
    """
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise UserError(
            "--validation-fraction and --test-fraction must be at least 0 and"
            f" together less than 1. Received: {validation} and {test}"
        )


def to_fraction(number: float | None) -> fractions.Fraction:
    """Converts a decimal number exactly as it is written.

    0.1 becomes one tenth, not the nearest binary number.
    """
    return fractions.Fraction(str(number))
