"""The models that can be compared, and how each is tuned."""

import dataclasses
import functools
import importlib.util
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from trainer.compare import (
    cornac_models,
    project_models,
    surprise_models,
)
from trainer.compare.answers import Answer
from trainer.recipes import RECIPES

Settings = Mapping[str, Any]

#: Takes `FitData`, a seed, numbers of epochs and settings.
FitFunction = Callable[..., Iterator[Answer]]

#: The metrics that tune models: of predicted ratings, and of lists.
RMSE = "rmse"
NDCG = "liked/ndcg@10"


@dataclasses.dataclass(frozen=True)
class Model:
    """A model that can be compared.

    Attributes:
        title: its name for people.
        fit: yields the model after each number of epochs.
        grid: the settings that are tried.
        epochs: the numbers of epochs that are tried; 0 for a model without,
            or one that chooses for itself.
        metric: the validation metric that chooses.
        is_random: whether a seed makes a difference.
        serves_new_users: whether it answers to ratings of a user whom the fit
            did not see.
        library: the module that it needs beside this project's own.
        is_own: whether it is a recipe of this project.
    """

    title: str
    fit: FitFunction
    grid: tuple[Settings, ...] = ({},)
    epochs: tuple[int, ...] = (0,)
    metric: str = RMSE
    is_random: bool = False
    serves_new_users: bool = True
    library: str | None = None
    is_own: bool = False

    @property
    def is_installed(self) -> bool:
        """Whether its library is there."""
        return (
            self.library is None
            or importlib.util.find_spec(self.library) is not None
        )


def _combine(**values: tuple[Any, ...]) -> tuple[Settings, ...]:
    """Lists all combinations of the values of settings."""
    return tuple(
        dict(zip(values, combination, strict=True))
        for combination in itertools.product(*values.values())
    )


#: Name -> model, cheap ones first.
MODELS = {
    "popularity": Model(
        title="popularity", fit=project_models.fit_popularity, metric=NDCG
    ),
    "biases": Model(
        title="user and item biases",
        fit=project_models.fit_biases,
        grid=_combine(
            item_damping=(1.0, 2.0, 5.0, 10.0, 20.0),
            user_damping=(2.0, 5.0, 10.0, 20.0),
        ),
    ),
    "ease": Model(
        title="EASE",
        fit=project_models.fit_ease,
        grid=_combine(
            penalty=(100.0, 300.0, 1000.0, 3000.0), diagonal_penalty=(0.0, 1.0)
        ),
        metric=NDCG,
    ),
    "item-knn": Model(
        title="item-kNN",
        fit=surprise_models.fit_item_knn,
        grid=_combine(shrinkage=(100, 300, 1000), k=(20, 50, 100)),
        library="surprise",
    ),
    "mf": Model(
        title="biased matrix factorization",
        fit=cornac_models.fit_matrix_factorization,
        grid=_combine(k=(32, 64, 128), lambda_reg=(0.03, 0.06, 0.1)),
        epochs=tuple(range(10, 151, 10)),
        is_random=True,
        serves_new_users=False,
        library="cornac",
    ),
    "svdpp": Model(
        title="SVD++",
        fit=surprise_models.fit_svdpp,
        grid=_combine(
            n_factors=(20,), reg_all=(0.02, 0.05, 0.1), n_epochs=(20, 40)
        ),
        is_random=True,
        serves_new_users=False,
        library="surprise",
    ),
    "factorization": Model(
        title="Bayesian factorization",
        fit=functools.partial(
            project_models.fit_factorization, recipe="recommended"
        ),
        is_random=True,
    ),
    **{
        recipe: Model(
            title=f"recipe {recipe}",
            fit=functools.partial(project_models.fit_recipe, recipe=recipe),
            is_random=True,
            is_own=True,
        )
        for recipe in sorted(RECIPES, key=lambda name: RECIPES[name].num_epochs)
    },
}
