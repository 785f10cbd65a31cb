"""Biased matrix factorization by the library cornac."""

import collections
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from trainer.compare.answers import Answer
from trainer.compare.fit_data import FitData
from trainer.compare.user_factors import UserFactors

#: Low, so that no number of epochs steps over the best one.
_LEARNING_RATE = 0.005


def fit_matrix_factorization(
    data: FitData, seed: int, epochs: Sequence[int], **settings: Any
) -> Iterator[Answer]:
    """Fits biases and factors by stochastic gradient descent.

    Reference:
        Koren, Bell and Volinsky, 2009, "Matrix factorization techniques for
        recommender systems" (https://doi.org/10.1109/MC.2009.263).

    Args:
        data: what to fit.
        seed: seed of the first factors.
        epochs: numbers of epochs, ascending.
        **settings: `k`, the number of factors, and `lambda_reg`, the
            regularization, as cornac names them.

    Yields:
        The model after each of these numbers of epochs.
    """
    from cornac.data import Dataset
    from cornac.models import MF

    ratings = data.training
    users = np.repeat(np.arange(ratings.num_users), np.diff(ratings.starts))
    dataset = Dataset(
        ratings.num_users,
        ratings.num_items,
        # Raw ids, by which nothing is looked up.
        collections.OrderedDict(),
        collections.OrderedDict(),
        (
            users,
            ratings.items.astype(np.int64),
            ratings.values.astype(np.float64),
        ),
    )
    parameters: dict[str, Any] = {}
    num_epochs = 0
    for end in epochs:
        model = MF(
            max_iter=end - num_epochs,
            learning_rate=_LEARNING_RATE,
            seed=seed,
            init_params=parameters,
            **settings,
        ).fit(dataset)
        num_epochs = end
        yield UserFactors(
            ratings,
            float(model.global_mean),
            model.u_biases,
            model.i_biases,
            model.u_factors,
            model.i_factors,
        )
        parameters = {
            "U": model.u_factors,
            "V": model.i_factors,
            "Bu": model.u_biases,
            "Bi": model.i_biases,
        }
