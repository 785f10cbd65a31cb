import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from data_prep.dataset.errors import UserError
from tests.trainer.teachers.synthetic_ratings import (
    count_and_mean,
    generate,
    to_sparse,
)
from trainer.evaluation.baselines import Biases
from trainer.teachers.bayesian_factorization import FactorizationConfig, fit
from trainer.teachers.gibbs_sampler import GibbsSampler
from trainer.teachers.ridge_encoders import RidgeEncoders

pytestmark = pytest.mark.integration

CONFIG = FactorizationConfig(
    rank=2, num_sweeps=25, num_burn_in=5, num_samples=4, damping=10.0, seed=1
)


def assert_equal(first, second):
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(
            getattr(first, field.name), getattr(second, field.name), field.name
        )


@pytest.mark.parametrize("levels", [None, [-1, 0, 1]])
def test_a_chain_that_is_cut_off_ends_as_one_that_is_not(
    tmp_path, monkeypatch, levels
):
    ratings, _ = generate(60, 20, lengths=(5, 10), levels=levels)
    checkpoint = str(tmp_path / "chain.npz")
    sweep = GibbsSampler.sweep

    def sweep_until_the_power_fails(sampler):
        if sampler.num_sweeps == 17:
            raise KeyboardInterrupt
        sweep(sampler)

    with monkeypatch.context() as context:
        context.setattr(GibbsSampler, "sweep", sweep_until_the_power_fails)
        with pytest.raises(KeyboardInterrupt):
            fit(ratings, CONFIG, checkpoint)
    numbers = []
    monkeypatch.setattr(
        GibbsSampler,
        "sweep",
        lambda sampler: (numbers.append(sampler.num_sweeps), sweep(sampler)),
    )
    resumed = fit(ratings, CONFIG, checkpoint)
    assert numbers[0] == 10
    assert_equal(resumed, fit(ratings, CONFIG))


def test_a_finished_chain_is_read_and_not_sampled_again(tmp_path):
    ratings, _ = generate(60, 20, lengths=(5, 10))
    checkpoint = str(tmp_path / "chain.npz")
    assert_equal(
        fit(ratings, CONFIG, checkpoint), fit(ratings, CONFIG, checkpoint)
    )


@pytest.mark.parametrize("change", ["seed", "ratings"])
def test_a_checkpoint_of_something_else_is_refused(tmp_path, change):
    ratings, _ = generate(60, 20, lengths=(5, 10))
    checkpoint = str(tmp_path / "chain.npz")
    fit(ratings, CONFIG, checkpoint)
    config = CONFIG
    if change == "seed":
        config = dataclasses.replace(CONFIG, seed=2)
    else:
        ratings.values[0] += 1
    with pytest.raises(UserError, match="other ratings or settings"):
        fit(ratings, config, checkpoint)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rank": 0}, "Received: rank=0"),
        ({"num_samples": 0}, "Received: num_samples=0"),
        ({"num_samples": 81}, "at most the 80 sweeps"),
        ({"damping": -1.0}, "Received: damping=-1.0"),
        ({"damping": float("nan")}, "Received: damping=nan"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(arguments, message):
    with pytest.raises(UserError, match=message):
        FactorizationConfig(**arguments)


def test_samples_are_kept_evenly_until_the_last_sweep():
    assert CONFIG.kept_sweeps() == [10, 15, 20, 25]


def answer(ratings, config=CONFIG):
    model = RidgeEncoders.from_posterior(
        fit(ratings, config), *count_and_mean(ratings)
    )
    return tf.function(model)(to_sparse(ratings)).numpy()


@pytest.mark.parametrize("levels", [None, [-1, 0, 1]], ids=["real", "classes"])
@pytest.mark.parametrize(("factor", "offset"), [(0.2, 0), (7e4, 1)])
def test_the_scale_of_the_ratings_does_not_matter(levels, factor, offset):
    ratings, _ = generate(60, 20, lengths=(5, 10), levels=levels)
    scaled = dataclasses.replace(
        ratings, values=ratings.values * np.float32(factor) + np.float32(offset)
    )
    np.testing.assert_allclose(
        (answer(scaled) - offset) / factor,
        answer(ratings),
        # Chains of real numbers part after rounding differently.
        atol=0.02 if levels is None else 1e-4,
    )


@pytest.mark.parametrize("levels", [None, [-1.5, -0.5, 0.5, 1.5]])
def test_users_with_one_to_three_ratings_do_no_worse_than_the_biases(levels):
    ratings, latents = generate(
        1500, 50, lengths=(1, 3), noise=1.0, levels=levels
    )
    truth = latents
    if levels is not None:
        truth = 1 + np.searchsorted(levels, latents)
    statistics = count_and_mean(ratings)
    config = dataclasses.replace(CONFIG, rank=8, damping=100.0)
    history = to_sparse(ratings)
    encoders = RidgeEncoders.from_posterior(fit(ratings, config), *statistics)
    biases = Biases(*statistics, "user_item")
    counts = np.diff(ratings.starts)
    for length in (1, 2, 3):
        of = counts == length
        encoder_error, bias_error = (
            np.mean((tf.function(model)(history) - truth)[of] ** 2)
            for model in (encoders, biases)
        )
        assert encoder_error < bias_error


def test_a_checkpoint_that_cannot_be_written_says_so(tmp_path):
    ratings, _ = generate(60, 20, lengths=(5, 10))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write the checkpoint"):
        fit(ratings, CONFIG, str(tmp_path / "file" / "chain.npz"))
