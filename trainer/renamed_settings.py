"""Settings as earlier releases wrote them, whose files still open.

They stand in job directories (`config.json`), in saved Keras models and their
configurations, and in people's commands. Only the current names are written.
"""

from collections.abc import Mapping
from typing import Any

#: Name of a setting in release 0.1 -> its name now.
RENAMED_SETTINGS = {
    "centring": "centering",
    "item_sampling": "num_sampled_items",
}

#: Setting of a job that release 0.1 did not have -> the value that makes the
#: job what it was. What only the taught autoencoder reads has a value of use
#: to who turns an untaught recipe into a taught one.
ADDED_SETTINGS: Mapping[str, Any] = {
    "model": "autoencoder",
    "whole_history_rate": 0.3,
    "interest_weight": 0.05,
    "sharpness": 0.5,
    "teacher_rank": 32,
    "teacher_sweeps": 100,
    "teacher_samples": 16,
    "patience": 0,
}


def use_current_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Renames the settings of release 0.1; leaves all others as they are.

    Args:
        settings: values of settings by their current or former names.

    Returns:
        The same values by their current names.
    """
    return {
        RENAMED_SETTINGS.get(name, name): value
        for name, value in settings.items()
    }


def use_current_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Renames the settings of a job and adds those that it lacks.

    Args:
        settings: values of a job's settings, as any release wrote them.

    Returns:
        A value for every setting, by its current name.
    """
    return {**ADDED_SETTINGS, **use_current_names(settings)}
