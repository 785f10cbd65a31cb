"""Measures a trained model beside its teachers and baselines."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from data_prep.dataset.items import Items
from trainer.evaluation.baselines import BASELINES, Biases, Popularity
from trainer.evaluation.breakdown import Breakdown
from trainer.evaluation.calibration import Calibration
from trainer.evaluation.cold_start import measure_cold_start
from trainer.evaluation.comparison import compare
from trainer.evaluation.deviations import Deviations
from trainer.evaluation.intervals import PairedBootstrap
from trainer.evaluation.outcomes import Candidates, Measure
from trainer.evaluation.ranking import Rankings
from trainer.evaluation.rating_errors import Errors
from trainer.input.rating_distribution import RatingDistribution
from trainer.job.blend_weights import (
    choose_network_weight,
    choose_rating_weight,
)
from trainer.model.autoencoder import AutoEncoder
from trainer.model.taught_autoencoder import TaughtAutoEncoder
from trainer.model.uncertainty import Uncertainty

#: Name of the trained model among what is compared.
MODEL = "network"

#: Name in `metrics.json` -> name for people.
DISPLAY_NAMES = {
    MODEL: "autoencoder",
    "mean": "mean rating",
    "biases": "user and item biases",
    "bayesian_factorization": "Bayesian factorization",
    "popularity": "popularity",
    "ease": "EASE",
}


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
    answer: Callable[[tf.SparseTensor], Candidates],
    items: Items,
    distribution: RatingDistribution,
    test: tf.data.Dataset,
    measures: Sequence[Measure] = (),
) -> dict[str, Any]:
    """Measures a model beside its teachers and baselines, in one pass.

    Another pass over some hundred users makes the cold-start curve.

    Args:
        answer: what `answer_with_baselines` returns for the trained model,
            with the weights that it will have.
        items: the items, with the statistics of their training ratings.
        distribution: the training ratings.
        test: pairs of training and test ratings.
        measures: what else is measured in the same pass.

    Returns:
        `test`, `baselines`, `ranking`, `beats_baselines`, `intervals`,
        `calibration`, `by_user_activity`, `by_item_popularity` and
        `cold_start` of `metrics.json`; and, of a model whose uncertainty is
        known, the `test` figures of `uncertainty`.
    """
    liked_from = distribution.liked_from
    rating_range = distribution.range
    errors = Errors(rating_range)
    rankings = Rankings(items.counts, liked_from)
    bootstrap = PairedBootstrap(len(items.item_ids), liked_from)
    calibration = Calibration(MODEL, distribution.values)
    breakdown = Breakdown(items.counts, liked_from, rating_range)
    deviations = Deviations(rating_range)
    compare(
        answer,
        test,
        [
            errors,
            rankings,
            bootstrap,
            calibration,
            breakdown,
            deviations,
            *measures,
        ],
    )
    baselines = errors.result()
    metrics = {
        "test": baselines.pop(MODEL),
        "baselines": baselines,
        "ranking": rankings.result(),
        "intervals": bootstrap.result(MODEL),
        "calibration": calibration.result(),
        "by_user_activity": breakdown.by_user_activity(),
        "by_item_popularity": breakdown.by_item_popularity(),
        "cold_start": measure_cold_start(
            answer, test, items.counts, liked_from, rating_range
        ),
    }
    of_models = deviations.result()
    if MODEL in of_models:
        metrics["uncertainty"] = {"test": of_models[MODEL]}
    return {**metrics, "beats_baselines": beats_baselines(metrics)}


def measure_deviations(
    answer: Callable[[tf.SparseTensor], Candidates],
    rating_range: tuple[float, float],
    batches: tf.data.Dataset,
) -> dict[str, Any]:
    """Measures the deviations of a model alone.

    Args:
        answer: as for `measure_test`.
        rating_range: lowest and highest rating of the scale.
        batches: pairs of training and held-out ratings.

    Returns:
        What `Deviations` does of the model; empty if its uncertainty is not
        known.
    """
    deviations = Deviations(rating_range)

    def answer_alone(ratings: tf.SparseTensor) -> Candidates:
        """Leaves out the baselines, and the scores, which would be ranked."""
        candidates = answer(ratings)
        return candidates._replace(
            ratings={MODEL: candidates.ratings[MODEL]}, scores={}
        )

    compare(answer_alone, batches, [deviations])
    return deviations.result().get(MODEL, {})


def answer_with_baselines(
    model: AutoEncoder | TaughtAutoEncoder,
    items: Items,
    uncertainty: Uncertainty | None,
) -> Callable[[tf.SparseTensor], Candidates]:
    """Returns what maps ratings to the answers of model and baselines.

    The teachers of a taught model are baselines too. The model ranks by its
    score if it has one, else by the predicted rating. The answers are a graph,
    which is traced once, whoever asks.

    Args:
        model: the trained model.
        items: the items, with the statistics of their training ratings.
        uncertainty: how far ratings lie from the model's predictions, if that
            is known.
    """
    baselines = {
        name: Biases(items.counts, items.means, centering)
        for name, centering in BASELINES.items()
    }
    popularity = Popularity(items.counts)

    @tf.function(
        input_signature=[tf.SparseTensorSpec([None, None], tf.float32)],
        autograph=False,
    )
    def answer(ratings: tf.SparseTensor) -> Candidates:
        predicted = {
            name: baseline(ratings) for name, baseline in baselines.items()
        }
        scores = {
            "popularity": popularity(ratings),
            "biases": predicted["biases"],
        }
        if isinstance(model, TaughtAutoEncoder):
            answers = model.answer(ratings)
            predicted[MODEL] = model.blend(answers.network, answers.teacher)
            scores[MODEL] = model.score(answers)
            if model.rating_teacher is not None:
                name = "bayesian_factorization"
                predicted[name] = scores[name] = answers.teacher
            if model.interest_teacher is not None:
                scores["ease"] = model.interest_teacher(ratings)
        else:
            predicted[MODEL] = scores[MODEL] = model(ratings)
        deviations = {}
        if uncertainty is not None:
            deviations[MODEL] = uncertainty(ratings, predicted[MODEL])
        return Candidates(predicted, scores, deviations)

    return answer


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
