import math

import numpy as np
import pytest

from trainer.recipes import RECIPES
from trainer.search.records import State, Trial
from trainer.search.space import base_values, make_space
from trainer.search.study import choose_values, is_hopeless

BASE = RECIPES["untaught"]
SPACE = make_space(BASE, num_users=6040)


def complete(number, by_epoch, **values):
    return Trial(
        number,
        {**base_values(BASE), **values},
        State.COMPLETE,
        val_rmse=min(by_epoch),
        val_rmse_by_epoch=by_epoch,
    )


def run_trials(num_trials, loss, seed=0):
    """Runs a search in which the validation RMSE is known."""
    trials = []
    for number in range(num_trials):
        values = choose_values(trials, SPACE, seed)
        trials.append(complete(number, (loss(values),), **values))
    return trials


def test_the_same_trials_lead_to_the_same_choice():
    def loss(values):
        return values["dropout_rate"]

    trials = run_trials(12, loss)
    assert run_trials(12, loss) == trials
    assert run_trials(12, loss, seed=1) != trials
    assert choose_values(trials[:7], SPACE, seed=0) == trials[7].values


def test_choices_draw_near_to_what_was_good():
    def loss(values):
        return abs(math.log(values["learning_rate"] / 1e-3))

    losses = [trial.val_rmse for trial in run_trials(40, loss)]
    assert np.median(losses[20:]) < 0.6 * np.median(losses[:10])


def test_trials_at_the_same_time_differ():
    trials = run_trials(12, lambda values: values["learning_rate"])
    for number in range(12, 16):
        values = choose_values(trials, SPACE, seed=0)
        assert values not in [trial.values for trial in trials]
        trials.append(Trial(number, values))


@pytest.mark.parametrize("state", [State.DIVERGED, State.FAILED, State.PRUNED])
def test_trials_without_a_model_do_not_stop_the_search(state):
    trials = [Trial(n, base_values(BASE), state) for n in range(15)]
    assert choose_values(trials, SPACE, seed=0).keys() == SPACE.keys()


#: The medians of the four epochs are 4.5, 3.5, 2.5 and 1.5.
OTHERS = [
    complete(number, (4.0 + offset, 3.0 + offset, 2.0 + offset, 1.0 + offset))
    for number, offset in enumerate([0.0, 0.4, 0.6, 1.0])
]


@pytest.mark.parametrize(
    ("by_epoch", "expected"),
    [
        ([9.0], False),
        ([9.0, 9.0], False),
        ([4.0, 3.4, 2.4], False),
        ([4.0, 3.4, 2.6], True),
        # What it reached once counts, and not where it is.
        ([4.0, 2.4, 9.0], False),
        ([4.0, 3.0, 2.6, 9.0, 9.0, 9.0], False),
    ],
    ids=["first", "a third", "better", "worse", "was better", "last"],
)
def test_a_trial_is_given_up_if_its_best_is_above_the_median(
    by_epoch, expected
):
    assert is_hopeless(OTHERS, SPACE, by_epoch, num_epochs=6) is expected


def test_of_a_few_trials_none_is_given_up():
    assert not is_hopeless(OTHERS[:3], SPACE, [9.0] * 4, num_epochs=6)
    others = [*OTHERS[:3], Trial(3, base_values(BASE), State.PRUNED)]
    assert not is_hopeless(others, SPACE, [9.0] * 4, num_epochs=6)
