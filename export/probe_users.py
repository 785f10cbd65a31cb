"""Users to try an exported model on, and how long their histories are."""

import dataclasses

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.manifest import is_prepared, read_manifest
from data_prep.dataset.records import list_shards, parse_users
from trainer.job_paths import JobPaths
from trainer.job_record import TrainedJob

#: Users in a sample.
NUM_USERS = 16

# History lengths are published in multiples of this.
_LENGTH_STEP = 16

# Without the data only the mean length is known. In MovieLens-1M the 99th
# percentile is 5.5 times that.
_PERCENTILE_TO_MEAN = 6

_BATCH_SIZE = 1024


@dataclasses.dataclass(frozen=True)
class User:
    """A user's ratings.

    Attributes:
        items: item indices, ascending, each once.
        ratings: float32, as many.
    """

    items: npt.NDArray[np.int64]
    ratings: npt.NDArray[np.float32]


def find_data(
    paths: JobPaths, job: TrainedJob, data_dir: str | None
) -> str | None:
    """Finds the prepared data that a job was trained on.

    Args:
        paths: the places of the job.
        job: what was trained.
        data_dir: where the data is; `None` looks where the job prepares its
            own.

    Returns:
        The directory of the data, or `None`.

    Raises:
        UserError: `data_dir` holds other data.
    """
    fingerprint = job.data.fingerprint
    if data_dir is not None:
        if read_manifest(data_dir).fingerprint != fingerprint:
            raise UserError(
                f"{data_dir} does not hold the data that the job in"
                f" {paths.job_dir} was trained on."
            )
        return data_dir
    if (
        is_prepared(paths.data_dir)
        and read_manifest(paths.data_dir).fingerprint == fingerprint
    ):
        return paths.data_dir
    return None


def read_users(data_dir: str, num_items: int) -> list[User]:
    """Reads the training ratings of the first users of the data."""
    records = tf.data.TFRecordDataset(list_shards(data_dir)).batch(NUM_USERS)
    ratings = parse_users(next(iter(records)), num_items, ["train"])["train"]
    rows, items = ratings.indices.numpy().T
    values = ratings.values.numpy()
    return [
        User(items[rows == row], values[rows == row])
        for row in range(ratings.shape[0])
    ]


def make_users(job: TrainedJob, num_users: int = NUM_USERS) -> list[User]:
    """Makes users up that rate like those of the data.

    They take to items as these are popular and rate around the items' means;
    their histories are as long as is usual in the data, some far longer. Equal
    jobs have equal users.
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


def typical_history_length(job: TrainedJob, data_dir: str | None) -> int:
    """Chooses the length that clients should pad histories to.

    It is the 99th percentile of the lengths of the training histories, rounded
    up: nearly every request then has the same shape, and the few longest
    histories do not make all the others longer.

    Args:
        job: what was trained.
        data_dir: the data that it was trained on. Without it, the percentile
            is estimated by the mean.
    """
    if data_dir is None:
        length = (
            _PERCENTILE_TO_MEAN * job.data.num_ratings["train"]
        ) / job.data.num_users
    else:
        length = np.percentile(_history_lengths(data_dir, job), 99)
    length = int(np.ceil(length / _LENGTH_STEP)) * _LENGTH_STEP
    logging.info(
        "Clients are to pad histories to %d items (%s).",
        length,
        "estimated: the data is not at hand"
        if data_dir is None
        else "the 99th percentile of the training histories",
    )
    return length


def _history_lengths(data_dir: str, job: TrainedJob) -> npt.NDArray[np.int64]:
    records = tf.data.TFRecordDataset(list_shards(data_dir)).batch(_BATCH_SIZE)
    lengths = []
    for batch in records:
        ratings = parse_users(batch, job.data.num_items, ["train"])["train"]
        lengths.append(
            np.bincount(
                ratings.indices.numpy()[:, 0], minlength=ratings.shape[0]
            )
        )
    return np.concatenate(lengths)
