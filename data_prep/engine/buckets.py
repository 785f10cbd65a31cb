"""Which users are worked on together: shards, and buckets cut out of them."""

import dataclasses

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_prep.hashing import digest_texts

_HEAD_BITS = 32


@dataclasses.dataclass(frozen=True)
class Buckets:
    """A division of users that depends on nothing but their ids.

    The head of the MD5 digest of a user's id, modulo the number of shards,
    is his shard; its first bits are his bucket within the shard. The users of
    a shard lie in the order of their digests, so its buckets, one after the
    other, are the shard, whatever their number. Neighbours in a file have
    nothing in common, which is how training wants them.

    Args:
        num_shards: files of records.
        buckets_per_shard: a power of two.
    """

    num_shards: int
    buckets_per_shard: int = 1

    @property
    def num_buckets(self) -> int:
        return self.num_shards * self.buckets_per_shard

    def place(self, user_ids: pa.StringArray) -> npt.NDArray[np.int64]:
        """Returns the bucket of each user."""
        heads = digest_texts(user_ids)[:, 0] >> np.uint64(64 - _HEAD_BITS)
        heads = heads.astype(np.int64)
        bits = self.buckets_per_shard.bit_length() - 1
        first_bits = heads >> (_HEAD_BITS - bits)
        return heads % self.num_shards * self.buckets_per_shard + first_bits


def choose_buckets(
    num_shards: int, num_rows: int, rows_per_bucket: int
) -> Buckets:
    """Returns buckets that hold about `rows_per_bucket` rows, or fewer."""
    buckets_per_shard = 1
    while (
        num_rows > num_shards * buckets_per_shard * rows_per_bucket
        and buckets_per_shard < 1 << 16
    ):
        buckets_per_shard *= 2
    return Buckets(num_shards, buckets_per_shard)
