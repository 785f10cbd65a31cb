"""Partitions users into shards, and shards into buckets that fit memory."""

import dataclasses

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_prep.hashing import hash_strings
from data_prep.ratings import Ratings, keep_used_items

# The bits of the digest that choose shard and bucket.
_HASH_BITS = 32
_MAX_BUCKETS_PER_SHARD = 1 << 16


@dataclasses.dataclass(frozen=True)
class Buckets:
    """A division of users that depends on nothing but their ids.

    The first 32 bits of the MD5 digest of a user id, modulo the number of
    shards, are the user's shard; the leading bits are their bucket within the
    shard. The users of a shard are ordered by digest, so
    concatenating its buckets gives the shard, however many there are. Adjacent
    users are unrelated, which is good for training.

    Args:
        num_shards: the number of record files.
        buckets_per_shard: a power of two.
    """

    num_shards: int
    buckets_per_shard: int = 1

    @property
    def num_buckets(self) -> int:
        return self.num_shards * self.buckets_per_shard

    def locate(self, user_ids: pa.StringArray) -> npt.NDArray[np.int64]:
        """Returns the bucket of each user, int64 `(num_users,)`."""
        hashes = hash_strings(user_ids)[:, 0] >> np.uint64(64 - _HASH_BITS)
        hashes = hashes.astype(np.int64)
        bits = self.buckets_per_shard.bit_length() - 1
        in_shard = hashes >> (_HASH_BITS - bits)
        return hashes % self.num_shards * self.buckets_per_shard + in_shard


def choose_buckets(
    num_shards: int, num_rows: int, rows_per_bucket: int
) -> Buckets:
    """Returns as few buckets as hold at most about `rows_per_bucket` rows."""
    buckets_per_shard = 1
    while (
        num_rows > num_shards * buckets_per_shard * rows_per_bucket
        and buckets_per_shard < _MAX_BUCKETS_PER_SHARD
    ):
        buckets_per_shard *= 2
    return Buckets(num_shards, buckets_per_shard)


@dataclasses.dataclass(frozen=True, eq=False)
class Partition:
    """Ratings and user ids in the order of their buckets.

    Args:
        ratings: the ratings; `users` counts from the first user of the
            bucket.
        edges: the position of the first rating of each bucket, and the end,
            int64 `(num_buckets + 1,)`.
        user_edges: the position of the first user of each bucket, and the
            end, int64 `(num_buckets + 1,)`.
    """

    ratings: Ratings
    edges: npt.NDArray[np.int64]
    user_edges: npt.NDArray[np.int64]

    def select(self, bucket: int) -> Ratings:
        """Returns the ratings of one bucket, with the ids they need only."""
        ratings = self.ratings.take(np.arange(*self.edges[bucket : bucket + 2]))
        users = np.arange(*self.user_edges[bucket : bucket + 2])
        return keep_used_items(
            dataclasses.replace(
                ratings, user_ids=ratings.user_ids.take(pa.array(users))
            )
        )


def partition(ratings: Ratings, buckets: Buckets) -> Partition:
    """Sorts ratings by the bucket of their user."""
    edges = np.arange(buckets.num_buckets + 1)
    user_buckets = buckets.locate(ratings.user_ids)
    user_order = np.argsort(user_buckets, kind="stable")
    user_edges = np.searchsorted(user_buckets[user_order], edges)
    positions = np.empty(len(user_order), np.int32)
    positions[user_order] = np.arange(len(user_order), dtype=np.int32)
    positions -= user_edges[user_buckets].astype(np.int32)
    # NumPy sorts integers of 16 bits in linear time.
    dtype = np.uint16 if buckets.num_buckets <= 1 << 16 else np.int64
    rating_buckets = user_buckets.astype(dtype)[ratings.users]
    order = np.argsort(rating_buckets, kind="stable")
    counts = np.bincount(rating_buckets, minlength=buckets.num_buckets)
    ordered = dataclasses.replace(
        ratings,
        users=positions[ratings.users],
        user_ids=ratings.user_ids.take(pa.array(user_order)),
    ).take(order)
    return Partition(ordered, np.append(0, np.cumsum(counts)), user_edges)
