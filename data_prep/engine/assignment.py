"""Assigns the ratings of a bucket to subsets, and counts them per item."""

import dataclasses
import math
import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_prep.dataset.schema import SUBSETS
from data_prep.engine.spill import read_batch, write_batches
from data_prep.ratings import Ratings, deduplicate, merge
from data_prep.splits.base import TRAIN, Split

DUPLICATE = "duplicate"
MISSING_VALUE = "missing_value"
USER_BELOW_MINIMUM = "user_below_minimum"

# Sums of integers do not depend on the order of the terms, so neither threads
# nor buckets nor engines change the last digit of a mean. On a scale from 1
# to 5 every rating is a whole number of units.
_UNIT_BITS = 30

_RATINGS_FILE, _USERS_FILE = "assigned.arrow", "users.arrow"


@dataclasses.dataclass(frozen=True)
class SplitRule:
    """All that decides which subset a rating belongs to.

    Args:
        split: the split.
        seed: the seed of random choices.
        cuts: the result of `split.find_cuts`.
        min_user_ratings: users with fewer training ratings are left out of
            training.
        unit: the unit of sums of ratings, see `choose_unit`.
    """

    split: Split
    seed: int
    cuts: dict[str, float]
    min_user_ratings: int
    unit: float


@dataclasses.dataclass(frozen=True, eq=False)
class AssignedRatings:
    """Ratings with their subsets, in columns of equal length.

    Args:
        user_ids: the users, in the order of the records.
        users: position in `user_ids`, int32 `(num_ratings,)`.
        items: position among all item ids, int32 `(num_ratings,)`.
        values: the ratings themselves, float32 `(num_ratings,)`.
        subsets: position in `SUBSETS`, int8 `(num_ratings,)`.
    """

    user_ids: pa.StringArray
    users: npt.NDArray[np.int32]
    items: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]
    subsets: npt.NDArray[np.int8]

    def write(self, directory: str) -> None:
        """Writes the ratings to files in a directory."""
        names = ("users", "items", "values", "subsets")
        write_batches(
            os.path.join(directory, _RATINGS_FILE),
            {name: getattr(self, name) for name in names},
        )
        write_batches(
            os.path.join(directory, _USERS_FILE), {"user_ids": self.user_ids}
        )

    @classmethod
    def read(cls, directory: str) -> "AssignedRatings":
        """Reads ratings that `write` has written."""
        columns = read_batch(os.path.join(directory, _RATINGS_FILE))
        users = read_batch(os.path.join(directory, _USERS_FILE))
        return cls(
            user_ids=users["user_ids"],
            **{name: columns[name].to_numpy() for name in columns.schema.names},
        )


@dataclasses.dataclass(frozen=True, eq=False)
class ItemCounts:
    """The training ratings of every item.

    Args:
        counts: their number, int64 `(num_items,)`.
        sums: their sum in units, int64 `(num_items,)`.
    """

    counts: npt.NDArray[np.int64]
    sums: npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class Assignment:
    """The assignment of the ratings of one bucket.

    Args:
        assigned: the ratings that belong to a subset.
        num_users: the number of users with ratings.
        num_ratings: their number, by subset.
        dropped: the number of dropped ratings, by reason.
        item_counts: the training ratings of every item.
    """

    assigned: AssignedRatings
    num_users: int
    num_ratings: dict[str, int]
    dropped: dict[str, int]
    item_counts: ItemCounts


def choose_unit(rating_range: Sequence[float]) -> float:
    """Returns the unit in which ratings of this range are summed."""
    _, exponent = math.frexp(max(map(abs, rating_range)))
    return 2.0 ** (exponent - _UNIT_BITS)


def assign(parts: Sequence[Ratings], rule: SplitRule) -> Assignment:
    """Assigns the ratings of one bucket to subsets.

    Args:
        parts: all ratings of some users, with the same item ids.
        rule: the rule.
    """
    merged = merge(parts)
    ratings = deduplicate(merged)
    outcomes = rule.split.assign(ratings, rule.seed, rule.cuts)
    names = (*rule.split.outcomes, USER_BELOW_MINIMUM)
    is_train = outcomes == TRAIN
    num_train = np.bincount(
        ratings.users[is_train], minlength=len(ratings.user_ids)
    )
    is_below_minimum = num_train < rule.min_user_ratings
    outcomes[is_train & is_below_minimum[ratings.users]] = len(names) - 1
    totals = np.bincount(outcomes, minlength=len(names)).tolist()
    counts = dict(zip(names, totals, strict=True))
    counts[DUPLICATE] = len(merged) - len(ratings)
    is_kept = outcomes < len(SUBSETS)
    kept = ratings.take(np.flatnonzero(is_kept))
    subsets = outcomes[is_kept]
    return Assignment(
        assigned=AssignedRatings(
            kept.user_ids,
            kept.users,
            kept.items,
            kept.values.astype(np.float32),
            subsets,
        ),
        num_users=int(np.count_nonzero(np.bincount(ratings.users))),
        num_ratings={subset: counts.pop(subset) for subset in SUBSETS},
        dropped={reason: count for reason, count in counts.items() if count},
        item_counts=_count_items(kept, subsets == TRAIN, rule.unit),
    )


def _count_items(
    ratings: Ratings, is_train: npt.NDArray[np.bool_], unit: float
) -> ItemCounts:
    items = ratings.items[is_train]
    units = np.rint(ratings.values[is_train] / unit)
    num_items = len(ratings.item_ids)
    # Exact: a double holds all integers up to 2^53.
    sums = np.bincount(items, weights=units, minlength=num_items)
    return ItemCounts(
        np.bincount(items, minlength=num_items), sums.astype(np.int64)
    )
