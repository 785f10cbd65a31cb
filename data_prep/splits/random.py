"""A split at random."""

import dataclasses

import numpy as np

from data_prep.hashing import to_threshold
from data_prep.ratings import Ratings
from data_prep.splits.base import (
    TEST,
    TRAIN,
    VALIDATION,
    Outcomes,
    Split,
    check_fractions,
    draw_per_rating,
    to_fraction,
)


@dataclasses.dataclass(frozen=True)
class Random(Split):
    """Holds out each rating independently, whatever its user and time.

    Args:
        validation_fraction: the probability of validation.
        test_fraction: the probability of the test.

    Raises:
        UserError: for fractions that leave no training ratings.
    """

    validation_fraction: float = 0.1
    test_fraction: float = 0.1

    name = "random"
    needs_timestamps = False
    advice = "--validation-fraction and --test-fraction, or --seed"

    def __post_init__(self) -> None:
        check_fractions(self.validation_fraction, self.test_fraction)

    def assign(
        self, ratings: Ratings, seed: int, cuts: dict[str, float]
    ) -> Outcomes:
        test = to_fraction(self.test_fraction)
        held_out = test + to_fraction(self.validation_fraction)
        draws = draw_per_rating(ratings, seed)
        return np.select(
            [draws < to_threshold(test), draws < to_threshold(held_out)],
            [TEST, VALIDATION],
            TRAIN,
        ).astype(np.int8)
