"""The training ratings of prepared data, in memory, by user and by item."""

import dataclasses

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from data_prep.dataset.errors import UserError
from data_prep.dataset.manifest import read_manifest
from data_prep.dataset.records import list_shards, parse_users

#: Users parsed together.
_BATCH_SIZE = 2048


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingRatings:
    """Ratings in compressed rows: those of a user lie together.

    The ratings of user `u` are at `starts[u]:starts[u + 1]`, each of another
    item.

    Args:
        starts: int64 `(num_users + 1,)`.
        items: index of the item of each rating, int32 `(num_ratings,)`.
        values: the ratings, float32 `(num_ratings,)`.
        num_items: size of the catalog.
    """

    starts: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]
    num_items: int

    @property
    def num_users(self) -> int:
        """Number of users."""
        return len(self.starts) - 1


def read_training_ratings(data_dir: str) -> TrainingRatings:
    """Reads the subset `train` of every user, and no other.

    Takes 8 bytes per rating, and 8 per user.

    Raises:
        UserError: when `data_dir` is not prepared data, lost a shard, or holds
            other numbers of users and ratings than its manifest says.
    """
    manifest = read_manifest(data_dir)
    starts = np.zeros(manifest.num_users + 1, np.int64)
    items = np.empty(manifest.num_ratings["train"], np.int32)
    values = np.empty(manifest.num_ratings["train"], np.float32)
    num_users = num_ratings = 0
    batches = tf.data.TFRecordDataset(list_shards(data_dir)).batch(_BATCH_SIZE)
    parsed = batches.map(
        lambda users: parse_users(users, manifest.num_items, ["train"])["train"]
    )
    for ratings in parsed.prefetch(2):
        user_index, item_index = ratings.indices.numpy().T
        batch_size, end = ratings.shape[0], num_ratings + len(item_index)
        if num_users + batch_size > manifest.num_users or end > len(items):
            raise _wrong_counts(data_dir)
        starts[num_users + 1 : num_users + batch_size + 1] = (
            num_ratings
            + np.cumsum(np.bincount(user_index, minlength=batch_size))
        )
        items[num_ratings:end] = item_index
        values[num_ratings:end] = ratings.values
        num_users, num_ratings = num_users + batch_size, end
    if num_users < manifest.num_users or num_ratings < len(items):
        raise _wrong_counts(data_dir)
    return TrainingRatings(starts, items, values, manifest.num_items)


def _wrong_counts(data_dir: str) -> UserError:
    return UserError(
        f"the records of {data_dir} hold other numbers of users and training"
        " ratings than its manifest says: a file was replaced or cut. Prepare"
        " the data again."
    )
