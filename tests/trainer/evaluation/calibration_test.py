import numpy as np
import pytest

from tests.trainer.evaluation.outcomes import random_outcomes, split_batches
from trainer.evaluation.calibration import Calibration

STARS = np.arange(1, 6, dtype=np.float32)


@pytest.fixture(scope="module")
def outcomes():
    return random_outcomes()


def measure(outcomes, values=STARS):
    calibration = Calibration("bad", values)
    for batch in split_batches(outcomes, 11):
        calibration.update(batch)
    return calibration.result()


def test_each_star_has_the_mean_of_its_predictions(outcomes):
    rows = measure(outcomes)["by_rating"]
    assert [row["rating"] for row in rows] == [1, 2, 3, 4, 5]
    for row in rows:
        is_in = outcomes.ratings == row["rating"]
        predictions = outcomes.predictions["bad"][is_in]
        assert row["num_ratings"] == is_in.sum()
        assert row["mean_prediction"] == pytest.approx(
            predictions.mean(), rel=1e-6
        )


def test_each_bin_of_predictions_has_the_mean_of_what_was_given(outcomes):
    rows = measure(outcomes)["by_prediction"]
    clipped = np.clip(outcomes.predictions["bad"], 1, 4.9999)
    bins = ((clipped - 1) / 4 * 20).astype(int)
    assert len(rows) == len(np.unique(bins))
    for row, place in zip(rows, np.unique(bins), strict=True):
        assert row["mean_rating"] == pytest.approx(
            outcomes.ratings[bins == place].mean(), rel=1e-6
        )


def test_every_rating_is_counted_once(outcomes):
    result = measure(outcomes)
    counts = np.array(result["counts"])
    assert counts.shape == (20, 5)
    np.testing.assert_array_equal(
        counts.sum(axis=0), [np.sum(outcomes.ratings == s) for s in STARS]
    )


def test_a_fine_scale_is_grouped_by_twenty_ratings(outcomes):
    values = np.linspace(0, 10, 1001, dtype=np.float32)
    result = measure(outcomes, values)
    assert len(result["ratings"]) == 20
    for row in result["by_rating"]:
        assert abs(row["mean_rating"] - row["rating"]) <= 10 / 19 / 2
