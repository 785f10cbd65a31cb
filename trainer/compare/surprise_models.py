"""Item-kNN and SVD++ by the library Surprise."""

import collections
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from trainer.compare.answers import Answer
from trainer.compare.fit_data import FitData
from trainer.compare.nearest_items import NearestItems
from trainer.compare.user_factors import UserFactors

#: Ratings at the mean and at the baseline that items and users start with:
#: Surprise's own values, which it does not tell once the model is fitted.
_ITEM_DAMPING = 10
_USER_DAMPING = 15


def fit_item_knn(
    data: FitData, seed: int, epochs: Sequence[int], **settings: Any
) -> Iterator[Answer]:
    """Finds the similarities of items, by how alike users rated them.

    These are Pearson correlations of what the baseline leaves, shrunk where
    few users rated both. Surprise predicts one rating at a time, so its
    similarities are taken and `NearestItems` predicts, which gives the same.

    Reference:
        Koren, 2010, "Factor in the neighbors", section 2.2
        (https://doi.org/10.1145/1644873.1644874).

    Args:
        data: what to fit.
        seed: not used.
        epochs: not used.
        **settings: `k`, the number of neighbors, and `shrinkage`, as Surprise
            names them.

    Yields:
        The model.
    """
    from surprise import KNNBaseline

    model = KNNBaseline(
        k=settings["k"],
        sim_options={
            "name": "pearson_baseline",
            "user_based": False,
            "shrinkage": settings["shrinkage"],
        },
        bsl_options={
            "method": "als",
            "reg_i": _ITEM_DAMPING,
            "reg_u": _USER_DAMPING,
        },
        verbose=False,
    )
    trainset = _make_trainset(data)
    model.fit(trainset)
    yield NearestItems(
        trainset.global_mean,
        np.asarray(model.bi),
        _USER_DAMPING,
        np.asarray(model.sim),
        settings["k"],
    )


def fit_svdpp(
    data: FitData, seed: int, epochs: Sequence[int], **settings: Any
) -> Iterator[Answer]:
    """Fits SVD++ by stochastic gradient descent.

    Reference:
        Koren, 2008, "Factorization meets the neighborhood", section 4
        (https://doi.org/10.1145/1401890.1401944).

    Args:
        data: what to fit.
        seed: seed of the first factors.
        epochs: not used: Surprise cannot go on with a fit.
        **settings: `n_factors`, `reg_all` and `n_epochs`, as Surprise names
            them.

    Yields:
        The model.
    """
    from surprise import SVDpp

    ratings = data.training
    trainset = _make_trainset(data)
    model = SVDpp(cache_ratings=True, random_state=seed, **settings)
    model.fit(trainset)
    counts = np.diff(ratings.starts)
    implicit = np.zeros_like(model.pu)
    users = np.repeat(np.arange(ratings.num_users), counts)
    np.add.at(implicit, users, model.yj[ratings.items])
    implicit /= np.sqrt(np.maximum(counts, 1))[:, np.newaxis]
    yield UserFactors(
        ratings,
        trainset.global_mean,
        model.bu,
        model.bi,
        model.pu + implicit,
        model.qi,
    )


def _make_trainset(data: FitData) -> Any:
    """Makes what Surprise fits, with users and items under their indices."""
    from surprise import Trainset

    ratings = data.training
    by_user: dict[int, list[tuple[int, float]]] = {}
    by_item: dict[int, list[tuple[int, float]]] = collections.defaultdict(list)
    for item in range(ratings.num_items):
        by_item[item] = []
    for user, (start, end) in enumerate(
        zip(ratings.starts[:-1], ratings.starts[1:], strict=True)
    ):
        by_user[user] = list(
            zip(
                ratings.items[start:end].tolist(),
                ratings.values[start:end].tolist(),
                strict=True,
            )
        )
        for item, value in by_user[user]:
            by_item[item].append((user, value))
    return Trainset(
        by_user,
        by_item,
        ratings.num_users,
        ratings.num_items,
        len(ratings.values),
        data.distribution.range,
        # Raw ids, by which nothing is looked up.
        {},
        {},
    )
