"""One bucket's ratings -> the groups they belong to, and counts of items."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_prep.dataset.schema import SUBSETS
from data_prep.engine.spill import (
    read_column,
    read_texts,
    write_column,
    write_texts,
)
from data_prep.ratings import Rows, deduplicate, merge
from data_prep.splits.catalog import TRAIN, Split

DUPLICATE = "duplicate"
USER_BELOW_MINIMUM = "user_below_minimum"

# A sum of whole numbers of units does not depend on the order of the terms:
# threads, buckets and engines cannot change its last digit. Of a scale from
# 1 to 5 every rating is a whole number of units.
_UNITS_BITS = 30

_COLUMNS: dict[str, np.dtype[Any]] = {
    "users": np.dtype(np.int32),
    "items": np.dtype(np.int32),
    "ratings": np.dtype(np.float32),
    "groups": np.dtype(np.int8),
}


@dataclasses.dataclass(frozen=True)
class Rule:
    """All that decides where a rating belongs.

    Args:
        split: how ratings are held out.
        seed: what decides where the split leaves it to chance.
        cuts: what `split.find_cuts` found.
        min_user_ratings: users with fewer training ratings do not train.
        unit: what sums of ratings are counted in, see `choose_unit`.
    """

    split: Split
    seed: int
    cuts: dict[str, float]
    min_user_ratings: int
    unit: float


@dataclasses.dataclass(frozen=True, eq=False)
class Assigned:
    """Ratings that belong to a group, in columns.

    Args:
        user_ids: the users in the order in which they are written.
        users: position in `user_ids`, int32.
        items: position among the ids of all items, int32.
        ratings: float32.
        groups: position in `SUBSETS`, int8.
    """

    user_ids: pa.StringArray
    users: npt.NDArray[np.int32]
    items: npt.NDArray[np.int32]
    ratings: npt.NDArray[np.float32]
    groups: npt.NDArray[np.int8]

    def write(self, directory: str) -> None:
        """Writes the columns into a directory."""
        write_texts(directory, "user_ids", self.user_ids)
        for name in _COLUMNS:
            write_column(directory, name, getattr(self, name))

    @classmethod
    def read(cls, directory: str) -> "Assigned":
        """Reads the columns from a directory."""
        columns = {
            name: read_column(directory, name, dtype)
            for name, dtype in _COLUMNS.items()
        }
        return cls(user_ids=read_texts(directory, "user_ids"), **columns)


@dataclasses.dataclass(frozen=True, eq=False)
class ItemCounts:
    """Training ratings of every item.

    Args:
        counts: their number, int64 `(num_items,)`.
        sums: their sum in units, int64 `(num_items,)`.
    """

    counts: npt.NDArray[np.int64]
    sums: npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class Assignment:
    """What became of ratings.

    Args:
        assigned: those that belong to a group.
        num_ratings: their number, by group.
        dropped: the number of the others, by reason.
        item_counts: what trains of every item.
    """

    assigned: Assigned
    num_ratings: dict[str, int]
    dropped: dict[str, int]
    item_counts: ItemCounts


def choose_unit(ratings: Sequence[float]) -> float:
    """Returns the unit for sums of ratings that are no farther from 0."""
    _, exponent = math.frexp(max(map(abs, ratings)))
    return 2.0 ** (exponent - _UNITS_BITS)


def assign(pieces: Sequence[Rows], rule: Rule) -> Assignment:
    """Assigns the ratings of one bucket.

    Args:
        pieces: all ratings of some users, their items numbered alike.
        rule: what decides.
    """
    merged = merge(pieces)
    rows = deduplicate(merged)
    outcomes = rule.split.assign(rows, rule.seed, rule.cuts)
    names = (*rule.split.outcomes, USER_BELOW_MINIMUM)
    trains = outcomes == TRAIN
    trained = np.bincount(rows.users[trains], minlength=len(rows.user_ids))
    too_few = trained < rule.min_user_ratings
    outcomes[trains & too_few[rows.users]] = len(names) - 1
    totals = np.bincount(outcomes, minlength=len(names)).tolist()
    counts = dict(zip(names, totals, strict=True))
    counts[DUPLICATE] = len(merged) - len(rows)
    kept = rows.take(np.flatnonzero(outcomes < len(SUBSETS)))
    groups = outcomes[outcomes < len(SUBSETS)]
    return Assignment(
        assigned=Assigned(
            kept.user_ids,
            kept.users,
            kept.items,
            kept.ratings.astype(np.float32),
            groups,
        ),
        num_ratings={group: counts.pop(group) for group in SUBSETS},
        dropped={reason: count for reason, count in counts.items() if count},
        item_counts=_count_items(kept, groups == TRAIN, rule.unit),
    )


def _count_items(
    rows: Rows, trains: npt.NDArray[np.bool_], unit: float
) -> ItemCounts:
    items = rows.items[trains]
    units = np.rint(rows.ratings[trains] / unit)
    num_items = len(rows.item_ids)
    # Exact: a double holds whole numbers up to 2^53.
    sums = np.bincount(items, weights=units, minlength=num_items)
    return ItemCounts(
        np.bincount(items, minlength=num_items), sums.astype(np.int64)
    )
