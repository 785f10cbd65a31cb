"""Ratings in columns: ids as numbers, and the texts they stand for."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.hashing import digest_texts


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Ratings of some users.

    Args:
        user_ids: the ids that `users` stands for.
        item_ids: the ids that `items` stands for.
        users: position in `user_ids`, int32 `(num_rows,)`.
        items: position in `item_ids`, int32 `(num_rows,)`.
        ratings: float64 `(num_rows,)`.
        timestamps: seconds since 1970, float64 `(num_rows,)`; NaN where
            there is none.
        is_test: whether the row comes from a published test file, bool
            `(num_rows,)`.
    """

    user_ids: pa.StringArray
    item_ids: pa.StringArray
    users: npt.NDArray[np.int32]
    items: npt.NDArray[np.int32]
    ratings: npt.NDArray[np.float64]
    timestamps: npt.NDArray[np.float64]
    is_test: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.users)

    def take(self, places: npt.NDArray[np.int64]) -> "Rows":
        """Returns the rows at these places, with the same ids."""
        return dataclasses.replace(
            self,
            **{name: getattr(self, name)[places] for name in ROW_COLUMNS},
        )


@dataclasses.dataclass(frozen=True)
class Statistics:
    """What the rows of a source have in common.

    Args:
        num_rows: rows that can be used.
        num_timestamps: those that have a timestamp.
        ratings: the lowest and the highest.
        timestamps: the first and the last; the first is the greater where
            there are none.
    """

    num_rows: int
    num_timestamps: int
    ratings: tuple[float, float]
    timestamps: tuple[float, float]


#: The columns of `Rows` that have one value a row, and their types.
ROW_COLUMNS: dict[str, np.dtype[Any]] = {
    "users": np.dtype(np.int32),
    "items": np.dtype(np.int32),
    "ratings": np.dtype(np.float64),
    "timestamps": np.dtype(np.float64),
    "is_test": np.dtype(np.bool_),
}


def from_table(table: pa.Table) -> Rows:
    """Numbers the ids of a table of ratings.

    Args:
        table: `user_id` and `item_id` (text, whole numbers or dictionaries),
            `rating`, `timestamp` (float64, may be null), and perhaps
            `is_test`.
    """
    table = table.combine_chunks()
    user_ids, users = _number(table["user_id"])
    item_ids, items = _number(table["item_id"])
    if "is_test" in table.column_names:
        is_test = table["is_test"].to_numpy()
    else:
        is_test = np.zeros(len(table), np.bool_)
    return Rows(
        user_ids=user_ids,
        item_ids=item_ids,
        users=users,
        items=items,
        ratings=table["rating"].to_numpy(),
        timestamps=table["timestamp"].to_numpy(),
        is_test=is_test,
    )


def _number(
    column: pa.ChunkedArray,
) -> tuple[pa.StringArray, npt.NDArray[np.int32]]:
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    numbered = column.unify_dictionaries().combine_chunks()
    ids = numbered.dictionary.cast(pa.string())
    return ids, numbered.indices.to_numpy()


def share_items(pieces: Sequence[Rows]) -> list[Rows]:
    """Makes the pieces number their items alike, in the order of the ids."""
    item_ids = sort_distinct([piece.item_ids for piece in pieces])
    return [
        number_items(piece, item_ids, find_places(piece.item_ids, item_ids))
        for piece in pieces
    ]


def sort_distinct(arrays: Sequence[pa.StringArray]) -> pa.StringArray:
    """Returns the texts that occur, each once, in the order of their bytes."""
    distinct = pc.unique(pa.chunked_array(arrays, pa.string()))
    return distinct.take(pc.array_sort_indices(distinct))


def find_places(
    texts: pa.StringArray, wanted: pa.StringArray
) -> npt.NDArray[np.int32]:
    """Returns where each text is in `wanted`; -1 where it is not."""
    places = pc.fill_null(pc.index_in(texts, wanted), -1)
    return np.asarray(places.to_numpy(zero_copy_only=False), np.int32)


def number_items(
    rows: Rows, item_ids: pa.StringArray, places: npt.NDArray[np.int32]
) -> Rows:
    """Numbers the items by `item_ids`, where the old ids have `places`."""
    return dataclasses.replace(
        rows, item_ids=item_ids, items=places[rows.items]
    )


def merge(pieces: Sequence[Rows]) -> Rows:
    """Joins pieces that number their items alike.

    The users of the result are in the order in which they are written: by
    digest, then by id.
    """
    user_ids = sort_distinct([piece.user_ids for piece in pieces])
    order = np.lexsort(digest_texts(user_ids).T[::-1])
    user_ids = user_ids.take(pa.array(order))
    users = [
        find_places(piece.user_ids, user_ids)[piece.users] for piece in pieces
    ]
    joined = {
        name: np.concatenate([getattr(piece, name) for piece in pieces])
        for name in ROW_COLUMNS
        if name != "users"
    }
    return Rows(
        user_ids=user_ids,
        item_ids=pieces[0].item_ids,
        users=np.concatenate(users),
        **joined,
    )


def deduplicate(rows: Rows) -> Rows:
    """Sorts by user and item; of several ratings, the latest stays.

    Of several latest ones the highest stays, and of equal ones that in a
    test file.
    """
    keys = rows.users.astype(np.int64) * len(rows.item_ids) + rows.items
    order = np.argsort(keys)
    keys = keys[order]
    repeats = keys[1:] == keys[:-1]
    if not repeats.any():
        return rows.take(order)
    order = np.lexsort(
        (
            rows.is_test,
            rows.ratings,
            np.nan_to_num(rows.timestamps, nan=-np.inf),
            rows.items,
            rows.users,
        )
    )
    # The same keys, in the same order: only their rows moved.
    return rows.take(order[np.append(~repeats, True)])


def describe_rows(rows: Rows) -> Statistics:
    """Returns the statistics of some rows."""
    known = rows.timestamps[~np.isnan(rows.timestamps)]
    return Statistics(
        num_rows=len(rows),
        num_timestamps=len(known),
        ratings=(
            float(rows.ratings.min(initial=np.inf)),
            float(rows.ratings.max(initial=-np.inf)),
        ),
        timestamps=(
            float(known.min(initial=np.inf)),
            float(known.max(initial=-np.inf)),
        ),
    )


def combine(found: Sequence[Statistics]) -> Statistics:
    """Returns the statistics of all rows from those of their parts."""
    ratings, timestamps = (
        [getattr(statistics, name) for statistics in found]
        for name in ("ratings", "timestamps")
    )
    return Statistics(
        num_rows=sum(s.num_rows for s in found),
        num_timestamps=sum(s.num_timestamps for s in found),
        ratings=_hull(ratings),
        timestamps=_hull(timestamps),
    )


def _hull(ranges: Sequence[tuple[float, float]]) -> tuple[float, float]:
    lows, highs = zip(*ranges, strict=True) if ranges else ((0.0,), (0.0,))
    return min(lows), max(highs)
