from dataclasses import fields

import numpy as np
import pytest
import tensorflow as tf

from tests.synthetic import reverse_test_ratings
from trainer.input.job_data import JobData
from trainer.job.fitted_uncertainty import fit_log_variance, fit_uncertainty
from trainer.job.record import load_job


def test_errors_of_variance_1_have_the_scale_1():
    rng = np.random.default_rng(0)
    features = np.stack([np.ones(100_000), rng.normal(size=100_000)], axis=1)
    coefficients = fit_log_variance(features, rng.normal(size=100_000) ** 2)
    # The standard error is sqrt(2 / 100,000), 0.0045.
    np.testing.assert_allclose(coefficients, 0, atol=0.02)


def test_the_variance_that_errors_were_drawn_with_is_found():
    rng = np.random.default_rng(1)
    features = np.stack(
        [np.ones(100_000), *rng.normal(size=(2, 100_000))], axis=1
    )
    true = [-0.3, 0.8, -0.5]
    errors = rng.normal(size=100_000) * np.exp(features @ true / 2)
    coefficients = fit_log_variance(features, errors**2)
    np.testing.assert_allclose(coefficients, true, atol=0.02)
    # What is calibrated on average is so exactly.
    ratios = errors**2 * np.exp(-features @ coefficients)
    assert ratios.mean() == pytest.approx(1, abs=1e-5)


def test_features_that_say_the_same_share_what_they_say():
    rng = np.random.default_rng(2)
    ones = np.ones((1000, 3))
    squares = rng.normal(size=1000) ** 2
    coefficients = fit_log_variance(ones, squares)
    assert coefficients.sum() == pytest.approx(np.log(squares.mean()))


@pytest.fixture(scope="module")
def job(trained_job):
    return load_job(trained_job)


def test_the_mean_square_of_validation_errors_is_that_of_the_deviations(
    job, synthetic_data
):
    """Over histories of 0, 5 and all ratings, and up to the least error."""
    data = JobData.read(synthetic_data, 40)
    uncertainty = fit_uncertainty(job.model, data)
    # The whole histories alone are close to it.
    ratios = []
    for ratings, held_out in data.held_out("validation"):
        predictions = job.model(ratings)
        deviations = uncertainty(ratings, predictions)
        errors = tf.gather_nd(predictions, held_out.indices) - held_out.values
        ratios.append(errors / tf.gather_nd(deviations, held_out.indices))
    assert np.mean(np.concatenate(ratios) ** 2) == pytest.approx(1, abs=0.25)


def test_test_ratings_do_not_change_the_uncertainty(
    job, synthetic_data, tmp_path
):
    other_data = reverse_test_ratings(synthetic_data, tmp_path / "data")
    one, other = (
        fit_uncertainty(job.model, JobData.read(data_dir, 40))
        for data_dir in (synthetic_data, other_data)
    )
    for variable, expected in zip(other.variables, one.variables, strict=True):
        np.testing.assert_array_equal(variable, expected)


class OtherHeldOut(JobData):
    """Prepared data whose held-out ratings are others."""

    @classmethod
    def of(cls, data_dir, change):
        data = JobData.read(data_dir, 40)
        other = cls(**{f.name: getattr(data, f.name) for f in fields(data)})
        cls.change = staticmethod(change)
        return other

    def held_out(self, group):
        return self.change(super().held_out(group))


def test_without_validation_ratings_there_is_no_uncertainty(
    job, synthetic_data
):
    data = OtherHeldOut.of(synthetic_data, lambda batches: batches.take(0))
    assert fit_uncertainty(job.model, data) is None


def test_a_model_that_was_never_wrong_is_not_certain(synthetic_data):
    def rate_everything_0(ratings, held_out):
        return ratings, held_out.with_values(tf.zeros_like(held_out.values))

    def predict_0(ratings, items, training):
        return tf.zeros([ratings.dense_shape[0], tf.size(items)])

    data = OtherHeldOut.of(
        synthetic_data, lambda batches: batches.map(rate_everything_0)
    )
    uncertainty = fit_uncertainty(predict_0, data)
    ratings, _ = next(iter(data.held_out("validation")))
    deviations = uncertainty(ratings, tf.zeros(ratings.dense_shape))
    # A thousandth of the scale, which is from 0 to 10.
    np.testing.assert_allclose(deviations, 0.01, rtol=1e-3)
