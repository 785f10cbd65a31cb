"""Which users are worked on together: shards, and buckets cut out of them."""

import dataclasses
import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

_HEAD_BITS = 32


def digest_user(user_id: str) -> bytes:
    """Returns the digest that decides where a user is written.

    Neighbours in a file have nothing in common, which is how training wants
    them.
    """
    return hashlib.md5(user_id.encode(), usedforsecurity=False).digest()


@dataclasses.dataclass(frozen=True)
class Buckets:
    """A division of users that depends on nothing but their ids.

    The head of a user's digest, modulo the number of shards, is his shard;
    its first bits are his bucket within the shard. The users of a shard lie
    in the order of their digests, so its buckets, one after the other, are
    the shard, whatever their number.

    Args:
        num_shards: files of records.
        buckets_per_shard: a power of two.
    """

    num_shards: int
    buckets_per_shard: int = 1

    @property
    def num_buckets(self) -> int:
        return self.num_shards * self.buckets_per_shard

    def place(self, user_ids: Iterable[str]) -> npt.NDArray[np.int64]:
        """Returns the bucket of each user."""
        heads = np.frombuffer(
            b"".join(digest_user(user_id)[:4] for user_id in user_ids), ">u4"
        ).astype(np.int64)
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
