"""Rows on the way, cut by bucket: in memory, and in files of columns."""

import dataclasses
import os
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_prep.engine.buckets import Buckets
from data_prep.hashing import view_texts
from data_prep.ratings import ROW_COLUMNS, Rows, find_places, number_items

_OFFSET = np.dtype(np.int64)
_BYTE = np.dtype(np.uint8)


@dataclasses.dataclass(frozen=True, eq=False)
class Partition:
    """Rows and user ids in the order of their buckets.

    Args:
        rows: the rows; `users` counts from the first user of the bucket.
        row_edges: where each bucket's rows start, and the end.
        user_edges: where each bucket's users start, and the end.
    """

    rows: Rows
    row_edges: npt.NDArray[np.int64]
    user_edges: npt.NDArray[np.int64]

    def cut(self, bucket: int) -> Rows:
        """Returns the rows of one bucket, with no other ids than theirs."""
        rows = self.rows.take(np.arange(*self.row_edges[bucket : bucket + 2]))
        users = np.arange(*self.user_edges[bucket : bucket + 2])
        items, places = np.unique(rows.items, return_inverse=True)
        return dataclasses.replace(
            rows,
            user_ids=rows.user_ids.take(pa.array(users)),
            item_ids=rows.item_ids.take(pa.array(items)),
            items=places.astype(np.int32),
        )


def partition(rows: Rows, buckets: Buckets) -> Partition:
    """Sorts rows by the bucket of their user."""
    edges = np.arange(buckets.num_buckets + 1)
    user_buckets = buckets.place(rows.user_ids)
    user_order = np.argsort(user_buckets, kind="stable")
    user_edges = np.searchsorted(user_buckets[user_order], edges)
    places = np.empty(len(user_order), np.int32)
    places[user_order] = np.arange(len(user_order), dtype=np.int32)
    places -= user_edges[user_buckets].astype(np.int32)
    # Small numbers are sorted in linear time.
    kind = np.uint16 if buckets.num_buckets <= 1 << 16 else np.int64
    row_buckets = user_buckets.astype(kind)[rows.users]
    order = np.argsort(row_buckets, kind="stable")
    counts = np.bincount(row_buckets, minlength=buckets.num_buckets)
    ordered = dataclasses.replace(
        rows,
        users=places[rows.users],
        user_ids=rows.user_ids.take(pa.array(user_order)),
    ).take(order)
    return Partition(ordered, np.append(0, np.cumsum(counts)), user_edges)


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """A partition in files, of which a bucket is read by itself.

    Args:
        directory: where the files are.
        item_ids: the ids that the rows' items stand for.
        row_edges: where each bucket's rows start, and the end.
        user_edges: where each bucket's users start, and the end.
    """

    directory: str
    item_ids: pa.StringArray
    row_edges: npt.NDArray[np.int64]
    user_edges: npt.NDArray[np.int64]

    def read(
        self,
        bucket: int,
        item_ids: pa.StringArray,
        places: npt.NDArray[np.int32],
    ) -> Rows:
        """Returns a bucket's rows, with items numbered by `item_ids`.

        Args:
            bucket: its number.
            item_ids: ids in order, these and others.
            places: where the ids of this block are among them.
        """
        first, last = self.row_edges[bucket : bucket + 2]
        columns = {
            name: read_column(self.directory, name, dtype, first, last)
            for name, dtype in ROW_COLUMNS.items()
        }
        user_ids = read_texts(
            self.directory, "user_ids", *self.user_edges[bucket : bucket + 2]
        )
        rows = Rows(user_ids=user_ids, item_ids=self.item_ids, **columns)
        return number_items(rows, item_ids, places)


def write_block(content: Partition, directory: str) -> Block:
    """Writes a partition into a directory."""
    for name in ROW_COLUMNS:
        write_column(directory, name, getattr(content.rows, name))
    write_texts(directory, "user_ids", content.rows.user_ids)
    return Block(
        directory,
        content.rows.item_ids,
        content.row_edges,
        content.user_edges,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Blocks:
    """All blocks of a source, with one numbering of the items.

    Args:
        blocks: the blocks.
        item_ids: the ids of all items, in order.
        places: for each block, where its items are among them.
    """

    blocks: list[Block]
    item_ids: pa.StringArray
    places: list[npt.NDArray[np.int32]]

    @classmethod
    def of(cls, blocks: list[Block], item_ids: pa.StringArray) -> "Blocks":
        """Numbers the items of the blocks by their places in `item_ids`."""
        places = [find_places(block.item_ids, item_ids) for block in blocks]
        return cls(blocks, item_ids, places)

    @property
    def num_rows(self) -> int:
        return sum(int(block.row_edges[-1]) for block in self.blocks)

    def read(self, bucket: int) -> list[Rows]:
        """Returns the rows of a bucket, a piece from each block."""
        return [
            block.read(bucket, self.item_ids, places)
            for block, places in zip(self.blocks, self.places, strict=True)
        ]


def write_column(
    directory: str, name: str, values: npt.NDArray[np.generic]
) -> None:
    """Writes a column as it is in memory."""
    with open(os.path.join(directory, name), "wb") as file:
        file.write(np.ascontiguousarray(values).view(np.uint8).data)


def read_column(
    directory: str,
    name: str,
    dtype: Any,
    start: int = 0,
    stop: int | None = None,
) -> npt.NDArray[Any]:
    """Reads the values of a column from `start` to before `stop`."""
    path = os.path.join(directory, name)
    count = -1 if stop is None else int(stop - start)
    return np.fromfile(path, dtype, count, offset=int(start) * dtype.itemsize)


def write_texts(directory: str, name: str, texts: pa.StringArray) -> None:
    """Writes a column of texts, and where each of them ends."""
    texts = pa.concat_arrays([texts])  # Makes what it is a slice of go away.
    offsets, data = view_texts(texts)
    write_column(directory, name, data[offsets[0] : offsets[-1]])
    write_column(directory, f"{name}_offsets", (offsets - offsets[0]))


def read_texts(
    directory: str, name: str, start: int = 0, stop: int | None = None
) -> pa.StringArray:
    """Reads the texts of a column from `start` to before `stop`."""
    end = None if stop is None else stop + 1
    offsets = read_column(directory, f"{name}_offsets", _OFFSET, start, end)
    data = read_column(directory, name, _BYTE, offsets[0], offsets[-1])
    return pa.StringArray.from_buffers(
        len(offsets) - 1,
        pa.py_buffer((offsets - offsets[0]).astype(np.int32)),
        pa.py_buffer(data),
    )
