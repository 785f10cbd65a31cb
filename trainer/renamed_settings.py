"""Names that settings had in release 0.1, whose files still open.

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
