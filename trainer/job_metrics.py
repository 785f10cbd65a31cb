"""Measures a trained model beside its teachers and baselines."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from absl import logging

from data_prep.dataset.items import Items
from trainer.autoencoder import AutoEncoder
from trainer.blend_weights import choose_network_weight, choose_rating_weight
from trainer.evaluation.baselines import BASELINES, Biases, Popularity
from trainer.evaluation.comparison import Candidates, Comparison, compare
from trainer.taught_autoencoder import TaughtAutoEncoder

#: Name of the trained model among what is compared.
_MODEL = "network"


def choose_blend_weights(
    model: AutoEncoder | TaughtAutoEncoder,
    items: Items,
    liked_from: float,
    validation: tf.data.Dataset,
) -> dict[str, float]:
    """Chooses how a taught model mixes its answers; sets it in the model.

    Args:
        model: the trained model.
        items: the items, with the statistics of their training ratings.
        liked_from: the lowest rating of an item that is liked.
        validation: pairs of training and validation ratings.

    Returns:
        `rating_weight` and, with a rating teacher, `network_weight`; nothing
        for a model that has no answers to mix.
    """
    if not isinstance(model, TaughtAutoEncoder):
        return {}
    weights = {}
    if model.rating_teacher is not None:
        weights["network_weight"] = choose_network_weight(model, validation)
    weights["rating_weight"] = choose_rating_weight(
        model, validation, items.counts, liked_from
    )
    return weights


def measure_test(
    model: AutoEncoder | TaughtAutoEncoder,
    items: Items,
    liked_from: float,
    test: tf.data.Dataset,
) -> dict[str, Any]:
    """Measures a model beside its teachers and baselines, in one pass.

    Args:
        model: the trained model, with the weights that it will have.
        items: the items, with the statistics of their training ratings.
        liked_from: the lowest rating of an item that is liked.
        test: pairs of training and test ratings.

    Returns:
        `test`, `baselines`, `ranking` and `beats_baselines` of
        `metrics.json`.
    """
    comparison = _compare_with_baselines(model, items, liked_from, test)
    errors = comparison.errors
    metrics = {
        "test": errors.pop(_MODEL),
        "baselines": errors,
        "ranking": comparison.rankings,
    }
    return {**metrics, "beats_baselines": beats_baselines(metrics)}


def _compare_with_baselines(
    model: AutoEncoder | TaughtAutoEncoder,
    items: Items,
    liked_from: float,
    batches: tf.data.Dataset,
) -> Comparison:
    """Compares the model with its teachers and the baselines.

    The model ranks by its score if it has one, else by the predicted rating.
    """
    baselines = {
        name: Biases(items.counts, items.means, centering)
        for name, centering in BASELINES.items()
    }
    popularity = Popularity(items.counts)

    def answer(ratings: tf.SparseTensor) -> Candidates:
        predicted = {name: model(ratings) for name, model in baselines.items()}
        scores = {
            "popularity": popularity(ratings),
            "biases": predicted["biases"],
        }
        if not isinstance(model, TaughtAutoEncoder):
            predicted[_MODEL] = scores[_MODEL] = model(ratings)
            return Candidates(predicted, scores)
        answers = model.answer(ratings)
        predicted[_MODEL] = model.blend(answers.network, answers.teacher)
        scores[_MODEL] = model.score(answers)
        if model.rating_teacher is not None:
            name = "bayesian_factorization"
            predicted[name] = scores[name] = answers.teacher
        if model.interest_teacher is not None:
            scores["ease"] = model.interest_teacher(ratings)
        return Candidates(predicted, scores)

    return compare(answer, batches, items.counts, liked_from)


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
