from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.trainer.teachers.synthetic_ratings import generate, make_ratings
from trainer.teachers import blocks, gibbs_kernels
from trainer.teachers.gibbs_sampler import GibbsSampler


def predict_all(sampler):
    """Latent ratings of all users and items."""
    users, items = sampler.users.factors, sampler.items.factors
    return users[0][:, np.newaxis] + items[0] + users[1:].T @ items[1:]


def run(ratings, num_sweeps=60, num_burn_in=20, seed=0):
    """Returns the sampler and the mean prediction after burn-in."""
    sampler = GibbsSampler(ratings, rank=3, damping=10.0, seed=seed)
    total = 0
    for sweep in range(num_sweeps):
        sampler.sweep()
        if sweep >= num_burn_in:
            total += predict_all(sampler)
    return sampler, total / (num_sweeps - num_burn_in)


def test_sampling_recovers_what_generated_the_ratings():
    ratings, truth = generate(noise=0.5)
    sampler, predictions = run(ratings)
    likelihood = sampler.likelihood
    errors = likelihood.mean + likelihood.scale * predictions - truth
    # The truth's own standard deviation is 1.5, the noise's .5.
    assert np.sqrt(np.mean(errors**2)) < 0.25
    noise = likelihood.scale / np.sqrt(likelihood.noise_precision)
    np.testing.assert_allclose(noise, 0.5, rtol=0.05)


def test_sampling_recovers_latent_ratings_and_thresholds_of_classes():
    levels = [-1.5, -0.5, 0.4, 1.3]
    ratings, truth = generate(800, noise=1.0, levels=levels)
    sampler, predictions = run(ratings)
    # Only differences of latent ratings and thresholds mean something.
    shift = predictions.mean() - truth.mean()
    np.testing.assert_allclose(
        sampler.likelihood.thresholds - shift, levels, atol=0.2
    )
    errors = predictions - shift - truth
    assert np.sqrt(np.mean(errors**2)) < 0.5


def test_draws_have_the_mean_and_covariance_of_the_ridge_regression():
    """Own and implicit factors of three users, the items' factors given.

    All are jointly Gaussian, so that the mean of their posterior is the
    solution of one system of linear equations, and its inverse their
    covariance.
    """
    rng = np.random.default_rng(0)
    ratings = make_ratings(
        [0, 0, 0, 1, 1, 2], [0, 1, 3, 1, 2, 3], rng.normal(size=6), 3, 4
    )
    users = np.repeat(np.arange(3), np.diff(ratings.starts))
    item_factors = rng.normal(size=4).astype(np.float32)
    weights = (1 / np.sqrt(np.diff(ratings.starts))).astype(np.float32)
    noise_precision, own_prior, implicit_prior = 2.0, (0.3, 1.5), (-0.2, 4.0)

    # Columns of the design: three own factors, four implicit ones.
    rated = np.zeros((3, 4))
    rated[users, ratings.items] = 1
    composite = np.hstack([np.eye(3), weights[:, np.newaxis] * rated])
    design = composite[users] * item_factors[ratings.items, np.newaxis]
    prior_mean = np.repeat([own_prior[0], implicit_prior[0]], [3, 4])
    prior_precision = np.repeat([own_prior[1], implicit_prior[1]], [3, 4])
    precision = noise_precision * design.T @ design + np.diag(prior_precision)
    covariance = np.linalg.inv(precision)
    mean = covariance @ (
        noise_precision * design.T @ ratings.values
        + prior_precision * prior_mean
    )

    own, implicit = np.zeros(3, np.float32), np.zeros(4, np.float32)
    residuals = ratings.values.copy()
    starts, rows = gibbs_kernels.group_by_item(ratings.starts, ratings.items, 4)
    sums, changes = np.empty((3, 2)), np.zeros(3, np.float32)
    draws = np.empty((20_000, 7))
    for draw in draws:
        # Takes the last changes off the residuals, in a loop of the items.
        gibbs_kernels.sum_by_item(
            0,
            3,
            ratings.starts,
            ratings.items,
            residuals,
            item_factors,
            changes,
            np.zeros(3, np.float32),
            np.empty((4, 2)),
        )
        gibbs_kernels.sum_by_user(
            0,
            3,
            ratings.starts,
            ratings.items,
            residuals,
            np.zeros(3, np.float32),
            np.zeros(4, np.float32),
            item_factors,
            sums,
        )
        changes = gibbs_kernels.draw_own(
            sums,
            noise_precision,
            *own_prior,
            rng.standard_normal(3, np.float32),
            own,
        )
        changes += gibbs_kernels.draw_implicit(
            sums,
            noise_precision,
            *implicit_prior,
            rng.standard_normal(4, np.float32),
            weights,
            starts,
            rows,
            implicit,
        )
        draw[:3], draw[3:] = own, implicit
    # Several standard errors of 20,000 correlated draws.
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.03)


def test_composite_factors_are_own_and_weighted_implicit_ones():
    ratings, _ = generate(40, 15, lengths=(3, 9))
    sampler = GibbsSampler(ratings, rank=2, damping=5.0, seed=1)
    for _ in range(3):
        sampler.sweep()
    rated = np.zeros((40, 15))
    users = np.repeat(np.arange(40), np.diff(ratings.starts))
    rated[users, ratings.items] = 1
    user_weights = 1 / np.sqrt(rated.sum(axis=1) + 5)
    item_weights = 1 / np.sqrt(rated.sum(axis=0))
    for side, features, weights in (
        (sampler.users, rated, user_weights),
        (sampler.items, rated.T, item_weights),
    ):
        np.testing.assert_allclose(
            side.factors,
            side.own + side.implicit @ features.T * weights,
            atol=1e-5,
        )


def test_the_prediction_of_a_rating_is_biases_and_product_of_factors():
    ratings, _ = generate(40, 15, lengths=(3, 9))
    sampler = GibbsSampler(ratings, rank=2, damping=5.0, seed=1)
    sampler.sweep()
    users = np.repeat(np.arange(40), np.diff(ratings.starts))
    predictions = np.empty(len(users), np.float32)
    gibbs_kernels.predict(
        0,
        40,
        ratings.starts,
        ratings.items,
        np.ascontiguousarray(sampler.users.factors.T),
        np.ascontiguousarray(sampler.items.factors.T),
        predictions,
    )
    np.testing.assert_allclose(
        predictions, predict_all(sampler)[users, ratings.items], atol=1e-5
    )


@pytest.mark.parametrize("levels", [None, [-1, 0, 1]])
def test_the_seed_decides_and_the_number_of_threads_does_not(
    monkeypatch, levels
):
    ratings, _ = generate(60, 20, lengths=(5, 10), levels=levels)
    _, first = run(ratings, 5, 2, seed=3)
    monkeypatch.setattr(blocks, "_THREADS", ThreadPoolExecutor(1))
    _, second = run(ratings, 5, 2, seed=3)
    _, other = run(ratings, 5, 2, seed=4)
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 0.01
