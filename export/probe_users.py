"""Users to test an exported model on: real ones or generated ones."""

import dataclasses

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from data_prep.dataset.records import list_shards, parse_users
from trainer.job.record import TrainedJob

#: Number of users that an export is tested on.
NUM_USERS = 16


@dataclasses.dataclass(frozen=True)
class User:
    """A user's ratings.

    Attributes:
        items: `(num_ratings,)`, int64, item indices, ascending, each once.
        ratings: `(num_ratings,)`, float32, the ratings of these items.
    """

    items: npt.NDArray[np.int64]
    ratings: npt.NDArray[np.float32]


def read_users(data_dir: str, num_items: int) -> list[User]:
    """Reads the training ratings of the first users of prepared data.

    Args:
        data_dir: prepared data.
        num_items: number of its items.

    Returns:
        The first `NUM_USERS` users, or all if there are fewer.

    Raises:
        UserError: `data_dir` is not prepared data.
    """
    records = tf.data.TFRecordDataset(list_shards(data_dir)).batch(NUM_USERS)
    ratings = parse_users(next(iter(records)), num_items, ["train"])["train"]
    rows, items = ratings.indices.numpy().T
    values = ratings.values.numpy()
    return [
        User(items[rows == row], values[rows == row])
        for row in range(ratings.shape[0])
    ]


def make_users(job: TrainedJob, num_users: int = NUM_USERS) -> list[User]:
    """Generates users who rate like those of the data.

    They choose items by popularity and rate around the items' means. The
    lengths of their histories have the mean of the data's, and some are far
    longer. The same job always gets the same users.

    Args:
        job: the trained job, which holds the statistics of its data.
        num_users: number of users.

    Returns:
        The users.
    """
    rng = np.random.default_rng(2017)
    data, counts = job.data, job.items.counts
    mean_length = data.num_ratings["train"] / data.num_users
    users = []
    for length in rng.geometric(1 / mean_length, num_users):
        items = np.sort(
            rng.choice(
                data.num_items,
                min(int(length), data.num_items),
                replace=False,
                p=counts / counts.sum(),
            )
        )
        spread = (data.rating_max - data.rating_min) / 5
        ratings = rng.normal(job.items.means[items], spread)
        ratings = np.clip(ratings, data.rating_min, data.rating_max)
        users.append(User(items, ratings.astype(np.float32)))
    return users
