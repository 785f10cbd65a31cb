"""Reads the users of prepared data as a model takes them, in batches."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from data_prep.dataset.records import parse_user_ids, parse_users
from data_prep.dataset.schema import SUBSETS
from serving import protocol

# Users that are read, and sorted by the length of their histories, together.
_USERS_PER_CHUNK = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Histories:
    """All ratings of some users.

    Held-out ratings are part of it: what is known of a user is known when
    they are served.

    Args:
        user_ids: the raw ids, `bytes`.
        starts: `(num_users,)`, where the ratings of each user begin.
        lengths: `(num_users,)`, the number of ratings of each user.
        items: `(num_ratings + 1,)`, the positions in `names` of the rated
            items. The last entry is the padding.
        ratings: `(num_ratings + 1,)`, float32, the ratings, padding last.
        names: the raw ids of items, a tensor of strings, and `""`.
    """

    user_ids: list[bytes]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    ratings: npt.NDArray[np.float32]
    names: tf.Tensor

    def pad(self, users: npt.NDArray[np.int64]) -> dict[str, tf.Tensor]:
        """Makes the inputs of a signature for some of the users.

        Args:
            users: their positions.
        """
        lengths = self.lengths[users, np.newaxis]
        columns = np.arange(lengths.max(initial=0))
        places = np.where(
            columns < lengths, self.starts[users, np.newaxis] + columns, -1
        )
        return {
            protocol.ITEM_IDS: tf.gather(self.names, self.items[places]),
            protocol.RATINGS: tf.constant(self.ratings[places]),
        }

    def select(self, users: npt.NDArray[np.int64]) -> "Histories":
        """Returns some of the users.

        Args:
            users: their positions.
        """
        return dataclasses.replace(
            self,
            user_ids=[self.user_ids[user] for user in users],
            starts=self.starts[users],
            lengths=self.lengths[users],
        )


def without_ratings(user_ids: list[bytes]) -> Histories:
    """Makes the histories of users of whom nothing is known."""
    zeros = np.zeros(len(user_ids), np.int64)
    return Histories(
        *(user_ids, zeros, zeros),
        items=np.zeros(1, np.int64),
        ratings=np.zeros(1, np.float32),
        names=tf.constant([""]),
    )


def read_histories(shard: str, item_ids: list[str]) -> Iterator[Histories]:
    """Reads the users of a record file, some thousands at a time.

    Args:
        shard: the record file.
        item_ids: the raw id of each item index of the data.
    """
    names = tf.constant([*item_ids, ""])
    for users in tf.data.TFRecordDataset(shard).batch(_USERS_PER_CHUNK):
        subsets = parse_users(users, len(item_ids), list(SUBSETS)).values()
        rows, items = np.concatenate(
            [ratings.indices.numpy() for ratings in subsets]
        ).T
        values = np.concatenate([ratings.values.numpy() for ratings in subsets])
        order = np.argsort(rows, kind="stable")
        lengths = np.bincount(rows, minlength=len(users))
        yield Histories(
            parse_user_ids(users).numpy().tolist(),
            np.cumsum(lengths) - lengths,
            lengths,
            np.append(items[order], len(item_ids)),
            np.append(values[order], np.float32(0)),
            names,
        )


def make_batches(
    lengths: npt.NDArray[np.int64], batch_size: int, max_cells: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Divides users into batches of about the same length.

    A batch is padded to its longest history, so one user of ten thousand
    ratings would cost as much as ten thousand ratings of each other user.

    Args:
        lengths: the number of inputs of each user.
        batch_size: the most users per batch.
        max_cells: the most inputs of a padded batch, unless one user alone
            has more.

    Yields:
        The positions of the users of a batch.
    """
    longest_first = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(longest_first):
        longest = max(int(lengths[longest_first[start]]), 1)
        size = max(1, min(batch_size, max_cells // longest))
        yield longest_first[start : start + size]
        start += size
