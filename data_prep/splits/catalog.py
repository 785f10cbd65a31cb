"""Named, seeded splits of ratings into training, validation and test.

Each split is one class, and its definition is the `assign` in it. It sees
ratings of whole users, sorted by user and item and without duplicates, and
gives each its outcome: `train`, `validation`, `test`, or the reason why it is
dropped. It never sees how the users were divided among files and workers.

Where chance decides, digests of the ids and the seed do: the same rating
falls on the same side whatever the order of the rows, the number of shards,
or the engine.
"""

import abc
import dataclasses
import datetime
import fractions
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from data_prep.dataset.errors import UserError
from data_prep.dataset.schema import SUBSETS
from data_prep.ratings import Rows
from data_prep.splits.draws import to_threshold, toss

USER_TOO_SHORT = "user_with_fewer_than_2_ratings"
OUTSIDE_DATES = "outside_the_dates_of_the_split"

#: For each rating the position of its outcome in the split's `outcomes`.
Outcomes = npt.NDArray[np.int8]

#: Returns the timestamp that follows each share of all timestamps.
QuantileFinder = Callable[[Sequence[fractions.Fraction]], Sequence[float]]

TRAIN, VALIDATION, TEST, DROPPED = range(4)


@dataclasses.dataclass(frozen=True)
class Split(abc.ABC):
    """One way to hold ratings out."""

    name: ClassVar[str]
    needs_timestamps: ClassVar[bool]
    #: What the user can change when a part comes out empty.
    advice: ClassVar[str]
    #: The groups, then the reasons to drop a rating.
    outcomes: ClassVar[tuple[str, ...]] = tuple(SUBSETS)
    #: Counts that others have published of this split, by what is counted.
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

        Empty for a split that does not find its cuts in the data.

        Args:
            find_quantiles: looks at all ratings, which takes time.
        """
        return {}

    @abc.abstractmethod
    def assign(self, rows: Rows, seed: int, cuts: dict[str, float]) -> Outcomes:
        """Returns the outcome of each rating."""


@dataclasses.dataclass(frozen=True)
class UserTime(Split):
    """The first 70 % of each user's ratings train, the rest is held out.

    All that is held out of one user belongs to the same part, validation or
    test, each with probability one half. This is the MovieLens converter of
    the paper's reference code, made repeatable: equal timestamps go by item
    id, and a digest takes the place of an unseeded coin. It is also known as
    `movielens-user-time`.
    """

    name = "user-time"
    needs_timestamps = True
    advice = "--seed or --split (this one is for users of two ratings or more)"
    outcomes = (*SUBSETS, USER_TOO_SHORT)

    def assign(self, rows: Rows, seed: int, cuts: dict[str, float]) -> Outcomes:
        positions, counts = _rank_by_time(rows)
        held_out = np.array(
            [
                VALIDATION if _is_heads(seed, user_id) else TEST
                for user_id in rows.user_ids.to_pylist()
            ],
            np.int8,
        )
        return np.select(
            [counts < 2, positions < counts * 7 // 10],
            [DROPPED, TRAIN],
            held_out[rows.users],
        ).astype(np.int8)


@dataclasses.dataclass(frozen=True)
class LeaveLastOut(Split):
    """Each user's last rating is for the test, the one before it validates.

    Equal timestamps go by item id. Users with one or two ratings only train.
    """

    name = "leave-last-out"
    needs_timestamps = True
    advice = "--split (this one is for users of three ratings or more)"

    def assign(self, rows: Rows, seed: int, cuts: dict[str, float]) -> Outcomes:
        positions, counts = _rank_by_time(rows)
        return np.select(
            [counts < 3, positions == counts - 1, positions == counts - 2],
            [TRAIN, TEST, VALIDATION],
            TRAIN,
        ).astype(np.int8)


@dataclasses.dataclass(frozen=True)
class GlobalTime(Split):
    """Trains on the past of everybody and holds the future out.

    train < validation cut <= validation < test cut <= test. The cuts are
    given as dates, or found so that the last `test_fraction` of all ratings
    is test and the `validation_fraction` before it is validation. Ratings of
    one second stay together, on the later side.

    Args:
        validation_fraction: share of the ratings held out for validation,
            0.1 unless dates are given.
        test_fraction: share of the ratings held out for the test, 0.1 unless
            dates are given.
        validation_from: ISO date or time (UTC) of the validation cut.
        test_from: ISO date or time (UTC) of the test cut.

    Raises:
        UserError: for fractions that leave no training ratings, dates that
            cannot be read or are out of order, or one date without the other.
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
        shares = (self.validation_fraction, self.test_fraction)
        if dates == (None, None):
            validation, test = (0.1 if s is None else s for s in shares)
            _check_fractions(validation, test)
            # The way to fill in a default that depends on other fields.
            object.__setattr__(self, "validation_fraction", validation)
            object.__setattr__(self, "test_fraction", test)
        elif None in dates or shares != (None, None):
            raise UserError(
                "split global-time takes --validation-from together with"
                " --test-from, or fractions, not a mixture. Received:"
                f" {self.describe()}"
            )
        elif not self._dates()["validation"] < self._dates()["test"]:
            raise UserError(
                "--validation-from must be before --test-from. Received:"
                f" {self.validation_from} and {self.test_from}"
            )

    def _dates(self) -> dict[str, float]:
        return {
            "validation": _to_seconds(
                "--validation-from", self.validation_from
            ),
            "test": _to_seconds("--test-from", self.test_from),
        }

    def find_cuts(self, find_quantiles: QuantileFinder) -> dict[str, float]:
        if self.validation_from is not None:
            return self._dates()
        test = 1 - _to_fraction(self.test_fraction)
        validation = test - _to_fraction(self.validation_fraction)
        first, second = find_quantiles([validation, test])
        return {"validation": first, "test": second}

    def assign(self, rows: Rows, seed: int, cuts: dict[str, float]) -> Outcomes:
        later = (rows.timestamps >= cuts["validation"]).astype(np.int8)
        return later + (rows.timestamps >= cuts["test"])


