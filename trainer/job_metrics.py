"""Measures a trained model beside its teachers and baselines."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from absl import logging

from data_prep.dataset.items import Items
from trainer.autoencoder import AutoEncoder
from trainer.blend_weights import choose_network_weight, choose_rating_weight
from trainer.evaluation.baselines import BASELINES, Biases, Popularity
from trainer.evaluation.evaluator import Evaluator
from trainer.evaluation.ranking import RankingMetrics, rank_unrated
from trainer.rating_model import RatingModel
from trainer.taught_autoencoder import TaughtAutoEncoder

#: Maps ratings `(batch_size, num_items)` to a score of every item.
Scorer = Callable[[tf.SparseTensor], tf.Tensor]


class JobMetrics:
    """Measures the model of a job, its teachers and its baselines.

    Args:
        model: the model, made under `strategy`.
        items: the items, with the statistics of their training ratings.
        liked_from: the lowest rating of an item that is liked.
        strategy: distributes the evaluation over devices.
    """

    def __init__(
        self,
        model: AutoEncoder | TaughtAutoEncoder,
        items: Items,
        liked_from: float,
        strategy: tf.distribute.Strategy,
    ) -> None:
        self._model = model
        self._items = items
        self._liked_from = liked_from
        self._strategy = strategy
        with strategy.scope():
            self._baselines: dict[str, RatingModel] = {
                name: Biases(items.counts, items.means, centering)
                for name, centering in BASELINES.items()
            }
        self._scorers: dict[str, Scorer] = {
            "network": model,
            "popularity": Popularity(items.counts),
            "biases": self._baselines["biases"],
        }
        if isinstance(model, TaughtAutoEncoder):
            self._scorers["network"] = model.scores
            if model.rating_teacher is not None:
                self._baselines["bayesian_factorization"] = model.rating_teacher
                self._scorers["bayesian_factorization"] = model.rating_teacher
            if model.interest_teacher is not None:
                self._scorers["ease"] = model.interest_teacher

    def choose_blend_weights(
        self, validation: tf.data.Dataset
    ) -> dict[str, float]:
        """Chooses how a taught model mixes its answers; sets it in the model.

        Args:
            validation: pairs of training and validation ratings.

        Returns:
            `network_weight` and `rating_weight`; nothing for a model that
            has no answers to mix.
        """
        model = self._model
        if not isinstance(model, TaughtAutoEncoder):
            return {}
        weights = {}
        if model.rating_teacher is not None:
            weights["network_weight"] = choose_network_weight(model, validation)
        weights["rating_weight"] = choose_rating_weight(
            model, validation, self._items.counts, self._liked_from
        )
        return weights

    def measure_baselines(
        self, test: tf.data.Dataset
    ) -> dict[str, dict[str, float]]:
        """Computes the errors of each baseline and of the rating teacher.

        Args:
            test: pairs of training and test ratings.
        """
        return {
            name: Evaluator(baseline, self._strategy)(test)
            for name, baseline in self._baselines.items()
        }

    def measure_rankings(
        self, test: tf.data.Dataset
    ) -> dict[str, dict[str, float]]:
        """Computes the ranking metrics of all that ranks, in one pass.

        Args:
            test: pairs of training and test ratings.

        Returns:
            What `RankingMetrics` computes, by the name of who ranks:
            `network` is the model, by its score if it has one, else by the
            predicted rating.
        """
        return _rank_all(
            self._scorers, test, self._items.counts, self._liked_from
        )


def _rank_all(
    scorers: Mapping[str, Scorer],
    batches: tf.data.Dataset,
    item_counts: npt.NDArray[np.int64],
    liked_from: float,
) -> dict[str, dict[str, float]]:
    @tf.function(reduce_retracing=True)
    def rank(ratings: tf.SparseTensor) -> dict[str, tf.Tensor]:
        return {
            name: rank_unrated(scorer(ratings), ratings)
            for name, scorer in scorers.items()
        }

    metrics = {
        name: RankingMetrics(item_counts, liked_from) for name in scorers
    }
    for ratings, held_out in batches:
        indices, values = held_out.indices.numpy(), held_out.values.numpy()
        for name, ranked in rank(ratings).items():
            metrics[name].update(ranked.numpy(), indices, values)
    return {name: sums.result() for name, sums in metrics.items()}


def beats_baselines(metrics: Mapping[str, Any]) -> bool:
    """Returns whether a model has a lower test RMSE than every baseline.

    Logs a warning with the figures if it does not.

    Args:
        metrics: the `test` metrics of the model, and those of its
            `baselines` by their names.
    """
    rmse = metrics["test"]["rmse"]
    baselines = {
        name: figures["rmse"] for name, figures in metrics["baselines"].items()
    }
    best = min(baselines, key=lambda name: baselines[name])
    if rmse < baselines[best]:
        return True
    logging.warning(
        "THE MODEL DOES NOT BEAT ITS BASELINES: its test RMSE is %.4f, that of"
        " %s alone is %.4f. Find out why before serving it.",
        rmse,
        best,
        baselines[best],
    )
    return False
