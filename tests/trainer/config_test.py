import dataclasses
import json

import pytest

from data_prep.dataset.errors import UserError
from trainer.config import Config
from trainer.recipes import RECIPES


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
        ({"mixed_precision": "half"}, "mixed_precision='half'"),
    ],
    ids=str,
)
def test_a_setting_that_no_job_can_use_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        changed(**changes)


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
