"""The settings that a search tries."""

from collections.abc import Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from trainer.config import Config

#: Setting -> its values, the same for every recipe; `trainer/deploy` has them
#: as a tuning job of Vertex AI. The number of epochs is not among them, so that
#: trials can be compared epoch by epoch. Nor is what trades one virtue for
#: another that the validation RMSE does not see: `interest_weight` and
#: `sharpness` shape lists, `whole_history_rate` serves short histories.
SPACE: Mapping[str, BaseDistribution] = {
    "hidden_units": CategoricalDistribution(
        ("128", "256,64", "256,128", "384,192", "512,256", "512,512,1024")
    ),
    "dropout_rate": FloatDistribution(0.0, 0.9),
    "num_refeeds": IntDistribution(0, 2),
    "weight_decay": CategoricalDistribution((0.0, 1e-6, 1e-5, 1e-4, 1e-3)),
    "learning_rate": FloatDistribution(3e-4, 1e-2, log=True),
    "batch_size": IntDistribution(16, 512, log=True),
}

#: Digits of a number that are tried: more would make no difference.
_NUM_DIGITS = 3


def make_space(base: Config, num_users: int) -> dict[str, BaseDistribution]:
    """Fits the space to a recipe, which the search begins with, and to data.

    Args:
        base: the settings of the recipe; where one of them is outside of the
            space, the space grows to hold it.
        num_users: the number of users, and so the largest batch.

    Returns:
        Setting -> its values.
    """
    values = base_values(base)
    space: dict[str, BaseDistribution] = {}
    for name, distribution in SPACE.items():
        value = values[name]
        if isinstance(distribution, CategoricalDistribution):
            choices = distribution.choices
            space[name] = CategoricalDistribution(
                choices if value in choices else (*choices, value)
            )
        elif isinstance(distribution, IntDistribution):
            high = distribution.high
            if name == "batch_size":
                high = min(high, num_users)
            space[name] = IntDistribution(
                min(distribution.low, high, value),
                max(high, value),
                log=distribution.log,
            )
        elif isinstance(distribution, FloatDistribution):
            space[name] = FloatDistribution(
                min(distribution.low, value),
                max(distribution.high, value),
                log=distribution.log,
            )
    return space


def base_values(base: Config) -> dict[str, Any]:
    """Returns the values that a recipe has in the space."""
    return {name: _to_value(getattr(base, name)) for name in SPACE}


def round_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Rounds numbers to as many digits as make a difference."""
    return {
        name: float(f"{value:.{_NUM_DIGITS}g}")
        if isinstance(value, float)
        else value
        for name, value in values.items()
    }


def to_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turns values of the space into settings of a job."""
    return {
        name: tuple(map(int, value.split(",")))
        if name == "hidden_units"
        else value
        for name, value in values.items()
    }


def _to_value(setting: Any) -> Any:
    if isinstance(setting, tuple):
        return ",".join(map(str, setting))
    return setting
