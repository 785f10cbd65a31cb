"""DuckDB: validate, de-duplicate, split, encode, bucket by user."""

import datetime
import os
import re
import tempfile
import time
from typing import Any

import duckdb
import tensorflow as tf
from absl import logging

from data_prep.digests import digest_file
from data_prep.errors import UserError
from data_prep.manifest import (
    Manifest,
    is_prepared,
    read_manifest,
    write_manifest,
)
from data_prep.records import GROUPS, shard_name
from data_prep.shards import write_shards
from data_prep.sources import Source
from data_prep.splits import Split
from data_prep.vocabulary import FILE_NAME as ITEMS_FILE
from data_prep.vocabulary import create_items_table, write_items

# What a full disk or too little memory ends in.
_NO_ROOM = (
    OSError,
    duckdb.IOException,
    duckdb.OutOfMemoryException,
    duckdb.TransactionException,
)

UNKNOWN_USER = "user_without_training_ratings"
UNKNOWN_ITEM = "item_without_training_ratings"


def prepare(
    source: Source,
    split: Split,
    output_dir: str,
    *,
    seed: int = 0,
    num_shards: int = 8,
) -> Manifest:
    """Turns ratings into prepared data.

    The same arguments give the same bytes. A directory that was prepared
    with the same arguments is left as it is; what an interrupted run left is
    replaced. Other files in the directory are not touched.

    Args:
        source: where the ratings come from.
        split: how they are held out.
        output_dir: the directory to fill, local or remote.
        seed: what decides where the split leaves it to chance.
        num_shards: the number of files that the users are spread over.

    Returns:
        What was prepared.

    Raises:
        UserError: when the ratings cannot be read or do not fill every part
            of the split, when `output_dir` holds other prepared data, or
            when there is no room for the result.

    Example:
        >>> source = make_source("movielens-1m")
        >>> prepare(source, make_split("user-time"), "/tmp/movielens")
    """
    if num_shards < 1:
        raise UserError(
            f"--num-shards must be at least 1. Received: {num_shards}"
        )
    request = {
        "source": source.describe(),
        "split": split.describe(),
        "seed": seed,
        "num_shards": num_shards,
    }
    if is_prepared(output_dir):
        return _reuse(output_dir, request)
    _remove_leftovers(output_dir)
    with tempfile.TemporaryDirectory(prefix="data_prep-") as temp_dir:
        try:
            with duckdb.connect(os.path.join(temp_dir, "db")) as connection:
                cuts = _encode(connection, source, split, request, temp_dir)
                return _write(connection, cuts, output_dir, request, temp_dir)
        except _NO_ROOM as error:
            if isinstance(error, OSError) and error.filename:
                raise  # It names its own place.
            raise UserError(
                f"could not work in {temp_dir} (TMPDIR names another place):"
                f" {str(error).splitlines()[0]}"
            ) from error
        except tf.errors.OpError as error:
            raise UserError(
                f"cannot write to {output_dir}: {error.message}"
            ) from error


def _reuse(output_dir: str, request: dict[str, Any]) -> Manifest:
    manifest = read_manifest(output_dir)
    found = {name: getattr(manifest, name) for name in request}
    found["split"] = {k: v for k, v in manifest.split.items() if k != "cuts"}
    for name, wanted in request.items():
        if found[name] != wanted:
            raise UserError(
                f"{output_dir} holds other prepared data: its {name} is"
                f" {found[name]}, not {wanted}. Choose another directory, or"
                " remove this one."
            )
    logging.info("%s is prepared already.", output_dir)
    return manifest


def _remove_leftovers(output_dir: str) -> None:
    users_dir = tf.io.gfile.join(output_dir, "users")
    try:
        tf.io.gfile.makedirs(users_dir)
    except tf.errors.OpError as error:
        raise UserError(
            f"cannot create {users_dir}: {error.message}"
        ) from error
    for name in tf.io.gfile.listdir(users_dir):
        if re.fullmatch(r"part-\d{5,}-of-\d{5,}\.tfrecord", name):
            tf.io.gfile.remove(tf.io.gfile.join(users_dir, name))


def _encode(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    split: Split,
    request: dict[str, Any],
    temp_dir: str,
) -> dict[str, float]:
    """Fills the tables `items`, `users` and `encoded`; returns the cuts."""
    start = time.monotonic()
    source.load(connection, temp_dir)
    num_rows, num_timestamps = _fetch_row(
        connection, "SELECT count(*), count(timestamp) FROM source_ratings"
    )
    if num_rows == 0:
        raise UserError("the source holds no ratings.")
    if split.needs_timestamps and num_timestamps < num_rows:
        raise UserError(
            f"split {split.name} goes by time, and"
            f" {num_rows - num_timestamps:,} of {num_rows:,} ratings have no"
            " timestamp. Name its column with --timestamp-column, or use"
            " --split random."
        )
    _log("Read %s ratings", num_rows, start)

    start = time.monotonic()
    _create_ratings_table(connection)
    cuts = split.find_cuts(connection)
    query = split.to_sql(request["seed"], cuts)
    connection.execute(f"CREATE TABLE assigned AS {query}")
    create_items_table(connection)
    _create_users_table(connection, request["num_shards"])
    _create_encoded_table(connection)
    num_ratings = _count_ratings(connection)
    for group, count in num_ratings.items():
        if count == 0:
            raise UserError(
                f"split {split.name} leaves no {group} ratings of known users"
                f" and items: {num_ratings}, dropped:"
                f" {_count_dropped(connection)}. Change {split.advice}."
            )
    _log("Split and encoded %s ratings", sum(num_ratings.values()), start)
    return cuts


