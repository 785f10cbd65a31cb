"""The settings of the paper's experiments, as differences from its best model.

Reference:
    Kuchaiev and Ginsburg, 2017 (https://arxiv.org/abs/1708.01715).
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from trainer.config import Config
from trainer.model.activations import ACTIVATIONS
from trainer.recipes import PAPER, QUICKSTART

#: What a model learns from: the ratings alone, or a rating teacher.
BASES = {
    "ratings": PAPER,
    "teacher": dataclasses.replace(QUICKSTART, interest_weight=0.0),
}

#: What models learn from in claims about what a taught one lacks.
_ALONE = ("ratings",)

_THREE_LAYERS = {"hidden_units": (128, 128, 128), "dropout_rate": 0.0}

#: Claim -> setting -> what differs from the paper's best model.
CLAIMS: dict[str, dict[str, dict[str, Any]]] = {
    "depth": {
        str(depth): {"hidden_units": (128,) * depth, "dropout_rate": 0.0}
        for depth in range(1, 7)
    },
    "activation": {
        f"{name}, {'activated' if on_output else 'linear'} output": {
            "hidden_units": (128, 128),
            "dropout_rate": 0.0,
            "activation": name,
            "last_layer_activation": on_output,
        }
        for on_output in (True, False)
        for name in ACTIVATIONS
        if name != "linear"
    },
    "dropout": {
        f"{tenths / 10:g}": {"dropout_rate": tenths / 10}
        for tenths in range(10)
    },
    "tied": {
        f"{name}, {'tied' if is_tied else 'untied'}": {
            **layers,
            "tie_weights": is_tied,
        }
        for name, layers in {
            "one layer of 512": {"hidden_units": (512,), "dropout_rate": 0.0},
            "three layers of 128": _THREE_LAYERS,
        }.items()
        for is_tied in (False, True)
    },
    "refeeds": {
        f"{rate:g} x {num_refeeds}": {
            "learning_rate": rate,
            "num_refeeds": num_refeeds,
        }
        for rate in (0.001, 0.005)
        for num_refeeds in range(4)
    },
    "noise": {
        f"{tenths / 10:g}": {"refeed_noise_rate": tenths / 10}
        for tenths in (0, 1, 3, 5)
    },
}

#: Claims about what a taught autoencoder has as well.
_TAUGHT_CLAIMS = ("depth", "dropout", "refeeds")


def list_settings(
    claims: Iterable[str], num_epochs: int | None, teaches: bool
) -> Iterator[tuple[str, str, str, Config]]:
    """Yields claim, setting, what the model learns from, and its config.

    Args:
        claims: keys of `CLAIMS`.
        num_epochs: epochs of each model; `None` for those of its recipe.
        teaches: whether models learn from a teacher, too.
    """
    for claim in claims:
        bases = BASES if teaches and claim in _TAUGHT_CLAIMS else _ALONE
        for setting, changes in CLAIMS[claim].items():
            for base in bases:
                config = dataclasses.replace(BASES[base], **changes)
                yield (
                    claim,
                    setting,
                    base,
                    dataclasses.replace(
                        config, num_epochs=num_epochs or config.num_epochs
                    ),
                )
