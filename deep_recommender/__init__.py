"""Recommendations from ratings: prepare, train, recommend, export.

>>> from deep_recommender import Recommender
>>> recommender = Recommender().fit("ratings.csv")
>>> recommender.recommend({"Alien (1979)": 5, "Heat (1995)": 2}, k=10)

The names are imported on first use, so that `python -m deep_recommender ask`,
which needs the standard library alone, does not wait for TensorFlow.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

import tensorflow_startup

if TYPE_CHECKING:
    from deep_recommender.preparation import prepare as prepare
    from deep_recommender.recommender import Recommender as Recommender

__version__ = "0.2.0"

__all__ = ["Recommender", "__version__", "prepare"]

_MODULES = {
    "Recommender": "deep_recommender.recommender",
    "prepare": "deep_recommender.preparation",
}

tensorflow_startup.install(whole_keras=True)
# TensorFlow reads it when it is loaded. Its own allocator keeps the memory that
# a step frees, where malloc maps the pages of large tensors anew in every step.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