@dataclasses.dataclass(frozen=True)
class Random(Split):
    """Holds each rating out by itself, whoever gave it and whenever.

    Args:
        validation_fraction: probability of validation.
        test_fraction: probability of test.

    Raises:
        UserError: for fractions that leave no training ratings.
    """

    validation_fraction: float = 0.1
    test_fraction: float = 0.1

    name = "random"
    needs_timestamps = False
    advice = "--validation-fraction and --test-fraction"

    def __post_init__(self) -> None:
        _check_fractions(self.validation_fraction, self.test_fraction)

    def assign(self, rows: Rows, seed: int, cuts: dict[str, float]) -> Outcomes:
        test = _to_fraction(self.test_fraction)
        held_out = test + _to_fraction(self.validation_fraction)
        coins = toss(rows, seed)
        return np.select(
            [coins < to_threshold(test), coins < to_threshold(held_out)],
            [TEST, VALIDATION],
            TRAIN,
        ).astype(np.int8)


@dataclasses.dataclass(frozen=True)
class Fold(Split):
    """What others published as training and test files, such as u1.base.

    The rows of `--test-ratings` are the test; each of the other ratings
    validates with a small probability, and trains otherwise.

    Args:
        validation_fraction: probability of validation.

    Raises:
        UserError: for a fraction that leaves no training ratings.
    """

    validation_fraction: float = 0.05

    name = "fold"
    needs_timestamps = False
    advice = "--validation-fraction or --test-ratings"

    def __post_init__(self) -> None:
        _check_fractions(self.validation_fraction, 0)

    def assign(self, rows: Rows, seed: int, cuts: dict[str, float]) -> Outcomes:
        share = to_threshold(_to_fraction(self.validation_fraction))
        return np.select(
            [rows.is_test, toss(rows, seed) < share], [TEST, VALIDATION], TRAIN
        ).astype(np.int8)


