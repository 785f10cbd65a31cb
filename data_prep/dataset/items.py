"""The items of prepared data: `items.parquet`, one row per item index."""

import dataclasses
import os
import tempfile

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from data_prep.dataset.errors import UserError
from data_prep.dataset.manifest import read_manifest

FILE_NAME = "items.parquet"


@dataclasses.dataclass(frozen=True, eq=False)
class Items:
    """The item vocabulary: items with training ratings, most rated first.

    The position in every field is the item's index in the records. If an
    earlier vocabulary was extended, its items come first, in their old order.

    Args:
        item_ids: the raw ids.
        counts: training ratings per item, int64 `(num_items,)`.
        means: mean training rating of each item, float64 `(num_items,)`; the
            overall mean for an item without ratings.
        titles: display names, `None` where unknown.
    """

    item_ids: list[str]
    counts: npt.NDArray[np.int64]
    means: npt.NDArray[np.float64]
    titles: list[str | None]


def read_items(data_dir: str) -> Items:
    """Reads the items of prepared data, in index order.

    Raises:
        UserError: if `data_dir` is not prepared data, or the file is damaged.
    """
    read_manifest(data_dir)
    source = str(tf.io.gfile.join(data_dir, FILE_NAME))
    with tempfile.TemporaryDirectory() as temp_dir:
        path = os.path.join(temp_dir, FILE_NAME)
        tf.io.gfile.copy(source, path)
        try:
            table = pq.read_table(path).sort_by("index")
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(
                f"{source} is damaged ({error}). Copy it again, or prepare the"
                " data again."
            ) from error
    return Items(
        item_ids=table["item_id"].to_pylist(),
        counts=table["count"].to_numpy(),
        means=table["mean"].to_numpy(),
        titles=table["title"].to_pylist(),
    )


def write_items(items: Items, path: str) -> None:
    """Writes a local Parquet file; equal items give equal bytes."""
    table = pa.table(
        {
            "index": pa.array(range(len(items.item_ids)), pa.int64()),
            "item_id": pa.array(items.item_ids, pa.string()),
            "count": pa.array(items.counts, pa.int64()),
            "mean": pa.array(items.means, pa.float64()),
            "title": pa.array(items.titles, pa.string()),
        }
    )
    pq.write_table(table, path)
