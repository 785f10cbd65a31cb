"""Pairs of users and items, kept by the shard that holds the user."""

import os
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from data_prep.engine.partition import Buckets


def shard_pairs(
    tables: Iterable[pa.Table], num_shards: int, directory: str
) -> list[str]:
    """Writes pairs to one Arrow file per shard, without holding them all.

    The record files of prepared data with as many shards hold the same users.

    Args:
        tables: pairs as strings, in the columns `user` and `item`.
        num_shards: the number of record files.
        directory: a local directory.

    Returns:
        The file of each shard, whose pairs are in the order given.
    """
    schema = pa.schema([("user", pa.string()), ("item", pa.string())])
    paths = [
        os.path.join(directory, f"pairs-{shard}.arrow")
        for shard in range(num_shards)
    ]
    buckets = Buckets(num_shards)
    writers = [pa.ipc.new_file(path, schema) for path in paths]
    for table in tables:
        rows = table.combine_chunks().cast(schema)
        shards = buckets.locate(rows["user"].combine_chunks())
        for shard in np.unique(shards):
            kept = rows.filter(pa.array(shards == shard))
            writers[shard].write_table(kept)
    for writer in writers:
        writer.close()
    return paths