@dataclasses.dataclass(frozen=True)
class Netflix(Split):
    """Trains on months of the Netflix Prize data, holds the next one out.

    Each rating of the evaluation days goes to validation or test with
    probability one half. All dates are meant inclusive, in UTC.

    The counts were published with the splits; those of the held-out ratings
    are of validation and test together. They count what is left without the
    users and items that have no training ratings.

    Reference:
        Kuchaiev and Ginsburg, 2017, "Training Deep AutoEncoders for
        Collaborative Filtering" (https://arxiv.org/abs/1708.01715), table 2
        and the converter that was published with it.
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

    def assign(self, rows: Rows, seed: int, cuts: dict[str, float]) -> Outcomes:
        outcomes = np.full(len(rows), DROPPED, np.int8)
        outcomes[_is_within(rows, self.training_days)] = TRAIN
        held_out = np.flatnonzero(_is_within(rows, self.evaluation_days))
        coins = toss(rows.take(held_out), seed)
        half = to_threshold(fractions.Fraction(1, 2))
        outcomes[held_out] = np.where(coins < half, VALIDATION, TEST)
        return outcomes


class NetflixFull(Netflix):
    """All of the Netflix Prize data but its first month."""

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
    """A year of the Netflix Prize data."""

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


SPLITS: dict[str, type[Split]] = {
    split.name: split
    for split in (
        UserTime,
        LeaveLastOut,
        GlobalTime,
        Random,
        Fold,
        NetflixFull,
        Netflix3Months,
        Netflix6Months,
        Netflix1Year,
    )
}

#: Other names of splits.
ALIASES = {"movielens-user-time": "user-time"}


def make_split(
    name: str,
    *,
    validation_fraction: float | None = None,
    test_fraction: float | None = None,
    validation_from: str | None = None,
    test_from: str | None = None,
) -> Split:
    """Returns the split of that name.

    Args:
        name: a key of `SPLITS` or `ALIASES`.
        validation_fraction: see the splits that take it.
        test_fraction: see the splits that take it.
        validation_from: see `GlobalTime`.
        test_from: see `GlobalTime`.

    Raises:
        UserError: for an unknown name, a parameter that the split does not
            take, or a value it cannot use.
    """
    split = SPLITS.get(ALIASES.get(name, name))
    if split is None:
        raise UserError(
            f"unknown split {name!r}. The splits are:"
            f" {', '.join([*SPLITS, *ALIASES])}."
        )
    given = {
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
        "validation_from": validation_from,
        "test_from": test_from,
    }
    given = {key: value for key, value in given.items() if value is not None}
    taken = {field.name for field in dataclasses.fields(split)}
    for parameter in given:
        if parameter not in taken:
            flag = "--" + parameter.replace("_", "-")
            raise UserError(f"split {name} does not use {flag}.")
    return split(**given)


def _rank_by_time(
    rows: Rows,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns each rating's position in its user's history, and its length."""
    # Rows are sorted by user and item, which decides among equal timestamps.
    order = np.lexsort((rows.timestamps, rows.users))
    counts = np.bincount(rows.users, minlength=len(rows.user_ids))
    starts = np.cumsum(counts) - counts
    positions = np.empty(len(rows), np.int64)
    positions[order] = np.arange(len(rows)) - starts[rows.users]
    return positions, counts[rows.users]


def _is_heads(seed: int, user_id: str) -> bool:
    text = f"{seed}:{user_id}".encode()
    return hashlib.md5(text, usedforsecurity=False).digest()[0] < 0x80


def _is_within(rows: Rows, days: tuple[str, str]) -> npt.NDArray[np.bool_]:
    first, last = (datetime.date.fromisoformat(day) for day in days)
    start, end = (
        datetime.datetime.combine(day, datetime.time(), datetime.UTC)
        for day in (first, last + datetime.timedelta(days=1))
    )
    return (rows.timestamps >= start.timestamp()) & (
        rows.timestamps < end.timestamp()
    )


def _check_fractions(validation: float, test: float) -> None:
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise UserError(
            "--validation-fraction and --test-fraction must be at least 0 and"
            f" together less than 1. Received: {validation} and {test}"
        )


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


def _to_fraction(share: float | None) -> fractions.Fraction:
    # As it is written: 0.1 is a tenth, and not the nearest binary number.
    return fractions.Fraction(str(share))
