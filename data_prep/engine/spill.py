"""Spills partitioned ratings to Arrow files, and reads them by bucket."""

import dataclasses
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
        edges: as in `Partition`.
        user_edges: as in `Partition`.
    """

    directory: str
    item_ids: pa.StringArray
    edges: npt.NDArray[np.int64]
    user_edges: npt.NDArray[np.int64]

    def read(self, bucket: int) -> Ratings:
        """Reads the ratings of one bucket."""
        columns = read_columns(
            os.path.join(self.directory, _RATINGS_FILE),
            *self.edges[bucket : bucket + 2],
        )
        users = read_columns(
            os.path.join(self.directory, _USERS_FILE),
            *self.user_edges[bucket : bucket + 2],
        )
        return Ratings(
            user_ids=users["user_ids"],
            item_ids=self.item_ids,
            **{
                name: columns[name].to_numpy(zero_copy_only=False)
                for name in COLUMNS
            },
        )


def spill(content: Partition, directory: str) -> SpilledPart:
    """Writes a partition to files in a directory."""
    ratings = content.ratings
    write_columns(
        os.path.join(directory, _RATINGS_FILE),
        {name: getattr(ratings, name) for name in COLUMNS},
    )
    write_columns(
        os.path.join(directory, _USERS_FILE), {"user_ids": ratings.user_ids}
    )
    return SpilledPart(
        directory, ratings.item_ids, content.edges, content.user_edges
    )


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
        return sum(int(part.edges[-1]) for part in self.parts)

    def read(self, bucket: int) -> list[Ratings]:
        """Reads the ratings of one bucket from all parts."""
        return [
            replace_items(part.read(bucket), self.item_ids, positions)
            for part, positions in zip(
                self.parts, self.item_positions, strict=True
            )
        ]


def write_columns(path: str, columns: dict[str, Any]) -> None:
    """Writes columns of equal length to an Arrow file."""
    batch = pa.record_batch(columns)
    with (
        pa.OSFile(path, "wb") as file,
        pa.ipc.new_file(file, batch.schema) as writer,
    ):
        writer.write_batch(batch)


def read_columns(
    path: str, start: int = 0, stop: int | None = None
) -> pa.RecordBatch:
    """Maps the rows from `start` to before `stop` of an Arrow file."""
    with pa.memory_map(path) as file:
        batch = pa.ipc.open_file(file).get_batch(0)
    return batch.slice(start, None if stop is None else stop - start)
