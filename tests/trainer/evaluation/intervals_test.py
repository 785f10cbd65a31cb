import numpy as np
import pytest

from tests.trainer.evaluation.outcomes import (
    LIKED_FROM,
    NUM_ITEMS,
    random_outcomes,
    split_batches,
)
from trainer.evaluation.intervals import PairedBootstrap, find_intervals
from trainer.evaluation.ranking import Rankings
from trainer.evaluation.rating_errors import Errors


@pytest.fixture(scope="module")
def outcomes():
    return random_outcomes(num_users=200)


@pytest.fixture(scope="module")
def intervals(outcomes):
    bootstrap = PairedBootstrap(NUM_ITEMS, LIKED_FROM)
    for batch in split_batches(outcomes, 90):
        bootstrap.update(batch)
    return bootstrap.result("good")


def resample(outcomes, statistic):
    """Draws users with replacement; returns the percentiles."""
    rng = np.random.default_rng(1)
    num_users = len(outcomes.history_lengths)
    places = [
        np.flatnonzero(outcomes.users == user) for user in range(num_users)
    ]
    draws = [
        statistic(
            np.concatenate(
                [places[user] for user in rng.integers(0, num_users, num_users)]
            )
        )
        for _ in range(1000)
    ]
    return np.percentile(draws, [2.5, 97.5])


def test_intervals_are_those_of_users_drawn_with_replacement(
    outcomes, intervals
):
    squares = (outcomes.predictions["bad"] - outcomes.ratings) ** 2
    low, high = resample(outcomes, lambda rows: np.sqrt(squares[rows].mean()))
    # The ends of 1,000 draws are known to about a tenth of the width.
    row = intervals["rmse"]["bad"]
    assert row["low"] == pytest.approx(low, abs=0.15 * (high - low))
    assert row["high"] == pytest.approx(high, abs=0.15 * (high - low))


def test_differences_are_paired_by_user(outcomes, intervals):
    errors = Errors((1.0, 5.0))
    errors.update(outcomes)
    figures = errors.result()
    row = intervals["rmse"]["bad"]
    assert row["difference"] == pytest.approx(
        figures["good"]["rmse"] - figures["bad"]["rmse"]
    )
    squares = {
        name: (predictions - outcomes.ratings) ** 2
        for name, predictions in outcomes.predictions.items()
    }
    low, high = resample(
        outcomes,
        lambda rows: (
            np.sqrt(squares["good"][rows].mean())
            - np.sqrt(squares["bad"][rows].mean())
        ),
    )
    width = high - low
    assert row["difference_low"] == pytest.approx(low, abs=0.15 * width)
    assert row["difference_high"] == pytest.approx(high, abs=0.15 * width)


def test_the_difference_of_a_model_to_its_twin_is_0(outcomes):
    predictions = {"good": outcomes.predictions["good"]}
    twins = outcomes._replace(
        predictions={**predictions, "twin": predictions["good"]}
    )
    bootstrap = PairedBootstrap(NUM_ITEMS, LIKED_FROM)
    bootstrap.update(twins)
    row = bootstrap.result("good")["rmse"]["twin"]
    assert row["difference_low"] == row["difference_high"] == 0
    assert row["low"] < row["high"]


def test_ndcg_counts_users_who_liked_something(outcomes, intervals):
    rankings = Rankings(np.ones(NUM_ITEMS, np.int64), LIKED_FROM)
    rankings.update(outcomes)
    ndcg = {
        name: row["liked/ndcg@10"] for name, row in rankings.result().items()
    }
    row = intervals["liked/ndcg@10"]["bad"]
    assert row["difference"] == pytest.approx(ndcg["good"] - ndcg["bad"])
    assert row["low"] < ndcg["bad"] < row["high"]


def test_models_measured_in_passes_of_their_own_meet_the_same_draws(
    outcomes, intervals
):
    resampled = {}
    for name in ("good", "bad"):
        bootstrap = PairedBootstrap(NUM_ITEMS, LIKED_FROM)
        for batch in split_batches(outcomes, 90):
            bootstrap.update(
                batch._replace(
                    predictions={name: batch.predictions[name]},
                    ranked={name: batch.ranked[name]},
                )
            )
        resampled |= bootstrap.resampled()["rmse"]
    assert find_intervals(resampled, "good") == intervals["rmse"]
