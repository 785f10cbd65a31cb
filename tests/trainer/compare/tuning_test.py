import numpy as np
import pytest

from tests.trainer.compare.known_models import fit_constant
from trainer.compare.fit_data import FitData
from trainer.compare.models import Model
from trainer.compare.tuning import Choice, tune


@pytest.fixture(scope="module")
def data(tmp_path_factory, synthetic_data):
    return FitData(synthetic_data, str(tmp_path_factory.mktemp("work")))


@pytest.fixture(scope="module")
def validation_mean(data):
    return float(
        np.mean(np.concatenate([held.values for _, held, _ in data.validation]))
    )


def test_the_settings_of_the_lowest_validation_error_are_kept(
    data, validation_mean
):
    grid = tuple({"value": validation_mean + d} for d in (1.0, 0.1, -2.0))
    tuned = tune(Model("constant", fit_constant, grid), data, seed=0)
    assert tuned.choice == Choice(grid[1], 0)
    assert [trial["settings"] for trial in tuned.trials] == list(grid)
    assert tuned.validation == min(trial["rmse"] for trial in tuned.trials)
    assert tuned.tuning_seconds >= tuned.seconds


def test_epochs_are_given_while_they_help(data, validation_mean):
    # Passes the mean after its second epoch.
    grid = ({"value": validation_mean / 0.75},)
    tuned = tune(
        Model("constant", fit_constant, grid, epochs=(1, 2, 3, 4, 5)),
        data,
        seed=0,
    )
    assert tuned.choice.num_epochs == 2
    assert [trial["num_epochs"] for trial in tuned.trials] == [1, 2, 3]


def test_a_candidate_that_is_far_behind_gets_no_more_epochs(
    data, validation_mean
):
    near, far = {"value": validation_mean}, {"value": 0.0}
    tuned = tune(
        Model("constant", fit_constant, (far, near), epochs=(1, 2, 3)),
        data,
        seed=0,
    )
    assert tuned.choice == Choice(near, 3)
    tried = [trial["settings"] for trial in tuned.trials]
    assert tried == [far, near, near, near]


def test_a_choice_is_fitted_and_nothing_else_tried(data):
    choice = Choice({"value": 3.0}, 4)
    grid = ({"value": 1.0}, {"value": 5.0})
    tuned = tune(
        Model("constant", fit_constant, grid, epochs=(1, 2)), data, 0, choice
    )
    assert tuned.choice == choice
    assert len(tuned.trials) == 1
