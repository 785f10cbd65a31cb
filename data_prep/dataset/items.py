"""The items of prepared data: `items.parquet`, one row per item index."""

import collections
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

    def display_names(self) -> list[str]:
        """Returns the title of each item; the id of an item without one."""
        return [
            title or item_id
            for item_id, title in zip(self.item_ids, self.titles, strict=True)
        ]


class ItemNames:
    """What people may call the items: their ids and their titles.

    An id goes before a title of the same text. A title that several items
    have names none of them.

    Args:
        items: the items.

    Attributes:
        index_of: item index by id or title.
        ambiguous: the ids of the items that share a title, by that title.
    """

    def __init__(self, items: Items) -> None:
        with_title: dict[str, list[int]] = collections.defaultdict(list)
        for index, title in enumerate(items.titles):
            if title:
                with_title[title].append(index)
        by_id = {item_id: index for index, item_id in enumerate(items.item_ids)}
        self.index_of = by_id | {
            title: indices[0]
            for title, indices in with_title.items()
            if len(indices) == 1 and title not in by_id
        }
        self.ambiguous = {
            title: [items.item_ids[index] for index in indices]
            for title, indices in with_title.items()
            if len(indices) > 1 and title not in by_id
        }


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
