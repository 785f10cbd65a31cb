import statistics

import numpy as np
import pytest

from trainer.teachers import gibbs_kernels
from trainer.teachers.likelihoods import (
    MAX_CLASSES,
    GaussianLikelihood,
    OrdinalLikelihood,
    choose_likelihood,
)

NORMAL = statistics.NormalDist()


@pytest.mark.parametrize(
    "p", [1e-9, 1e-4, 0.02, 0.03, 0.5, 0.9, 0.99, 1 - 1e-9]
)
def test_the_quantile_is_that_of_the_standard_library(p):
    assert gibbs_kernels.normal_quantile(p) == pytest.approx(
        NORMAL.inv_cdf(p), abs=2e-8
    )


def test_the_quantile_of_certain_things_is_finite():
    assert -8 < gibbs_kernels.normal_quantile(0.0) < -7
    assert 7 < gibbs_kernels.normal_quantile(1.0) < 8


def log_likelihood(classes, thresholds, predictions):
    bounds = [-np.inf, *thresholds, np.inf]
    return sum(
        np.log(NORMAL.cdf(bounds[c + 1] - p) - NORMAL.cdf(bounds[c] - p))
        for c, p in zip(classes, predictions, strict=True)
    )


def test_derivatives_by_the_thresholds_are_those_of_differences():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, 30).astype(np.uint8)
    predictions = rng.normal(size=30).astype(np.float32)
    thresholds = np.array([-1.0, 0.2, 0.9])
    gradient, hessian = gibbs_kernels.differentiate_thresholds(
        classes,
        np.concatenate([[-np.inf], thresholds, [np.inf]]),
        predictions,
        1,
    )
    step = 1e-3 * np.eye(3)

    def value(change):
        return log_likelihood(classes, thresholds + change, predictions)

    for a in range(3):
        difference = (value(step[a]) - value(-step[a])) / 2e-3
        assert gradient[1 + a] == pytest.approx(difference, rel=1e-4)
        for b in range(3):
            difference = (
                value(step[a] + step[b])
                - value(step[a] - step[b])
                - value(step[b] - step[a])
                + value(-step[a] - step[b])
            ) / 4e-6
            assert hessian[1 + a, 1 + b] == pytest.approx(
                -difference, rel=1e-3, abs=1e-3
            )


def test_latent_ratings_lie_in_their_class_and_have_its_mean():
    classes = np.tile(np.arange(3, dtype=np.uint8), 20_000)
    predictions = np.full(len(classes), 0.3, np.float32)
    bounds = np.array([-np.inf, -0.5, 1.0, np.inf])
    residuals = predictions.copy()
    gibbs_kernels.draw_latent_residuals(
        0,
        len(classes),
        classes,
        bounds,
        residuals,
        np.random.default_rng(0).random(len(classes), np.float32),
    )
    latents = predictions + residuals
    assert np.all(latents >= bounds[classes] - 1e-5)
    assert np.all(latents <= bounds[classes + 1] + 1e-5)
    for c in range(3):
        low, high = bounds[c] - 0.3, bounds[c + 1] - 0.3
        mean = 0.3 + (NORMAL.pdf(low) - NORMAL.pdf(high)) / (
            NORMAL.cdf(high) - NORMAL.cdf(low)
        )
        np.testing.assert_allclose(
            latents[classes == c].mean(), mean, atol=0.02
        )


def test_thresholds_settle_where_the_shares_of_the_classes_are():
    shares = [0.1, 0.2, 0.7]
    ratings = np.repeat([1, 2, 3], [1000, 2000, 7000]).astype(np.float32)
    likelihood = OrdinalLikelihood(ratings, np.unique(ratings))
    rng = np.random.default_rng(0)
    for _ in range(20):
        # Predictions of 1 move thresholds that started for predictions of 0.
        likelihood.draw_residuals(np.ones(len(ratings), np.float32), rng)
    np.testing.assert_allclose(
        likelihood.thresholds,
        [1 + NORMAL.inv_cdf(p) for p in np.cumsum(shares)[:-1]],
        atol=0.1,
    )


def test_the_noise_precision_is_that_of_the_residuals():
    rng = np.random.default_rng(0)
    ratings = rng.normal(70, 12, 50_000).astype(np.float32)
    likelihood = GaussianLikelihood(ratings)
    residuals = np.zeros(len(ratings), np.float32)
    likelihood.draw_residuals(residuals, rng)
    # Nothing is explained: the noise is all of the standardized ratings.
    np.testing.assert_allclose(likelihood.noise_precision, 1, atol=0.05)
    np.testing.assert_allclose(residuals.std(), 1, atol=1e-3)


@pytest.mark.parametrize(
    ("num_values", "kind"),
    [
        (1, OrdinalLikelihood),
        (5, OrdinalLikelihood),
        (MAX_CLASSES, OrdinalLikelihood),
        (MAX_CLASSES + 1, GaussianLikelihood),
    ],
)
def test_few_distinct_ratings_make_an_ordinal_scale(num_values, kind):
    ratings = np.tile(np.arange(num_values, dtype=np.float32), 3)
    assert isinstance(choose_likelihood(ratings), kind)
