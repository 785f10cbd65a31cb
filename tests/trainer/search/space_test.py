import dataclasses

import pytest
from optuna.distributions import CategoricalDistribution

from trainer.recipes import RECIPES, make_config
from trainer.search.space import (
    SPACE,
    base_values,
    make_space,
    round_values,
    to_settings,
)


def bounds(distribution):
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    return distribution.low, distribution.high


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_space_holds_every_recipe_as_it_is(recipe):
    base = make_config(recipe, {}, num_users=943)
    values = base_values(base)
    space = make_space(base, num_users=943)
    assert space == SPACE
    for name, distribution in space.items():
        assert distribution._contains(
            distribution.to_internal_repr(values[name])
        ), name
    assert dataclasses.replace(base, **to_settings(values)) == base


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_job_can_use_every_value(recipe):
    base = RECIPES[recipe]
    for name, distribution in SPACE.items():
        for value in bounds(distribution):
            dataclasses.replace(base, **to_settings({name: value}))


def test_the_space_grows_to_hold_what_a_recipe_file_asks_for():
    base = dataclasses.replace(
        RECIPES["untaught"],
        hidden_units=(32, 8),
        dropout_rate=0.95,
        num_refeeds=3,
        weight_decay=0.1,
        learning_rate=1e-5,
        batch_size=8,
    )
    space = make_space(base, num_users=300)
    assert space["hidden_units"].choices[-1] == "32,8"
    assert bounds(space["dropout_rate"]) == (0.0, 0.95)
    assert bounds(space["num_refeeds"]) == (0, 3)
    assert space["weight_decay"].choices[-1] == 0.1
    assert bounds(space["learning_rate"]) == (1e-5, 1e-2)
    assert bounds(space["batch_size"]) == (8, 300)


def test_numbers_have_three_digits():
    assert round_values(
        {"learning_rate": 0.00068240, "dropout_rate": 0.1, "batch_size": 193}
    ) == {"learning_rate": 0.000682, "dropout_rate": 0.1, "batch_size": 193}
