"""Encoded buckets, one after the other, into the record files."""

import hashlib
from collections.abc import Iterator

import tensorflow as tf

from data_prep.dataset.schema import shard_name
from data_prep.engine.buckets import Buckets
from data_prep.engine.encoding import Encoded, add_up
from data_prep.engine.progress import Progress


def write_shards(
    encoded: Iterator[Encoded],
    buckets: Buckets,
    output_dir: str,
    *,
    num_ratings: int,
) -> tuple[Encoded, dict[str, str]]:
    """Writes the buckets into the shards that they were cut out of.

    Args:
        encoded: the buckets, in order.
        buckets: how users were divided.
        output_dir: the directory of the prepared data.
        num_ratings: about how many ratings there are.

    Returns:
        What was written in all, without the records themselves, and the
        SHA-256 of each file, by its path in the directory.
    """
    digests = {}
    total: Encoded | None = None
    progress = Progress("Wrote", "ratings", num_ratings)
    for shard in range(buckets.num_shards):
        name = shard_name(shard, buckets.num_shards)
        digest = hashlib.sha256()
        path = tf.io.gfile.join(output_dir, name)
        with tf.io.gfile.GFile(path, "wb") as file:
            for _ in range(buckets.buckets_per_shard):
                bucket = next(encoded)
                file.write(bucket.records.tobytes())
                digest.update(bucket.records.data)
                total = bucket if total is None else add_up(total, bucket)
                progress.add(sum(bucket.num_ratings.values()))
        digests[name] = digest.hexdigest()
    progress.finish()
    if total is None:
        raise ValueError("there are no shards")
    return total, digests