def _create_ratings_table(connection: duckdb.DuckDBPyConnection) -> None:
    """Keeps the latest rating of each user and item, the highest of equals."""
    connection.execute(
        """
        CREATE TABLE ratings AS
        SELECT user_id, item_id, latest.rating, latest.timestamp
        FROM (
            SELECT
                user_id, item_id,
                max({'timestamp': timestamp, 'rating': rating}) AS latest
            FROM source_ratings GROUP BY user_id, item_id
        )
        """
    )


def _create_users_table(
    connection: duckdb.DuckDBPyConnection, num_shards: int
) -> None:
    """Numbers the users who have training ratings, shard by shard.

    Digests decide the shard and the order within: neighbours in a file have
    nothing in common, which is how training wants them.
    """
    connection.execute(
        f"""
        CREATE TABLE users AS
        SELECT
            row_number() OVER (ORDER BY shard, digest, user_id) - 1
                AS user_index,
            user_id, shard
        FROM (
            SELECT
                user_id, md5(user_id) AS digest,
                CAST('0x' || left(digest, 8) AS UBIGINT) % {num_shards}
                    AS shard
            FROM (
                SELECT DISTINCT user_id FROM assigned WHERE split = 'train'
            )
        )
        """
    )


def _create_encoded_table(connection: duckdb.DuckDBPyConnection) -> None:
    """Replaces ids and groups by numbers, or gives the reason to drop."""
    groups = list(GROUPS)
    connection.execute(
        f"""
        CREATE TABLE encoded AS
        SELECT
            user_index,
            list_position({groups}, split) - 1 AS group_index,
            "index" AS item_index,
            CAST(rating AS FLOAT) AS rating,
            CASE
                WHEN split NOT IN {tuple(groups)} THEN split
                WHEN user_index IS NULL THEN '{UNKNOWN_USER}'
                WHEN "index" IS NULL THEN '{UNKNOWN_ITEM}'
            END AS dropped
        FROM assigned
        LEFT JOIN users USING (user_id)
        LEFT JOIN items USING (item_id)
        """
    )


def _count_ratings(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    counts = connection.execute(
        "SELECT group_index, count(*) FROM encoded"
        " WHERE dropped IS NULL GROUP BY group_index"
    ).fetchall()
    return {group: dict(counts).get(k, 0) for k, group in enumerate(GROUPS)}


def _count_dropped(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    (num_duplicates,) = _fetch_row(
        connection,
        "SELECT (SELECT count(*) FROM source_ratings)"
        " - (SELECT count(*) FROM ratings)",
    )
    counts = connection.execute(
        "SELECT dropped, count(*) FROM encoded"
        " WHERE dropped IS NOT NULL GROUP BY dropped ORDER BY dropped"
    ).fetchall()
    return {"duplicate": num_duplicates, **dict(counts)}


def _write(
    connection: duckdb.DuckDBPyConnection,
    cuts: dict[str, float],
    output_dir: str,
    request: dict[str, Any],
    temp_dir: str,
) -> Manifest:
    """Writes shards, items and, last, the manifest."""
    start = time.monotonic()
    num_shards = request["num_shards"]
    num_users = write_shards(connection, output_dir, num_shards)
    local_items = os.path.join(temp_dir, ITEMS_FILE)
    write_items(connection, local_items)
    tf.io.gfile.copy(
        local_items, tf.io.gfile.join(output_dir, ITEMS_FILE), overwrite=True
    )
    files = [shard_name(shard, num_shards) for shard in range(num_shards)]
    num_items, rating_mean = _fetch_row(
        connection,
        'SELECT count(*), sum("count" * mean ORDER BY "index") / sum("count")'
        " FROM items",
    )
    num_rows, rating_min, rating_max = _fetch_row(
        connection,
        "SELECT count(*), min(rating), max(rating) FROM source_ratings",
    )
    manifest = Manifest(
        source=request["source"],
        split=request["split"] | _describe_cuts(cuts),
        seed=request["seed"],
        num_shards=num_shards,
        num_users=num_users,
        num_items=num_items,
        num_ratings=_count_ratings(connection),
        rows_read=num_rows,
        rows_dropped=_count_dropped(connection),
        rating_min=rating_min,
        rating_max=rating_max,
        rating_mean=rating_mean,
        digests={
            name: digest_file(tf.io.gfile.join(output_dir, name))
            for name in [*files, ITEMS_FILE]
        },
    )
    write_manifest(manifest, output_dir)
    _log("Wrote %s users", num_users, start)
    return manifest


def _describe_cuts(cuts: dict[str, float]) -> dict[str, dict[str, str]]:
    if not cuts:
        return {}
    moments = {
        group: datetime.datetime.fromtimestamp(cut, datetime.UTC)
        for group, cut in cuts.items()
    }
    return {"cuts": {group: m.isoformat() for group, m in moments.items()}}


def _fetch_row(
    connection: duckdb.DuckDBPyConnection, query: str
) -> tuple[Any, ...]:
    row: tuple[Any, ...] = connection.execute(query).fetchall()[0]
    return row


def _log(message: str, count: int, start: float) -> None:
    seconds = time.monotonic() - start
    logging.info(message + " in %.1f s.", f"{count:,}", seconds)
