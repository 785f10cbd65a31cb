import dataclasses
import json

import pytest

from data_prep.dataset.errors import UserError
from trainer.config import Config
from trainer.recipes import RECIPES, make_config
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
        ({"tie_weights": True}, "must be False for model='taught_autoencoder'"),
        ({"centering": "none"}, "must be 'user_item' for .*centering='none'"),
    ],
    ids=str,
)
def test_a_setting_that_no_taught_model_can_use_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(RECIPES["recommended"], **changes)


@pytest.mark.parametrize("name", ["paper", "untaught"])
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


@pytest.mark.parametrize(
    ("num_users", "batch_size", "num_epochs", "milestones"),
    [
        (6040, 128, 12, (3, 5, 7, 8, 9, 10)),
        (943, 58, 30, (8, 12, 18, 20, 22, 25)),
        (30, 4, 60, (15, 25, 35, 40, 45, 50)),
        (2, 2, 60, (15, 25, 35, 40, 45, 50)),
        (480_189, 128, 2, (1, 2)),
    ],
)
def test_a_taught_recipe_follows_the_number_of_users(
    num_users, batch_size, num_epochs, milestones
):
    config = make_config("recommended", {}, num_users)
    assert config.batch_size == batch_size
    assert config.num_epochs == num_epochs
    assert config.learning_rate_milestones == milestones


def test_a_taught_recipe_samples_the_items_of_large_catalogs():
    assert make_config("quickstart", {}, 6040, 20_000).num_sampled_items == 0
    assert make_config("quickstart", {}, 6040, 20_001).num_sampled_items == 4096
    asked = make_config("quickstart", {"num_sampled_items": 0}, 6040, 20_001)
    assert asked.num_sampled_items == 0


def test_what_is_asked_for_overrides_what_follows_the_data():
    config = make_config(
        "recommended", {"batch_size": 7, "num_epochs": 24}, num_users=30
    )
    assert (config.batch_size, config.num_epochs) == (7, 24)
    assert config.learning_rate_milestones == (6, 10, 14, 16, 18, 20)


@pytest.mark.parametrize("name", ["paper", "untaught"])
def test_other_recipes_are_the_same_for_all_data(name):
    assert make_config(name, {}, num_users=30) == RECIPES[name]


def test_an_unknown_recipe_is_refused():
    with pytest.raises(UserError, match=r"one of paper, .*recipe='soup'"):
        make_config("soup", {})


def write_recipe(directory, text):
    path = directory / "mine.json"
    path.write_text(text)
    return str(path)


def test_a_recipe_file_names_its_base_and_what_differs(tmp_path):
    path = write_recipe(
        tmp_path,
        '{"recipe": "recommended", "hidden_units": [8, 4], "dropout_rate": 0,'
        ' "seed": 3}',
    )
    assert make_config(path, {"seed": 4}, num_users=943) == make_config(
        "recommended",
        {"hidden_units": (8, 4), "dropout_rate": 0.0, "seed": 4},
        num_users=943,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "mine.json is not JSON"),
        ("[]", "mine.json must be a JSON object in which `recipe` is one of"),
        ('{"seed": 1}', r"`recipe` is one of paper, .*recipe=None"),
        ('{"recipe": "soup"}', r"`recipe` is one of paper, .*recipe='soup'"),
        ('{"recipe": ["paper"]}', r"is one of paper, .*recipe=\['paper'\]"),
        (
            '{"recipe": "paper", "epochs": 3}',
            r"mine.json has no setting .*'epochs'. .*num_epochs",
        ),
        (
            '{"recipe": "paper", "num_epochs": 3.5}',
            r"mine.json: `num_epochs` must be a whole number. Received: 3.5",
        ),
        (
            '{"recipe": "paper", "seed": true}',
            "`seed` must be a whole number. Received: true",
        ),
        (
            '{"recipe": "paper", "tie_weights": 1}',
            "`tie_weights` must be true or false. Received: 1",
        ),
        (
            '{"recipe": "paper", "hidden_units": "8,4"}',
            '`hidden_units` must be a list of whole numbers. Received: "8,4"',
        ),
        (
            '{"recipe": "paper", "dropout_rate": [0.5]}',
            r"`dropout_rate` must be a number. Received: \[0.5\]",
        ),
        (
            '{"recipe": "paper", "dropout_rate": 80}',
            "mine.json: `dropout_rate` must be in .*dropout_rate=80",
        ),
    ],
)
def test_a_mistake_in_a_recipe_file_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        make_config(write_recipe(tmp_path, text), {})


def test_a_recipe_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no recipe file .*soup.json.*paper"):
        make_config(str(tmp_path / "soup.json"), {})
