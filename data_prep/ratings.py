"""Ratings in columns: users and items as positions in lists of their ids."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.hashing import hash_strings


@dataclasses.dataclass(frozen=True, eq=False)
class Ratings:
    """Ratings in columns of equal length.

    Args:
        user_ids: the ids that `users` refers to.
        item_ids: the ids that `items` refers to.
        users: position in `user_ids`, int32 `(num_ratings,)`.
        items: position in `item_ids`, int32 `(num_ratings,)`.
        values: the ratings themselves, float64 `(num_ratings,)`.
        timestamps: seconds since 1970 (UTC), float64 `(num_ratings,)`; NaN
            where unknown.
        is_test: whether the rating comes from a published test file, bool
            `(num_ratings,)`.
    """

    user_ids: pa.StringArray
    item_ids: pa.StringArray
    users: npt.NDArray[np.int32]
    items: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]
    timestamps: npt.NDArray[np.float64]
    is_test: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.users)

    def take(self, positions: npt.NDArray[np.int64]) -> "Ratings":
        """Returns the ratings at these positions; the ids stay the same."""
        return dataclasses.replace(
            self,
            **{name: getattr(self, name)[positions] for name in COLUMNS},
        )


# Enough for all scales in use; bounds the memory for measurements.
_MAX_VALUES = 4096

#: The columns of `Ratings` with one value per rating, and their types.
COLUMNS: dict[str, np.dtype[Any]] = {
    "users": np.dtype(np.int32),
    "items": np.dtype(np.int32),
    "values": np.dtype(np.float64),
    "timestamps": np.dtype(np.float64),
    "is_test": np.dtype(np.bool_),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Histogram:
    """The most frequent ratings and how often they occur.

    Args:
        values: distinct ratings, ascending, at most `_MAX_VALUES`, float64
            `(num_values,)`.
        counts: the number of each of them, int64 `(num_values,)`. It is
            exact if there are no more distinct ratings.
    """

    values: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class Statistics:
    """Counts and ranges of the valid ratings of a source.

    Args:
        num_ratings: the number of ratings.
        num_missing: the number of rows whose rating is a missing value, which
            nothing else here counts.
        num_timestamps: the number of ratings with a timestamp.
        rating_range: the lowest and the highest rating.
        time_range: the first and the last timestamp; the first exceeds the
            last if there are none.
        histogram: the ratings by value.
    """

    num_ratings: int
    num_missing: int
    num_timestamps: int
    rating_range: tuple[float, float]
    time_range: tuple[float, float]
    histogram: Histogram


def from_table(table: pa.Table) -> Ratings:
    """Converts a table of ratings to `Ratings`.

    Args:
        table: columns `user_id` and `item_id` (strings, integers or
            dictionaries), `rating`, `timestamp` (float64, nullable), and
            optionally `is_test`.
    """
    table = table.combine_chunks()
    user_ids, users = _split_ids(table["user_id"])
    item_ids, items = _split_ids(table["item_id"])
    if "is_test" in table.column_names:
        is_test = table["is_test"].to_numpy()
    else:
        is_test = np.zeros(len(table), np.bool_)
    return Ratings(
        user_ids=user_ids,
        item_ids=item_ids,
        users=users,
        items=items,
        values=table["rating"].to_numpy(),
        timestamps=table["timestamp"].to_numpy(),
        is_test=is_test,
    )


def _split_ids(
    column: pa.ChunkedArray,
) -> tuple[pa.StringArray, npt.NDArray[np.int32]]:
    """Returns the distinct ids and the position of each row's id in them."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    dictionary = column.unify_dictionaries().combine_chunks()
    ids = dictionary.dictionary.cast(pa.string())
    return ids, dictionary.indices.to_numpy()


def unify_items(parts: Sequence[Ratings]) -> list[Ratings]:
    """Makes all parts refer to the same item ids, in sorted order."""
    item_ids = sort_unique([part.item_ids for part in parts])
    return [
        replace_items(part, item_ids, find_positions(part.item_ids, item_ids))
        for part in parts
    ]


def sort_unique(arrays: Sequence[pa.StringArray]) -> pa.StringArray:
    """Returns the distinct strings of all arrays, sorted by their bytes."""
    distinct = pc.unique(pa.chunked_array(arrays, pa.string()))
    return distinct.take(pc.array_sort_indices(distinct))


def find_positions(
    strings: pa.StringArray, values: pa.StringArray
) -> npt.NDArray[np.int32]:
    """Returns the position of each string in `values`; -1 if it is absent."""
    positions = pc.fill_null(pc.index_in(strings, values), -1)
    return np.asarray(positions.to_numpy(zero_copy_only=False), np.int32)


def replace_items(
    ratings: Ratings, item_ids: pa.StringArray, positions: npt.NDArray[np.int32]
) -> Ratings:
    """Returns the ratings with `items` as positions in other `item_ids`.

    Args:
        ratings: the ratings.
        item_ids: the new ids.
        positions: the position in `item_ids` of each of the old ids.
    """
    return dataclasses.replace(
        ratings, item_ids=item_ids, items=positions[ratings.items]
    )


