import dataclasses
import json

import pytest

from data_prep.dataset.errors import UserError
from trainer.config import Config
from trainer.recipes import RECIPES
from trainer.renamed_settings import ADDED_SETTINGS


def changed(**changes):
    return dataclasses.replace(RECIPES["paper"], **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_units": ()}, "hidden_units"),
        ({"optimizer": "sgd"}, "one of momentum, adam, .*optimizer='sgd'"),
        ({"learning_rate": 0.0}, "positive number.*learning_rate=0.0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"learning_rate_decay": -1.0}, "learning_rate_decay=-1.0"),
        ({"learning_rate_milestones": (3, 3)}, "ascending.*3, 3"),
        ({"batch_size": 0}, "positive integer.*batch_size=0"),
        ({"num_epochs": -2}, "num_epochs=-2"),
        ({"patience": -1}, "patience=-1"),
        ({"model": "teacher"}, "one of autoencoder, taught.*model='teacher'"),
        ({"teacher_rank": 0}, "positive integer.*teacher_rank=0"),
        (
            {"teacher_sweeps": 10, "teacher_samples": 9},
            "at most .* 8 of teacher_sweeps=10.*teacher_samples=9",
        ),
        ({"mixed_precision": "half"}, "mixed_precision='half'"),
    ],
    ids=str,
)
def test_a_setting_that_no_job_can_use_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        changed(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"whole_history_rate": 30}, "not a percentage.*whole_history_rate=30"),
        ({"interest_weight": -1.0}, "interest_weight=-1.0"),
        ({"num_sampled_items": 9}, "must be 0 for model='taught_autoencoder'"),
        ({"centering": "none"}, "must be 'user_item' for .*centering='none'"),
    ],
    ids=str,
)
def test_a_setting_that_no_taught_model_can_use_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(RECIPES["recommended"], **changes)


@pytest.mark.parametrize("name", ["paper", "quickstart"])
def test_a_config_of_a_release_without_teachers_is_the_recipe_of_today(name):
    record = dataclasses.asdict(RECIPES[name])
    for setting in ADDED_SETTINGS:
        del record[setting]
    assert Config.from_json(record) == RECIPES[name]
    assert RECIPES[name].model == "autoencoder"


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_survives_json(name):
    recipe = RECIPES[name]
    text = json.dumps(dataclasses.asdict(recipe))
    assert Config.from_json(json.loads(text)) == recipe


def test_the_learning_rate_of_the_paper_halves_at_five_epochs():
    paper = RECIPES["paper"]
    rates = [paper.learning_rate_at(epoch) for epoch in range(100)]
    halvings = [e for e in range(1, 100) if rates[e] < rates[e - 1]]
    assert halvings == [24, 36, 48, 66, 72]
    assert rates[0] == 0.005
    assert rates[-1] == pytest.approx(0.005 / 32)
