"""Item id <-> item index: the rows of `items.parquet`."""

import dataclasses
import os
import tempfile
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from data_prep.assignment import ItemCounts
from data_prep.manifest import read_manifest
from data_prep.rows import find_places

FILE_NAME = "items.parquet"


@dataclasses.dataclass(frozen=True, eq=False)
class Items:
    """The items of the training ratings, the most rated first.

    The position in every field is the item's index in the records. Where an
    earlier vocabulary was kept, its items come first, as they were.

    Args:
        item_ids: the raw ids.
        counts: training ratings an item, int64 `(num_items,)`.
        means: mean training rating of an item, float64 `(num_items,)`; that
            of all ratings where the item has none.
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
        table = pq.read_table(path).sort_by("index")
    return Items(
        item_ids=table["item_id"].to_pylist(),
        counts=table["count"].to_numpy(),
        means=table["mean"].to_numpy(),
        titles=table["title"].to_pylist(),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Vocabulary:
    """The items of the records, and where those of the source went.

    Args:
        items: the items, in index order.
        indices: for each item of the source its index, -1 if it has none,
            int32 `(num_source_items,)`.
        rating_mean: the mean training rating.
    """

    items: Items
    indices: npt.NDArray[np.int32]
    rating_mean: float


def build_vocabulary(
    item_ids: pa.StringArray,
    item_counts: ItemCounts,
    unit: float,
    *,
    min_ratings: int = 1,
    old_ids: Sequence[str] = (),
) -> Vocabulary:
    """Gives every item with training ratings an index.

    The most rated item comes first, so that what is touched most lies close
    together; equal counts go by id.

    Args:
        item_ids: the ids of the source's items, in order.
        item_counts: their training ratings.
        unit: what the sums of ratings are counted in.
        min_ratings: items with fewer training ratings get no index.
        old_ids: the items of an earlier vocabulary, which keep their indices
            whatever their counts; new ones follow.
    """
    counts, sums = item_counts.counts, item_counts.sums
    old = find_places(pa.array(old_ids, pa.string()), item_ids)
    is_new = counts >= max(min_ratings, 1)
    is_new[old[old >= 0]] = False
    by_count = np.lexsort((np.arange(len(counts)), -counts))
    places = np.append(old, by_count[is_new[by_count]].astype(np.int32))
    indices = np.full(len(counts), -1, np.int32)
    rated = np.flatnonzero(places >= 0)
    indices[places[rated]] = rated
    # Old items that nobody rated any more have no place in the counts.
    kept_counts = np.where(places >= 0, counts[places], 0)
    kept_sums = np.where(places >= 0, sums[places], 0)
    mean = float(kept_sums.sum() * unit / max(kept_counts.sum(), 1))
    means = np.full(len(places), mean)
    np.divide(kept_sums * unit, kept_counts, out=means, where=kept_counts > 0)
    new_ids = item_ids.take(pa.array(places[len(old) :])).to_pylist()
    return Vocabulary(
        Items(
            item_ids=[*old_ids, *new_ids],
            counts=kept_counts,
            means=means,
            titles=[None] * len(places),
        ),
        indices,
        mean,
    )


def write_items(items: Items, path: str) -> None:
    """Writes a local Parquet file, equal items as equal bytes."""
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
