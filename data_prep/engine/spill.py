"""Spills partitioned ratings to Arrow files, and reads them by bucket."""

import dataclasses
import itertools
import os
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_prep.engine.partition import Partition
from data_prep.ratings import (
    COLUMNS,
    Ratings,
    find_positions,
    replace_items,
)

_RATINGS_FILE, _USERS_FILE = "ratings.arrow", "users.arrow"


@dataclasses.dataclass(frozen=True, eq=False)
class SpilledPart:
    """A partition in files, from which each bucket can be read by itself.

    Args:
        directory: the directory of the files.
        item_ids: the item ids of the part.
        num_ratings: the number of ratings.
    """

    directory: str
    item_ids: pa.StringArray
    num_ratings: int

    def read(self, bucket: int) -> Ratings:
        """Reads the ratings of one bucket."""
        columns = read_batch(
            os.path.join(self.directory, _RATINGS_FILE), bucket
        )
        users = read_batch(os.path.join(self.directory, _USERS_FILE), bucket)
        return Ratings(
            user_ids=users["user_ids"],
            item_ids=self.item_ids,
            **{
                name: columns[name].to_numpy(zero_copy_only=False)
                for name in COLUMNS
            },
        )


def spill(content: Partition, directory: str) -> SpilledPart:
    """Writes a partition to files in a directory, one batch per bucket."""
    ratings = content.ratings
    write_batches(
        os.path.join(directory, _RATINGS_FILE),
        {name: getattr(ratings, name) for name in COLUMNS},
        content.edges,
    )
    write_batches(
        os.path.join(directory, _USERS_FILE),
        {"user_ids": ratings.user_ids},
        content.user_edges,
    )
    return SpilledPart(directory, ratings.item_ids, len(ratings))


@dataclasses.dataclass(frozen=True, eq=False)
class SpilledRatings:
    """All ratings of a source in spill files, with the same item ids.

    Args:
        parts: the parts.
        item_ids: the ids of all items, sorted.
        item_positions: for each part, the positions of its items in
            `item_ids`.
    """

    parts: list[SpilledPart]
    item_ids: pa.StringArray
    item_positions: list[npt.NDArray[np.int32]]

    @classmethod
    def join(
        cls, parts: list[SpilledPart], item_ids: pa.StringArray
    ) -> "SpilledRatings":
        """Joins parts; `item_ids` must contain the item ids of all of them."""
        positions = [find_positions(part.item_ids, item_ids) for part in parts]
        return cls(parts, item_ids, positions)

    @property
    def num_ratings(self) -> int:
        return sum(part.num_ratings for part in self.parts)

    def read(self, bucket: int) -> list[Ratings]:
        """Reads the ratings of one bucket from all parts."""
        return [
            replace_items(part.read(bucket), self.item_ids, positions)
            for part, positions in zip(
                self.parts, self.item_positions, strict=True
            )
        ]


def write_batches(
    path: str,
    columns: dict[str, Any],
    edges: npt.NDArray[np.int64] | None = None,
) -> None:
    """Writes columns of equal length to an Arrow file.

    Args:
        path: the file.
        columns: the columns by name.
        edges: the first row of each batch, and the end; `None` for one batch.
    """
    rows = pa.record_batch(columns)
    if edges is None:
        edges = np.array([0, len(rows)])
    with (
        pa.OSFile(path, "wb") as file,
        pa.ipc.new_file(file, rows.schema) as writer,
    ):
        for start, stop in itertools.pairwise(edges.tolist()):
            writer.write_batch(rows.slice(start, stop - start))


def read_batch(path: str, number: int = 0) -> pa.RecordBatch:
    """Reads one batch of an Arrow file into memory."""
    with pa.OSFile(path) as file:
        return pa.ipc.open_file(file).get_batch(number)
