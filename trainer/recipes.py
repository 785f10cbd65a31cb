"""Sets of training settings: named ones, each with its source, and files."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import read_json
from trainer.config import Config
from trainer.renamed_settings import ADDED_SETTINGS
from trainer.teachers import ease

#: The best model of the paper's table 3, Netflix full, with the command of
#: the authors' README (https://github.com/NVIDIA/DeepRecommender): untied,
#: SELU on the output too, no noise, no weight decay. The schedule halves the
#: learning rate at five epochs; the paper trains for about 100.
PAPER = Config(
    hidden_units=(512, 512, 1024),
    activation="selu",
    last_layer_activation=True,
    dropout_rate=0.8,
    tie_weights=False,
    num_refeeds=1,
    refeed_noise_rate=0.0,
    num_sampled_items=0,
    weight_decay=0.0,
    centering="none",
    optimizer="momentum",
    learning_rate=0.005,
    learning_rate_milestones=(24, 36, 48, 66, 72),
    learning_rate_decay=0.5,
    batch_size=128,
    num_epochs=102,
    mixed_precision="float32",
    seed=0,
    **ADDED_SETTINGS,
)

#: The deep autoencoder on ratings alone, for catalogs of a few thousand items,
#: chosen on the validation ratings of MovieLens-1M. The biases are subtracted,
#: the layers are small, and Adam reaches in two minutes what takes the paper's
#: schedule a hundred epochs. Re-feeding and heavy dropout stay. Weight decay
#: hardly changes the error but decides what is recommended: without it, items
#: with only a few ratings, whose weights nothing else restrains, get most of
#: the highest predictions.
UNTAUGHT = Config(
    hidden_units=(256, 64),
    activation="selu",
    last_layer_activation=False,
    dropout_rate=0.8,
    tie_weights=False,
    num_refeeds=1,
    refeed_noise_rate=0.0,
    num_sampled_items=0,
    weight_decay=1e-4,
    centering="user_item",
    optimizer="adam",
    learning_rate=0.001,
    learning_rate_milestones=(15, 20, 25),
    learning_rate_decay=0.5,
    batch_size=128,
    num_epochs=30,
    mixed_precision="float32",
    seed=0,
    **ADDED_SETTINGS,
)

#: The most accurate model with the best lists, chosen on the validation
#: ratings of MovieLens-1M. Teachers are fitted first; the network learns their
#: answers to whole histories and to parts of them. The first learning rate is
#: that of the first epochs only: kept for longer, it makes the loss jump.
#: Batches and epochs are those of MovieLens-1M (see `make_config`).
RECOMMENDED = Config(
    model="taught_autoencoder",
    hidden_units=(384, 192),
    activation="selu",
    last_layer_activation=False,
    dropout_rate=0.1,
    tie_weights=False,
    num_refeeds=1,
    refeed_noise_rate=0.0,
    num_sampled_items=0,
    weight_decay=0.0,
    centering="user_item",
    whole_history_rate=0.3,
    interest_weight=0.05,
    sharpness=0.5,
    teacher_rank=32,
    teacher_sweeps=60,
    teacher_samples=16,
    optimizer="adam",
    learning_rate=0.002,
    learning_rate_milestones=(3, 5, 7, 8, 9, 10),
    learning_rate_decay=0.5,
    batch_size=128,
    num_epochs=12,
    patience=0,
    mixed_precision="float32",
    seed=0,
)

#: Most of what `recommended` reaches, in half the time.
QUICKSTART = dataclasses.replace(
    RECOMMENDED,
    hidden_units=(256, 128),
    teacher_rank=16,
    teacher_sweeps=40,
    teacher_samples=8,
    learning_rate_milestones=(2, 3, 4, 5),
    num_epochs=6,
)

RECIPES = {
    "paper": PAPER,
    "untaught": UNTAUGHT,
    "quickstart": QUICKSTART,
    "recommended": RECOMMENDED,
}

DEFAULT_RECIPE = "quickstart"

#: Ending that tells the path of a recipe file from the name of a recipe.
_FILE_ENDING = ".json"

#: Key of a recipe file that names the recipe whose settings it changes.
BASE = "recipe"

#: Type of a setting -> its name for people.
_TYPE_NAMES: Mapping[Any, str] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    tuple[int, ...]: "a list of whole numbers",
}

#: Users of MovieLens-1M, for which the taught recipes were chosen.
_NUM_USERS = 6040

#: Steps per epoch that a batch leaves at least, and the smallest batch.
_MIN_STEPS = 16
_MIN_BATCH = 4

#: Items that stand for a large catalog.
_NUM_SAMPLED_ITEMS = 4096

#: Bounds of the epochs: at least so many, at most so many times the recipe's.
_MIN_EPOCHS = 2
_MAX_FACTOR = 5


def make_config(
    recipe: str,
    changes: Mapping[str, Any],
    num_users: int | None = None,
    num_items: int = 0,
) -> Config:
    """Makes the settings of a job from a recipe.

    The taught recipes follow the data. With `n` users:

        batch_size = n / 16, at most that of the recipe, at least 4
        num_epochs = that of the recipe * sqrt(6040 / n), at least 2, at most
            five times that of the recipe

    so that an epoch has at least 16 steps where there are 64 users, and
    training takes more steps, but fewer epochs, the more users there are. The
    learning rate falls at the same shares of the epochs. In a catalog of more
    items than the interest teacher takes, each batch samples 4,096 of them. The
    other recipes are what they are for all data.

    Args:
        recipe: a key of `RECIPES`, or the path of a recipe file.
        changes: settings that replace those of the recipe, by their names.
        num_users: number of users to train on; by default that of
            MovieLens-1M.
        num_items: number of items in their catalog.

    Raises:
        UserError: an unknown recipe, a file that is none, or a value that no
            job can use.
    """
    name, of_file = split_recipe(recipe)
    changes = {**of_file, **changes}
    config = RECIPES[name]
    if config.model == "taught_autoencoder":
        config = _follow_data(
            config, changes.get("num_epochs"), num_users or _NUM_USERS
        )
        if num_items > ease.MAX_ITEMS:
            config = dataclasses.replace(
                config, num_sampled_items=_NUM_SAMPLED_ITEMS
            )
    return dataclasses.replace(config, **changes)


def split_recipe(recipe: str) -> tuple[str, dict[str, Any]]:
    """Splits a recipe into one with a name and the settings that differ.

    A recipe file, such as `trainer.search` writes, is a JSON object: under
    `recipe` the name of a recipe, and besides the settings that differ from
    it, by their names:

        {"recipe": "quickstart", "hidden_units": [512, 256], "num_refeeds": 0}

    Args:
        recipe: a key of `RECIPES`, or the path of a recipe file, local or
            remote.

    Returns:
        The name, a key of `RECIPES`, and the settings that differ: none, if
        `recipe` is a name.

    Raises:
        UserError: it is neither; the message names the file, the key and what
            is allowed.
    """
    if recipe.endswith(_FILE_ENDING):
        return _read_recipe(recipe)
    if recipe not in RECIPES:
        raise UserError(
            f"`recipe` must be one of {', '.join(RECIPES)}, or a file that"
            f" ends in {_FILE_ENDING}. Received: recipe={recipe!r}"
        )
    return recipe, {}


def _read_recipe(path: str) -> tuple[str, dict[str, Any]]:
    try:
        recipe = read_json(path)
    except tf.errors.NotFoundError:
        raise UserError(
            f"there is no recipe file {path}. The recipes with a name are"
            f" {', '.join(RECIPES)}."
        ) from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    return parse_recipe(recipe, path)


def parse_recipe(recipe: Any, source: str) -> tuple[str, dict[str, Any]]:
    """Splits the content of a recipe file as `split_recipe` does.

    Args:
        recipe: the content, as JSON has it.
        source: where it comes from, for messages.

    Raises:
        UserError: it is not a recipe.
    """
    base = recipe.get(BASE) if isinstance(recipe, dict) else None
    if not isinstance(base, str) or base not in RECIPES:
        raise UserError(
            f"{source} must be a JSON object in which `{BASE}` is one of"
            f" {', '.join(RECIPES)}. Received: {BASE}={base!r}"
        )
    types: dict[str, Any] = {
        field.name: field.type for field in dataclasses.fields(Config)
    }
    settings: dict[str, Any] = {}
    for name, value in recipe.items():
        if name == BASE:
            continue
        if name not in types:
            raise UserError(
                f"{source} has no setting of a job under {name!r}. The settings"
                f" are {', '.join(types)}."
            )
        if not _is_of_type(value, types[name]):
            raise UserError(
                f"{source}: `{name}` must be {_TYPE_NAMES[types[name]]}."
                f" Received: {json.dumps(value)}"
            )
        # JSON has no tuples, and writes 1.0 as 1 if people write it.
        if isinstance(value, list):
            settings[name] = tuple(value)
        else:
            settings[name] = types[name](value)
    try:
        make_config(base, settings)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    return base, settings


def _is_of_type(value: Any, setting_type: Any) -> bool:
    """Says whether a value of JSON is one of a type of settings."""
    if isinstance(value, bool):
        # In Python it is a whole number, too.
        return setting_type is bool
    if isinstance(value, list):
        return setting_type == tuple[int, ...] and all(
            _is_of_type(part, int) for part in value
        )
    if setting_type is float:
        return isinstance(value, int | float)
    return setting_type in (str, int) and isinstance(value, setting_type)


def _follow_data(
    config: Config, num_epochs: int | None, num_users: int
) -> Config:
    if num_epochs is None:
        factor = min(math.sqrt(_NUM_USERS / num_users), _MAX_FACTOR)
        num_epochs = max(round(config.num_epochs * factor), _MIN_EPOCHS)
    milestones = {
        max(round(milestone * num_epochs / config.num_epochs), 1)
        for milestone in config.learning_rate_milestones
    }
    batch_size = max(num_users // _MIN_STEPS, _MIN_BATCH)
    return dataclasses.replace(
        config,
        batch_size=min(batch_size, config.batch_size, num_users),
        num_epochs=max(num_epochs, 1),
        learning_rate_milestones=tuple(sorted(milestones)),
    )
