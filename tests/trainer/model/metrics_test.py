import numpy as np
import pytest
import tensorflow as tf

from trainer.model.metrics import (
    RatingMeanAbsoluteError,
    RatingRootMeanSquaredError,
)


def batches_of_unequal_size():
    """Two batches of ratings and predictions, and all errors in one array."""
    rng = np.random.default_rng(1)
    batches, errors = [], []
    for num_users, density in ((5, 0.9), (3, 0.1)):
        rated = rng.random((num_users, 6)) < density
        ratings = rng.integers(0, 6, rated.shape).astype(np.float32)
        predictions = rng.normal(3, 1, rated.shape).astype(np.float32)
        batches.append(
            (
                tf.SparseTensor(
                    np.argwhere(rated), ratings[rated], rated.shape
                ),
                predictions,
            )
        )
        errors.append((predictions - ratings)[rated])
    return batches, np.concatenate(errors)


@pytest.mark.parametrize(
    ("metric_class", "oracle"),
    [
        (RatingRootMeanSquaredError, lambda e: np.sqrt(np.mean(e**2))),
        (RatingMeanAbsoluteError, lambda e: np.mean(np.abs(e))),
    ],
)
def test_the_sum_over_all_batches_is_divided_once(metric_class, oracle):
    batches, errors = batches_of_unequal_size()
    metric = metric_class(dtype="float64")
    for ratings, predictions in batches:
        metric.update_state(ratings, predictions)
    assert float(metric.result()) == pytest.approx(oracle(errors), rel=1e-6)
    assert int(metric.count) == len(errors)


@pytest.mark.parametrize(
    "metric_class", [RatingRootMeanSquaredError, RatingMeanAbsoluteError]
)
def test_a_batch_without_ratings_adds_nothing(metric_class):
    metric = metric_class()
    empty = tf.SparseTensor(
        np.zeros((0, 2), np.int64), np.zeros(0, np.float32), [2, 3]
    )
    metric.update_state(empty, tf.ones((2, 3)))
    assert float(metric.result()) == 0.0
