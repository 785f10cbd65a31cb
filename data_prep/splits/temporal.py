"""Splits by time: later ratings are held out."""

import dataclasses
import datetime

import numpy as np
import numpy.typing as npt

from data_prep.dataset.errors import UserError
from data_prep.dataset.schema import SUBSETS
from data_prep.hashing import hash_strings
from data_prep.ratings import Ratings
from data_prep.splits.base import (
    DROPPED,
    TEST,
    TRAIN,
    VALIDATION,
    Outcomes,
    QuantileFinder,
    Split,
    check_fractions,
    draw_per_rating,
    to_fraction,
)

USER_TOO_SHORT = "user_with_fewer_than_2_ratings"


@dataclasses.dataclass(frozen=True)
class UserTime(Split):
    """Holds out the last 30 % of each user's ratings.

    All held-out ratings of one user belong to the same subset, validation or
    test, each with probability 1/2. This is the MovieLens converter of the
    paper's reference code made reproducible: ratings of the same second are
    in random order, and all random choices hash the ids and the seed. It is
    also known as `movielens-user-time`.

    Reference:
        The converter published with Kuchaiev and Ginsburg, 2017
        (https://arxiv.org/abs/1708.01715).
    """

    name = "user-time"
    needs_timestamps = True
    advice = (
        "--seed (it decides which users are for validation and which for the"
        " test), or --split (this one is for users of two ratings or more)"
    )
    outcomes = (*SUBSETS, USER_TOO_SHORT)

    def assign(
        self, ratings: Ratings, seed: int, cuts: dict[str, float]
    ) -> Outcomes:
        ranks, counts = _rank_by_time(ratings, seed)
        draws = hash_strings(ratings.user_ids, f"{seed}:")[:, 0]
        held_out = np.where(draws < np.uint64(1 << 63), VALIDATION, TEST)
        return np.select(
            [counts < 2, ranks < counts * 7 // 10],
            [DROPPED, TRAIN],
            held_out[ratings.users],
        ).astype(np.int8)


@dataclasses.dataclass(frozen=True)
class LeaveLastOut(Split):
    """Tests on each user's last rating, validates on the one before it.

    Ratings of the same second are in random order. All ratings of users with
    one or two ratings are training ratings.
    """

    name = "leave-last-out"
    needs_timestamps = True
    advice = "--split (this one is for users of three ratings or more)"

    def assign(
        self, ratings: Ratings, seed: int, cuts: dict[str, float]
    ) -> Outcomes:
        ranks, counts = _rank_by_time(ratings, seed)
        return np.select(
            [counts < 3, ranks == counts - 1, ranks == counts - 2],
            [TRAIN, TEST, VALIDATION],
            TRAIN,
        ).astype(np.int8)


@dataclasses.dataclass(frozen=True)
class GlobalTime(Split):
    """Trains on ratings before a date, and holds out all later ones.

    train < validation cut <= validation < test cut <= test. The cuts are
    either given as dates, or chosen such that the last `test_fraction` of all
    ratings is the test and the `validation_fraction` before it is for
    validation. Ratings of the same second stay together, on the later side.

    Args:
        validation_fraction: fraction of the ratings held out for validation,
            0.1 unless dates are given.
        test_fraction: fraction of the ratings held out for the test, 0.1
            unless dates are given.
        validation_from: ISO date or time (UTC) of the validation cut.
        test_from: ISO date or time (UTC) of the test cut.

    Raises:
        UserError: for fractions that leave no training ratings, dates that
            cannot be parsed or are out of order, or one date without the
            other.
    """

    validation_fraction: float | None = None
    test_fraction: float | None = None
    validation_from: str | None = None
    test_from: str | None = None

    name = "global-time"
    needs_timestamps = True
    advice = (
        "--validation-fraction and --test-fraction, or --validation-from and"
        " --test-from"
    )

    def __post_init__(self) -> None:
        dates = (self.validation_from, self.test_from)
        fractions = (self.validation_fraction, self.test_fraction)
        if dates == (None, None):
            validation, test = (0.1 if f is None else f for f in fractions)
            check_fractions(validation, test)
            # A frozen dataclass is filled in this way only.
            object.__setattr__(self, "validation_fraction", validation)
            object.__setattr__(self, "test_fraction", test)
        elif None in dates or fractions != (None, None):
            raise UserError(
                "split global-time takes --validation-from together with"
                " --test-from, or fractions, not a mixture. Received:"
                f" {self.describe()}"
            )
        elif (
            not self._parse_dates()["validation"] < self._parse_dates()["test"]
        ):
            raise UserError(
                "--validation-from must be before --test-from. Received:"
                f" {self.validation_from} and {self.test_from}"
            )

    def _parse_dates(self) -> dict[str, float]:
        return {
            "validation": _to_seconds(
                "--validation-from", self.validation_from
            ),
            "test": _to_seconds("--test-from", self.test_from),
        }

    def find_cuts(self, find_quantiles: QuantileFinder) -> dict[str, float]:
        if self.validation_from is not None:
            return self._parse_dates()
        test = 1 - to_fraction(self.test_fraction)
        validation = test - to_fraction(self.validation_fraction)
        validation_cut, test_cut = find_quantiles([validation, test])
        return {"validation": validation_cut, "test": test_cut}

    def assign(
        self, ratings: Ratings, seed: int, cuts: dict[str, float]
    ) -> Outcomes:
        is_held_out = ratings.timestamps >= cuts["validation"]
        return is_held_out.astype(np.int8) + (
            ratings.timestamps >= cuts["test"]
        )


def _rank_by_time(
    ratings: Ratings, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns each rating's rank in its user's history, and its length."""
    order = _sort_by_time(ratings, seed)
    counts = np.bincount(ratings.users, minlength=len(ratings.user_ids))
    starts = np.cumsum(counts) - counts
    ranks = np.empty(len(ratings), np.int64)
    ranks[order] = np.arange(len(ratings)) - starts[ratings.users]
    return ranks, counts[ratings.users]


def _sort_by_time(ratings: Ratings, seed: int) -> npt.NDArray[np.int64]:
    """Returns positions by user and time, those of equal times by chance.

    Where times are dates, most of them are equal. In the order of their ids,
    the same items would be held out of every history.
    """
    order = np.lexsort((ratings.timestamps, ratings.users))
    follows_equal = np.append(
        False,
        (np.diff(ratings.users[order]) == 0)
        & (np.diff(ratings.timestamps[order]) == 0),
    )
    tied = np.flatnonzero(follows_equal | np.append(follows_equal[1:], False))
    ties = ratings.take(order[tied])
    draws = draw_per_rating(ties, seed)
    order[tied] = order[tied][np.lexsort((draws, ties.timestamps, ties.users))]
    return order


def _to_seconds(flag: str, text: str | None) -> float:
    try:
        moment = datetime.datetime.fromisoformat(str(text))
    except ValueError:
        raise UserError(
            f"{flag} must be an ISO date such as 2005-12-01. Received: {text!r}"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.timestamp()
