"""Streams the encoded ratings, user by user, into the record files."""

from collections.abc import Iterator

import duckdb
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from absl import logging

from data_prep.records import GROUPS, serialize_user, shard_name

_ROWS_AT_A_TIME = 1 << 20
_SECONDS_BETWEEN_LOGS = 10

_Groups = dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]


def write_shards(
    connection: duckdb.DuckDBPyConnection, output_dir: str, num_shards: int
) -> int:
    """Writes every user of `users` with his ratings from `encoded`.

    Both are read in the order of `user_index`, which goes shard by shard, so
    one file is open at a time and memory does not grow with the data.

    Args:
        connection: holds the two tables.
        output_dir: the directory of the prepared data.
        num_shards: the number of files.

    Returns:
        The number of users written.
    """
    ratings = _read_ratings(connection.cursor())
    num_users = 0
    for shard in range(num_shards):
        path = tf.io.gfile.join(output_dir, shard_name(shard, num_shards))
        with tf.io.TFRecordWriter(path) as writer:
            for user_id in _read_user_ids(connection.cursor(), shard):
                writer.write(serialize_user(user_id, next(ratings)))
                num_users += 1
        logging.log_every_n_seconds(
            logging.INFO,
            "Wrote %d users, shard %d of %d.",
            _SECONDS_BETWEEN_LOGS,
            num_users,
            shard + 1,
            num_shards,
        )
    if next(ratings, None) is not None:
        raise RuntimeError(f"there are ratings of more than {num_users} users")
    return num_users


def _read_user_ids(
    cursor: duckdb.DuckDBPyConnection, shard: int
) -> Iterator[str]:
    cursor.execute(
        "SELECT user_id FROM users WHERE shard = ? ORDER BY user_index",
        [shard],
    )
    while rows := cursor.fetchmany(_ROWS_AT_A_TIME):
        for (user_id,) in rows:
            yield user_id


def _read_ratings(cursor: duckdb.DuckDBPyConnection) -> Iterator[_Groups]:
    """Yields the ratings of one user after the other."""
    # A slot is one group of one user: slots are in order, and without gaps
    # from one user to the next.
    reader = cursor.sql(
        f"""
        SELECT
            user_index * {len(GROUPS)} + group_index AS slot,
            item_index, rating
        FROM encoded WHERE dropped IS NULL
        ORDER BY slot, item_index
        """
    ).to_arrow_reader(_ROWS_AT_A_TIME)
    slots, items = np.empty(0, np.int64), np.empty(0, np.int64)
    ratings = np.empty(0, np.float32)
    next_slot = 0
    for batch in reader:
        slots = np.concatenate([slots, batch.column(0).to_numpy()])
        items = np.concatenate([items, batch.column(1).to_numpy()])
        ratings = np.concatenate([ratings, batch.column(2).to_numpy()])
        _check_order(slots, items)
        # The last user of a batch may go on in the next one.
        end_slot = slots[-1] - slots[-1] % len(GROUPS)
        yield from _divide(slots, items, ratings, next_slot, end_slot)
        kept = int(np.searchsorted(slots, end_slot))
        slots, items, ratings = slots[kept:], items[kept:], ratings[kept:]
        next_slot = end_slot
    yield from _divide(
        slots, items, ratings, next_slot, next_slot + len(GROUPS)
    )


def _divide(
    slots: npt.NDArray[np.int64],
    items: npt.NDArray[np.int64],
    ratings: npt.NDArray[np.float32],
    start_slot: int,
    end_slot: int,
) -> Iterator[_Groups]:
    """Yields the users from the one of `start_slot` to before `end_slot`."""
    edges = np.searchsorted(slots, np.arange(start_slot, end_slot + 1))
    for user in range(0, end_slot - start_slot, len(GROUPS)):
        yield {
            group: (
                items[edges[user + k] : edges[user + k + 1]],
                ratings[edges[user + k] : edges[user + k + 1]],
            )
            for k, group in enumerate(GROUPS)
        }


def _check_order(
    slots: npt.NDArray[np.int64], items: npt.NDArray[np.int64]
) -> None:
    steps = np.diff(slots)
    rising = (steps > 0) | ((steps == 0) & (np.diff(items) > 0))
    if not rising.all():
        raise RuntimeError("the ratings of a user are not together, in order")
