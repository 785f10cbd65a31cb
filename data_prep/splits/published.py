"""Splits that others have published: test files, and Netflix months."""

import dataclasses
import datetime
import fractions
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from data_prep.dataset.schema import SUBSETS
from data_prep.hashing import to_threshold
from data_prep.ratings import Ratings
from data_prep.splits.base import (
    DROPPED,
    TEST,
    TRAIN,
    VALIDATION,
    Outcomes,
    Split,
    check_fractions,
    draw_per_rating,
    to_fraction,
)

OUTSIDE_DATES = "outside_the_dates_of_the_split"


@dataclasses.dataclass(frozen=True)
class Fold(Split):
    """Keeps published training and test files apart, such as u1.base, u1.test.

    The rows of `--test-ratings` are the test. Each other rating is for
    validation with a small probability, and for training otherwise.

    Args:
        validation_fraction: the probability of validation.

    Raises:
        UserError: for a fraction that leaves no training ratings.
    """

    validation_fraction: float = 0.05

    name = "fold"
    needs_timestamps = False
    needs_test_ratings = True
    advice = (
        "--validation-fraction, or --test-ratings (their users and items must"
        " be those of --ratings)"
    )

    def __post_init__(self) -> None:
        check_fractions(self.validation_fraction, 0)

    def assign(
        self, ratings: Ratings, seed: int, cuts: dict[str, float]
    ) -> Outcomes:
        threshold = to_threshold(to_fraction(self.validation_fraction))
        is_validation = draw_per_rating(ratings, seed) < threshold
        return np.select(
            [ratings.is_test, is_validation], [TEST, VALIDATION], TRAIN
        ).astype(np.int8)


class U1(Fold):
    """The first of the five folds that MovieLens-100K comes with."""

    name = source_fold = "u1"


class U2(Fold):
    """The second fold of MovieLens-100K."""

    name = source_fold = "u2"


class U3(Fold):
    """The third fold of MovieLens-100K."""

    name = source_fold = "u3"


class U4(Fold):
    """The fourth fold of MovieLens-100K."""

    name = source_fold = "u4"


class U5(Fold):
    """The fifth fold of MovieLens-100K."""

    name = source_fold = "u5"


@dataclasses.dataclass(frozen=True)
class Netflix(Split):
    """Trains on some months of the Netflix Prize data, tests on the next one.

    Each rating of the evaluation days is for validation or for the test with
    probability 1/2. All dates are inclusive and in UTC.

    The counts were published together with the splits. Those of the held-out
    ratings count validation and test together. They exclude held-out ratings
    of users and items without training ratings.

    Reference:
        Kuchaiev and Ginsburg, 2017, "Training Deep AutoEncoders for
        Collaborative Filtering" (https://arxiv.org/abs/1708.01715), table 2
        and the converter published with it.
    """

    training_days: ClassVar[tuple[str, str]]
    evaluation_days: ClassVar[tuple[str, str]]

    needs_timestamps = True
    advice = "--split (the data are not the Netflix Prize's)"
    outcomes = (*SUBSETS, OUTSIDE_DATES)

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "training_days": list(self.training_days),
            "evaluation_days": list(self.evaluation_days),
        }

    def assign(
        self, ratings: Ratings, seed: int, cuts: dict[str, float]
    ) -> Outcomes:
        outcomes = np.full(len(ratings), DROPPED, np.int8)
        outcomes[_is_within(ratings, self.training_days)] = TRAIN
        held_out = np.flatnonzero(_is_within(ratings, self.evaluation_days))
        draws = draw_per_rating(ratings.take(held_out), seed)
        half = to_threshold(fractions.Fraction(1, 2))
        outcomes[held_out] = np.where(draws < half, VALIDATION, TEST)
        return outcomes


class NetflixFull(Netflix):
    """All of the Netflix Prize data except for its first month."""

    name = "netflix-full"
    training_days = ("1999-12-01", "2005-11-30")
    evaluation_days = ("2005-12-01", "2005-12-31")
    published_counts: ClassVar = {
        "train_ratings": 98_074_901,
        "train_users": 477_412,
        "train_items": 17_768,
        "held_out_ratings": 2_250_481,
        "held_out_users": 173_482,
        "held_out_items": 17_305,
    }


class Netflix3Months(Netflix):
    """Three months of the Netflix Prize data."""

    name = "netflix-3m"
    training_days = ("2005-09-01", "2005-11-30")
    evaluation_days = ("2005-12-01", "2005-12-31")
    published_counts: ClassVar = {
        "train_ratings": 13_675_402,
        "train_users": 311_315,
        "train_items": 17_736,
        "held_out_ratings": 2_082_559,
        "held_out_users": 160_906,
        "held_out_items": 17_261,
    }


class Netflix6Months(Netflix):
    """Six months of the Netflix Prize data."""

    name = "netflix-6m"
    training_days = ("2005-06-01", "2005-11-30")
    evaluation_days = ("2005-12-01", "2005-12-31")
    published_counts: ClassVar = {
        "train_ratings": 29_179_009,
        "train_users": 390_795,
        "train_items": 17_757,
        "held_out_ratings": 2_175_535,
        "held_out_users": 169_541,
        "held_out_items": 17_290,
    }


class Netflix1Year(Netflix):
    """One year of the Netflix Prize data."""

    name = "netflix-1y"
    training_days = ("2004-06-01", "2005-05-31")
    evaluation_days = ("2005-06-01", "2005-06-30")
    published_counts: ClassVar = {
        "train_ratings": 41_451_832,
        "train_users": 345_855,
        "train_items": 16_907,
        "held_out_ratings": 3_888_684,
        "held_out_users": 197_951,
        "held_out_items": 16_506,
    }


def _is_within(
    ratings: Ratings, days: tuple[str, str]
) -> npt.NDArray[np.bool_]:
    first, last = (datetime.date.fromisoformat(day) for day in days)
    start, end = (
        datetime.datetime.combine(day, datetime.time(), datetime.UTC)
        for day in (first, last + datetime.timedelta(days=1))
    )
    return (ratings.timestamps >= start.timestamp()) & (
        ratings.timestamps < end.timestamp()
    )
