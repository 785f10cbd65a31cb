"""Serializes the users of each bucket, and writes them to the shards."""

import dataclasses
import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from data_prep.dataset.schema import COLD_RATINGS, SUBSETS, shard_name
from data_prep.engine.assignment import AssignedRatings
from data_prep.engine.partition import Buckets
from data_prep.engine.progress import Progress
from data_prep.engine.tfrecords import serialize_records
from data_prep.splits.base import TRAIN

UNKNOWN_USER = "user_without_training_ratings"
ITEM_BELOW_MINIMUM = "item_below_minimum"


@dataclasses.dataclass(frozen=True, eq=False)
class SerializedUsers:
    """The records of some users, and counts of their ratings.

    Args:
        records: the content of a TFRecord file, uint8 `(num_bytes,)`.
        num_users: the number of users.
        num_ratings: the number of ratings, by subset.
        num_cold_ratings: the number of held-out ratings of items without
            training ratings, by subset.
        dropped: the number of ratings left out, by reason.
        held_out_users: the number of users with held-out ratings.
        held_out_items: whether each item has held-out ratings, bool
            `(num_items,)`.
    """

    records: npt.NDArray[np.uint8]
    num_users: int
    num_ratings: dict[str, int]
    num_cold_ratings: dict[str, int]
    dropped: dict[str, int]
    held_out_users: int
    held_out_items: npt.NDArray[np.bool_]

    def without_records(self) -> "SerializedUsers":
        """Returns the counts only."""
        return dataclasses.replace(self, records=np.empty(0, np.uint8))


def add_counts(
    first: SerializedUsers, second: SerializedUsers
) -> SerializedUsers:
    """Returns the counts of two buckets together, without records."""
    return SerializedUsers(
        records=np.empty(0, np.uint8),
        num_users=first.num_users + second.num_users,
        num_ratings=_add(first.num_ratings, second.num_ratings),
        num_cold_ratings=_add(first.num_cold_ratings, second.num_cold_ratings),
        dropped=_add(first.dropped, second.dropped),
        held_out_users=first.held_out_users + second.held_out_users,
        held_out_items=first.held_out_items | second.held_out_items,
    )


def serialize_users(
    assigned: AssignedRatings, indices: npt.NDArray[np.int32], num_items: int
) -> SerializedUsers:
    """Serializes the users of a bucket.

    Leaves out training ratings of items that are not in the vocabulary, and
    held-out ratings of users without training ratings.

    Args:
        assigned: all ratings of some users.
        indices: for each item of `assigned.items` its index in the
            vocabulary, -1 for none.
        num_items: the size of the vocabulary.
    """
    index = indices[assigned.items]
    is_known = index >= 0
    is_train = assigned.subsets == TRAIN
    num_train = np.bincount(
        assigned.users[is_train & is_known], minlength=len(assigned.user_ids)
    )
    has_training = num_train > 0
    is_of_user = has_training[assigned.users]
    reasons = {
        ITEM_BELOW_MINIMUM: is_train & ~is_known,
        UNKNOWN_USER: ~is_train & ~is_of_user,
    }
    kept = np.flatnonzero(is_known & is_of_user)
    user_positions = (np.cumsum(has_training) - 1)[assigned.users]
    users = user_positions[kept]
    # One list of ratings per user and subset.
    lists = users * len(SUBSETS) + assigned.subsets[kept]
    order = np.argsort(lists * num_items + index[kept])
    counts = np.bincount(lists, minlength=has_training.sum() * len(SUBSETS))
    counts = counts.reshape(-1, len(SUBSETS))
    cold = np.flatnonzero(~is_train & ~is_known & is_of_user)
    cold_lists = user_positions[cold] * len(COLD_RATINGS)
    cold_lists += assigned.subsets[cold] - 1
    # Cold items have no index; their ratings go by value.
    cold = cold[np.lexsort((assigned.values[cold], cold_lists))]
    cold_counts = np.bincount(
        cold_lists, minlength=has_training.sum() * len(COLD_RATINGS)
    ).reshape(-1, len(COLD_RATINGS))
    held_out_items = np.zeros(num_items, np.bool_)
    held_out_items[index[kept][assigned.subsets[kept] != TRAIN]] = True
    return SerializedUsers(
        records=serialize_records(
            assigned.user_ids.filter(has_training),
            counts,
            index[kept][order].astype(np.int64),
            assigned.values[kept][order],
            cold_counts,
            assigned.values[cold],
        ),
        num_users=int(has_training.sum()),
        num_ratings=dict(
            zip(SUBSETS, counts.sum(axis=0).tolist(), strict=True)
        ),
        num_cold_ratings=dict(
            zip(COLD_RATINGS, cold_counts.sum(axis=0).tolist(), strict=True)
        ),
        dropped={
            reason: int(is_dropped.sum())
            for reason, is_dropped in reasons.items()
            if is_dropped.any()
        },
        held_out_users=int((counts[:, 1:].sum(axis=1) > 0).sum()),
        held_out_items=held_out_items,
    )


def write_shards(
    serialized: Iterator[SerializedUsers],
    buckets: Buckets,
    output_dir: str,
    *,
    num_ratings: int,
) -> tuple[SerializedUsers, dict[str, str]]:
    """Writes serialized users to the shards.

    Args:
        serialized: the users of each bucket, in order.
        buckets: the division of the users.
        output_dir: the directory of the prepared data.
        num_ratings: approximate number of ratings, for the progress.

    Returns:
        The counts of all buckets together, and the SHA-256 of each shard, by
        its path in the directory.
    """
    digests = {}
    total: SerializedUsers | None = None
    progress = Progress("Wrote", "ratings", num_ratings)
    for shard in range(buckets.num_shards):
        name = shard_name(shard, buckets.num_shards)
        digest = hashlib.sha256()
        path = tf.io.gfile.join(output_dir, name)
        with tf.io.gfile.GFile(path, "wb") as file:
            for _ in range(buckets.buckets_per_shard):
                bucket = next(serialized)
                file.write(bucket.records.tobytes())
                digest.update(bucket.records.data)
                total = bucket if total is None else add_counts(total, bucket)
                progress.add(sum(bucket.num_ratings.values()))
        digests[name] = digest.hexdigest()
    progress.finish()
    if total is None:
        raise ValueError("there are no shards")
    return total.without_records(), digests


def _add(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    return {
        name: first.get(name, 0) + second.get(name, 0)
        for name in {**first, **second}
    }
