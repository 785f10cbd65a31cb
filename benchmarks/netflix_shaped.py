"""Generates ratings of the shape of the Netflix Prize data, of any size.

The activity of users is log-normal, the popularity of items follows Zipf's
law, and ratings have a latent structure and a noise that are both known:

    signal = 3 + user offset + item offset + user factors . item factors,
             squeezed into [2, 4]
    rating = floor(signal + step + u), a whole number from 1 to 5

with `u` uniform in [0, 1), which makes the rounding fair, and `step` -1, 0 or
1. So the mean of a rating is its signal, and with `f` the fractional part of
the signal its variance is `STEP_VARIANCE + f (1 - f)`: no model can do
better, and one that knows the parameters does exactly that.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

_NETFLIX_RATINGS, _NETFLIX_USERS, _NETFLIX_ITEMS = 100_000_000, 480_189, 17_770
_NUM_FACTORS = 4
_STEP_PROBABILITY = 0.2
STEP_VARIANCE = 2 * _STEP_PROBABILITY

# The days of the Netflix Prize data.
_FIRST_DAY = np.datetime64("1999-11-11").astype(np.int32)
_LAST_DAY = np.datetime64("2005-12-31").astype(np.int32)

# Rows of a row group, as Arrow writes them unless told otherwise.
_ROWS_PER_GROUP = 1 << 20


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sizes of a data set.

    Args:
        num_ratings: about how many ratings.
        seed: what all numbers follow from.
    """

    num_ratings: int
    seed: int = 0

    @property
    def num_users(self) -> int:
        return self._scale(_NETFLIX_USERS)

    @property
    def num_items(self) -> int:
        return self._scale(_NETFLIX_ITEMS)

    def _scale(self, number: int) -> int:
        # As many of all pairs are rated as at Netflix: 1.2 %.
        share = self.num_ratings / _NETFLIX_RATINGS
        return max(int(number * share**0.5), 50)


@dataclasses.dataclass(frozen=True, eq=False)
class ItemRatings:
    """The ratings of one item, each user at most once.

    Args:
        item: the item, from 1 as Netflix counts them.
        users: who rated it, int32.
        ratings: what they gave it, int8.
        signals: what they give it on average, float32.
        days: when, days since 1970, int32.
    """

    item: int
    users: npt.NDArray[np.int32]
    ratings: npt.NDArray[np.int8]
    signals: npt.NDArray[np.float32]
    days: npt.NDArray[np.int32]


def generate(shape: Shape) -> Iterator[ItemRatings]:
    """Yields the ratings item by item, the same ones for the same shape."""
    rng = np.random.default_rng(shape.seed)
    activity = rng.lognormal(0, 1.2, shape.num_users)
    cumulated = np.cumsum(activity) / activity.sum()
    # A table from equal steps of probability to users makes drawing fast.
    table = np.searchsorted(
        cumulated, (np.arange(1 << 22) + 0.5) / (1 << 22)
    ).astype(np.int32)
    popularity = 1 / (np.arange(shape.num_items) + shape.num_items / 100)
    popularity *= shape.num_ratings / popularity.sum()
    user_offsets = rng.normal(0, 0.3, shape.num_users).astype(np.float32)
    user_factors = rng.normal(0, 0.4, (shape.num_users, _NUM_FACTORS)).astype(
        np.float32
    )
    for rank in rng.permutation(shape.num_items):
        wanted = int(popularity[rank]) + 1
        # Who is drawn twice rates once: some more are drawn.
        drawn = table[rng.integers(0, len(table), int(wanted * 1.25) + 1)]
        users = np.unique(drawn)
        users = np.sort(rng.permutation(users)[:wanted]) + 1
        item_offset = np.float32(rng.normal(0, 0.3))
        item_factors = rng.normal(0, 0.4, _NUM_FACTORS).astype(np.float32)
        signals = np.clip(
            3
            + item_offset
            + user_offsets[users - 1]
            + user_factors[users - 1] @ item_factors,
            2,
            4 - 1e-3,
        )
        chances = rng.random(len(users), np.float32)
        steps = (chances < _STEP_PROBABILITY).astype(np.float32)
        steps -= chances > 1 - _STEP_PROBABILITY
        ratings = np.floor(signals + steps + rng.random(len(users), np.float32))
        # Ever more ratings a day, as at Netflix.
        days = np.sqrt(rng.random(len(users), np.float32))
        days = _FIRST_DAY + (days * (_LAST_DAY - _FIRST_DAY)).astype(np.int32)
        yield ItemRatings(
            int(rank) + 1,
            users.astype(np.int32),
            ratings.astype(np.int8),
            signals,
            days.astype(np.int32),
        )


def write_netflix(shape: Shape, directory: str) -> int:
    """Writes `mv_*.txt` files as Netflix did; returns the ratings in them."""
    os.makedirs(directory)
    total = 0
    for block in generate(shape):
        path = os.path.join(directory, f"mv_{block.item:07d}.txt")
        table = pa.table(
            {
                "user": block.users,
                "rating": block.ratings,
                "date": pa.array(block.days).cast(pa.date32()),
            }
        )
        with open(path, "wb") as file:
            file.write(b"%d:\n" % block.item)
            pa.csv.write_csv(
                table, file, pa.csv.WriteOptions(include_header=False)
            )
        total += len(block.users)
    return total


def write_parquet(shape: Shape, path: str) -> int:
    """Writes one Parquet file; returns the ratings in it."""
    return _write_tables(shape, lambda schema: pq.ParquetWriter(path, schema))


def write_csv(shape: Shape, path: str) -> int:
    """Writes one CSV file; returns the ratings in it."""
    return _write_tables(shape, lambda schema: pa.csv.CSVWriter(path, schema))


def _write_tables(shape: Shape, open_writer: Callable[[pa.Schema], Any]) -> int:
    writer, total = None, 0
    for table in _join(map(_to_table, generate(shape))):
        if writer is None:
            writer = open_writer(table.schema)
        writer.write_table(table)
        total += len(table)
    writer.close()
    return total


def _to_table(block: ItemRatings) -> pa.Table:
    days = pa.array(block.days).cast(pa.date32())
    return pa.table(
        {
            "user_id": block.users,
            "item_id": np.full(len(block.users), block.item, np.int32),
            "rating": block.ratings.astype(np.float32),
            "timestamp": pc.cast(days, pa.timestamp("s")),
        }
    )


def _join(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Joins the ratings of items into tables of the size of a row group."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= _ROWS_PER_GROUP:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)
