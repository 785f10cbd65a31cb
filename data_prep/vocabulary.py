"""Item id <-> item index: the rows of `items.parquet`."""

import dataclasses
import os
import tempfile

import duckdb
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from data_prep.manifest import read_manifest

FILE_NAME = "items.parquet"


@dataclasses.dataclass(frozen=True, eq=False)
class Items:
    """The items of the training ratings, the most rated first.

    The position in every field is the item's index in the records.

    Args:
        item_ids: the raw ids.
        counts: training ratings an item, int64 `(num_items,)`.
        means: mean training rating of an item, float64 `(num_items,)`.
        titles: what people call the item, `None` where unknown.
    """

    item_ids: list[str]
    counts: npt.NDArray[np.int64]
    means: npt.NDArray[np.float64]
    titles: list[str | None]


def read_items(data_dir: str) -> Items:
    """Reads the items of a directory of prepared data, in index order.

    Raises:
        UserError: when `data_dir` is not prepared data.
    """
    read_manifest(data_dir)
    with tempfile.TemporaryDirectory() as temp_dir:
        path = os.path.join(temp_dir, FILE_NAME)
        tf.io.gfile.copy(tf.io.gfile.join(data_dir, FILE_NAME), path)
        with duckdb.connect() as connection:
            rows = connection.execute(
                'SELECT item_id, "count", mean, title'
                ' FROM read_parquet(?) ORDER BY "index"',
                [path],
            ).fetchall()
    item_ids, counts, means, titles = map(list, zip(*rows, strict=True))
    return Items(
        item_ids=item_ids,
        counts=np.array(counts, np.int64),
        means=np.array(means, np.float64),
        titles=titles,
    )


def create_items_table(connection: duckdb.DuckDBPyConnection) -> None:
    """Creates `items` from the training rows of `assigned`.

    The most rated item comes first, so that what is touched most lies close
    together; equal counts go by id. The mean adds exact counts of equal
    ratings in ascending order: threads cannot change its last digit.
    """
    connection.execute(
        """
        CREATE TABLE items AS
        WITH equal_ratings AS (
            SELECT item_id, rating, count(*) AS num_ratings
            FROM assigned WHERE split = 'train'
            GROUP BY item_id, rating
        ),
        statistics AS (
            SELECT
                item_id,
                CAST(sum(num_ratings) AS BIGINT) AS "count",
                sum(rating * num_ratings ORDER BY rating)
                    / sum(num_ratings) AS mean
            FROM equal_ratings GROUP BY item_id
        ),
        titles AS (
            SELECT item_id, min(title) AS title
            FROM source_titles GROUP BY item_id
        )
        SELECT
            row_number() OVER (ORDER BY "count" DESC, item_id) - 1 AS "index",
            item_id, "count", mean, title
        FROM statistics LEFT JOIN titles USING (item_id)
        """
    )


def write_items(connection: duckdb.DuckDBPyConnection, path: str) -> None:
    """Writes `items` to a local Parquet file, equal tables as equal bytes."""
    connection.execute("SET threads = 1")
    connection.table("items").order('"index"').write_parquet(path)
    connection.execute("RESET threads")
