"""Chooses the length that clients should pad histories to."""

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from absl import logging

from data_prep.dataset.records import list_shards, parse_users
from trainer.job.record import TrainedJob

# Lengths are rounded up to a multiple of this.
_LENGTH_STEP = 16

# Ratio of the 99th percentile to the mean, for when the data is not at hand.
# In MovieLens-1M it is 5.5.
_PERCENTILE_TO_MEAN = 6

_BATCH_SIZE = 1024


def typical_history_length(job: TrainedJob, data_dir: str | None) -> int:
    """Returns the 99th percentile of the lengths of the training histories.

    It is rounded up. Nearly every request padded to it then has the same
    shape, and the few longest histories do not lengthen all the others.

    Args:
        job: the trained job.
        data_dir: the data that it was trained on. If `None`, the percentile is
            estimated from the mean.

    Returns:
        A number of items.
    """
    if data_dir is None:
        length = (
            _PERCENTILE_TO_MEAN * job.data.num_ratings["train"]
        ) / job.data.num_users
    else:
        length = np.percentile(_history_lengths(data_dir, job), 99)
    length = int(np.ceil(length / _LENGTH_STEP)) * _LENGTH_STEP
    logging.info(
        "Clients should pad histories to %d items (%s).",
        length,
        "estimated, as the data is not at hand"
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
