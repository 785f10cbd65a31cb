import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from tests.trainer.evaluation.outcomes import random_outcomes, split_batches
from trainer.evaluation.rating_errors import Errors, ErrorSums


@pytest.mark.parametrize("name", ["good", "bad"])
def test_errors_over_all_batches_are_those_of_scikit_learn(name):
    outcomes = random_outcomes()
    errors = Errors((1.0, 5.0))
    for batch in split_batches(outcomes, 7):
        errors.update(batch)
    row = errors.result()[name]
    truth, predictions = outcomes.ratings, outcomes.predictions[name]
    clipped = np.clip(predictions, 1, 5)
    assert row["rmse"] == pytest.approx(
        root_mean_squared_error(truth, predictions), rel=1e-6
    )
    assert row["mae"] == pytest.approx(
        mean_absolute_error(truth, predictions), rel=1e-6
    )
    assert row["clipped_rmse"] == pytest.approx(
        root_mean_squared_error(truth, clipped), rel=1e-6
    )
    assert row["clipped_mae"] == pytest.approx(
        mean_absolute_error(truth, clipped), rel=1e-6
    )
    assert row["clipped_rmse"] < row["rmse"]
    assert row["num_ratings"] == len(truth)


def test_groups_are_kept_apart_and_add_up_to_larger_ones():
    groups = np.array([0, 1, 2, 2])
    predictions = np.array([1, 3, 5, 2], np.float32)
    ratings = np.array([2, 1, 5, 4], np.float32)
    sums = ErrorSums(4, (1.0, 5.0))
    sums.add(groups, predictions, ratings)
    assert [row["mae"] for row in sums.results()] == [1, 2, 1, 0]
    first, second = sums.regroup(np.array([0, 0, 1, 1]), 2).results()
    assert (first["mae"], second["mae"]) == (1.5, 1)
    assert first["mean_prediction"] == 2
    assert first["mean_rating"] == 1.5
    assert second["rmse"] == pytest.approx(np.sqrt(2))