def keep_used_items(ratings: Ratings) -> Ratings:
    """Returns the ratings with the ids of their own items only."""
    used, positions = np.unique(ratings.items, return_inverse=True)
    return dataclasses.replace(
        ratings,
        item_ids=ratings.item_ids.take(pa.array(used)),
        items=positions.astype(np.int32),
    )


def merge(parts: Sequence[Ratings]) -> Ratings:
    """Concatenates parts that share their item ids, in their order.

    The users of the result are in the order of the records: by the MD5 digest
    of their ids.
    """
    user_ids = sort_unique([part.user_ids for part in parts])
    order = np.lexsort(hash_strings(user_ids).T[::-1])
    user_ids = user_ids.take(pa.array(order))
    users = [
        find_positions(part.user_ids, user_ids)[part.users] for part in parts
    ]
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in COLUMNS
        if name != "users"
    }
    return Ratings(
        user_ids=user_ids,
        item_ids=parts[0].item_ids,
        users=np.concatenate(users),
        **columns,
    )


def deduplicate(ratings: Ratings) -> Ratings:
    """Sorts by user and item, and keeps one rating per user and item.

    The latest rating is kept; of several latest ones, and of those without a
    time, the last in the order of the rows. It is what serving does with an
    item that is named twice.
    """
    keys = ratings.users.astype(np.int64) * len(ratings.item_ids)
    keys += ratings.items
    order = np.argsort(keys)
    keys = keys[order]
    is_repeated = keys[1:] == keys[:-1]
    if not is_repeated.any():
        return ratings.take(order)
    # The sort is stable, so equal times keep the order of the rows.
    times = np.nan_to_num(ratings.timestamps, nan=-np.inf)
    order = np.lexsort((times, ratings.items, ratings.users))
    # Both orders sort the keys alike, so `is_repeated` holds for this one,
    # and the last rating of each key is the one to keep.
    return ratings.take(order[np.append(~is_repeated, True)])


def drop_values(ratings: Ratings, values: Sequence[float]) -> Ratings:
    """Returns the ratings that equal none of the values, and the ids of these.

    Args:
        ratings: the ratings.
        values: the values, which are compared in float32.
    """
    if not values:
        return ratings
    is_dropped = np.isin(
        ratings.values.astype(np.float32), np.array(values, np.float32)
    )
    if not is_dropped.any():
        return ratings
    kept = ratings.take(np.flatnonzero(~is_dropped))
    used, positions = np.unique(kept.users, return_inverse=True)
    return keep_used_items(
        dataclasses.replace(
            kept,
            user_ids=kept.user_ids.take(pa.array(used)),
            users=positions.astype(np.int32),
        )
    )


def compute_statistics(ratings: Ratings, num_missing: int = 0) -> Statistics:
    """Computes the statistics of some ratings.

    Args:
        ratings: the ratings.
        num_missing: the number of missing values that were dropped.
    """
    known = ratings.timestamps[~np.isnan(ratings.timestamps)]
    return Statistics(
        num_ratings=len(ratings),
        num_missing=num_missing,
        num_timestamps=len(known),
        rating_range=_range(ratings.values),
        time_range=_range(known),
        histogram=_count_values(ratings.values),
    )


def combine_statistics(parts: Sequence[Statistics]) -> Statistics:
    """Returns the statistics of all ratings from those of their parts."""
    return Statistics(
        num_ratings=sum(part.num_ratings for part in parts),
        num_missing=sum(part.num_missing for part in parts),
        num_timestamps=sum(part.num_timestamps for part in parts),
        rating_range=_union([part.rating_range for part in parts]),
        time_range=_union([part.time_range for part in parts]),
        histogram=_add_histograms([part.histogram for part in parts]),
    )


def _count_values(ratings: npt.NDArray[np.float64]) -> Histogram:
    # Hashes the ratings, which is faster than sorting them.
    counted = pc.value_counts(pa.array(ratings, pa.float64()))
    values, counts = (column.to_numpy() for column in counted.flatten())
    return _keep_frequent(values, counts)


def _add_histograms(parts: Sequence[Histogram]) -> Histogram:
    values, positions = np.unique(
        np.concatenate([np.empty(0), *(part.values for part in parts)]),
        return_inverse=True,
    )
    counts = np.zeros(len(values), np.int64)
    added = [np.empty(0, np.int64), *(part.counts for part in parts)]
    np.add.at(counts, positions, np.concatenate(added))
    return _keep_frequent(values, counts)


def _keep_frequent(
    values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]
) -> Histogram:
    if len(values) > _MAX_VALUES:
        kept = np.argpartition(-counts, _MAX_VALUES)[:_MAX_VALUES]
        values, counts = values[kept], counts[kept]
    order = np.argsort(values)
    return Histogram(values[order], counts[order])


def _range(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    return float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))


def _union(ranges: Sequence[tuple[float, float]]) -> tuple[float, float]:
    lows, highs = zip(*ranges, strict=True) if ranges else ((0.0,), (0.0,))
    return min(lows), max(highs)
