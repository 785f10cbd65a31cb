import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.model.taught_autoencoder_test import to_sparse
from trainer.evaluation.baselines import Biases
from trainer.job.history import History, measure_fixed_point_gap, read_history
from trainer.job.paths import JobPaths
from trainer.model.rating_model import RatingModel


@pytest.fixture
def paths(tmp_path):
    return JobPaths.resolve(str(tmp_path), environ={})


def test_a_resumed_job_has_the_figures_of_all_epochs(paths):
    History(paths, 0).record(1, {"loss": 3.0})
    History(paths, 1).record(2, {"loss": 2.0})
    assert read_history(paths) == [
        {"epoch": 1, "loss": 3.0},
        {"epoch": 2, "loss": 2.0},
    ]


def test_an_epoch_that_is_repeated_replaces_its_figures(paths):
    history = History(paths, 0)
    history.record(1, {"loss": 3.0})
    history.record(2, {"loss": 9.0})
    # Killed before the state after epoch 2 was saved.
    History(paths, 1).record(2, {"loss": 2.0})
    assert [row["loss"] for row in read_history(paths)] == [3, 2]


def test_a_job_without_history_has_none(paths):
    assert read_history(paths) == []


class HalfOfTheMean(RatingModel):
    """Predicts half of the mean of a user's ratings for every item."""

    def call(self, ratings, items=None, training=False):
        dense = tf.sparse.to_dense(ratings)
        counts = tf.math.bincount(
            tf.cast(ratings.indices[:, 0], tf.int32),
            minlength=dense.shape[0],
            dtype=tf.float32,
        )
        means = tf.reduce_sum(dense, axis=1) / counts
        return tf.tile(means[:, tf.newaxis] / 2, [1, dense.shape[1]])


def batches_of(ratings, rated):
    inputs = to_sparse(ratings, rated)
    return tf.data.Dataset.from_tensors((inputs, inputs))


def test_the_gap_is_the_mean_distance_of_f_of_f_to_f():
    ratings = np.full((2, 5), 4.0, np.float32)
    ratings[1] = 8.0
    batches = batches_of(ratings, np.arange(5) < np.array([[2], [3]]))
    # f(x) is 2 and 4, f(f(x)) 1 and 2.
    assert measure_fixed_point_gap(HalfOfTheMean(), batches) == 1.5


def test_a_model_that_ignores_its_input_has_no_gap():
    model = Biases(np.array([3, 2, 1]), np.array([1.0, 2.0, 3.0]), "mean")
    batches = batches_of(np.ones((2, 3), np.float32), np.ones((2, 3), bool))
    assert measure_fixed_point_gap(model, batches) == 0
