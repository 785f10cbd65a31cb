"""The data that models of a comparison are fitted and tuned on."""

import functools

import tensorflow as tf

from data_prep.dataset.items import Items
from trainer.input.input_pipeline import numbered_evaluation_batches
from trainer.input.job_data import JobData
from trainer.input.rating_distribution import RatingDistribution
from trainer.teachers.training_ratings import (
    TrainingRatings,
    read_training_ratings,
)

#: Users per batch, everywhere: paired intervals need the same batches.
BATCH_SIZE = 128


class FitData:
    """Training and validation ratings of prepared data, and no others.

    Args:
        data_dir: the prepared data.
        work_dir: where a fit keeps what it needs to go on after a stop.
    """

    def __init__(self, data_dir: str, work_dir: str) -> None:
        self.work_dir = work_dir
        self.job_data = JobData.read(data_dir, BATCH_SIZE)

    @property
    def data_dir(self) -> str:
        """The directory of the data."""
        return self.job_data.data_dir

    @property
    def items(self) -> Items:
        """The items, with the statistics of their training ratings."""
        return self.job_data.items

    @property
    def distribution(self) -> RatingDistribution:
        """The training ratings that were given, and how often."""
        return self.job_data.distribution

    @functools.cached_property
    def training(self) -> TrainingRatings:
        """The training ratings, in memory."""
        return read_training_ratings(self.data_dir)

    @functools.cached_property
    def validation(self) -> tf.data.Dataset:
        """Numbered batches of the validation ratings, in memory."""
        return read_batches(self.job_data, "validation").cache()


def read_batches(data: JobData, group: str) -> tf.data.Dataset:
    """Reads the users who have held-out ratings, numbered.

    Args:
        data: the prepared data.
        group: "validation" or "test".
    """
    return numbered_evaluation_batches(
        data.shards, data.num_items, BATCH_SIZE, group
    )
