"""The last step of a job: measures what it trained, and writes it down."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from data_prep.dataset.files import write_json
from trainer.config import Config
from trainer.evaluation.cold_ratings import include_cold_ratings
from trainer.evaluation.evaluator import Evaluator
from trainer.evaluation.outcomes import Candidates, Measure
from trainer.input.job_data import JobData
from trainer.job.checkpoints import Checkpoints, restore_best_weights
from trainer.job.fitted_uncertainty import fit_uncertainty
from trainer.job.keras_files import save_model
from trainer.job.metrics import (
    MODEL,
    answer_with_baselines,
    choose_blend_weights,
    measure_deviations,
    measure_test,
)
from trainer.job.paths import JobPaths
from trainer.model.autoencoder import AutoEncoder
from trainer.model.taught_autoencoder import TaughtAutoEncoder
from trainer.report.people import ExtremeUsers
from trainer.report.report import write_report
from trainer.training.tensorboard import write_projector, write_test_scalars
from trainer.training.workers import Workers


def choose_weights(
    model: AutoEncoder | TaughtAutoEncoder,
    checkpoints: Checkpoints,
    data: JobData,
    paths: JobPaths,
) -> dict[str, float]:
    """Restores the best weights, and chooses how a taught model mixes answers.

    Validation ratings choose.

    Args:
        model: the model; it has the best weights afterwards.
        checkpoints: the checkpoints of the job.
        data: its data.
        paths: its paths.

    Returns:
        What `job_metrics.choose_blend_weights` does.
    """
    restore_best_weights(model, paths)
    saved = _mixing_weights(model)
    blend_weights = choose_blend_weights(
        model,
        data.items,
        data.distribution.liked_from,
        data.held_out("validation"),
    )
    if _mixing_weights(model) != saved:
        checkpoints.save_best_again()
    return blend_weights


def measure_and_report(
    model: AutoEncoder | TaughtAutoEncoder,
    checkpoints: Checkpoints,
    evaluate: Evaluator,
    config: Config,
    data: JobData,
    paths: JobPaths,
    workers: Workers,
) -> dict[str, Any]:
    """Measures the best weights of a job, and writes metrics and report.

    Validation ratings choose how a taught model mixes its answers, and how
    uncertain these are; the test ratings are read once, for what was chosen
    and the baselines.

    Args:
        model: the model; it has the best weights afterwards.
        checkpoints: the checkpoints of the job.
        evaluate: evaluates the model.
        config: the settings of the job.
        data: its data.
        paths: its paths.
        workers: the processes that train it, all of which call this.

    Returns:
        The content of `metrics.json`, as `train.train_and_evaluate` says.
    """
    logging.info("Evaluating epoch %d, the best.", checkpoints.best_epoch)
    blend_weights = choose_weights(model, checkpoints, data, paths)
    uncertainty = fit_uncertainty(model, data)
    if uncertainty is not None and workers.is_chief:
        save_model(uncertainty, paths.uncertainty_file, "the uncertainty")
    extremes = ExtremeUsers(MODEL)
    answer = answer_with_baselines(model, data.items, uncertainty)
    metrics = {
        "best_epoch": checkpoints.best_epoch,
        **measure_held_out(answer, evaluate, data, [extremes]),
        **({"blend_weights": blend_weights} if blend_weights else {}),
    }
    if workers.is_chief:
        write_json(paths.metrics_file, metrics)
        write_test_scalars(metrics, paths.log_dir)
        write_projector(model, data.items, paths.log_dir)
        write_report(
            paths,
            config,
            data.data_dir,
            data.items,
            metrics,
            extremes,
            lambda ratings: answer(ratings).scores[MODEL],
            data.held_out("test"),
        )
    return metrics


def measure_held_out(
    answer: Callable[[tf.SparseTensor], Candidates],
    evaluate: Evaluator,
    data: JobData,
    measures: Sequence[Measure] = (),
) -> dict[str, Any]:
    """Measures a trained model on the held-out ratings of prepared data.

    Args:
        answer: what `answer_with_baselines` returns for the model.
        evaluate: evaluates the model.
        data: the data.
        measures: what else is measured of the test ratings.

    Returns:
        The content of `metrics.json`, as `train.train_and_evaluate` says, but
        for `best_epoch` and `blend_weights`.
    """
    metrics = {
        "validation": evaluate(data.held_out("validation")),
        "liked_from": data.distribution.liked_from,
        **measure_test(
            answer,
            data.items,
            data.distribution,
            data.held_out("test"),
            measures,
        ),
    }
    if "uncertainty" in metrics:
        metrics["uncertainty"]["validation"] = measure_deviations(
            answer, data.distribution.range, data.held_out("validation")
        )
    for group in data.manifest.num_cold_ratings:
        metrics[group]["all"] = include_cold_ratings(
            metrics[group], data.items, data.cold(group)
        )
    return metrics


def _mixing_weights(model: AutoEncoder | TaughtAutoEncoder) -> list[float]:
    """Lists the weights that a taught model's answers are mixed with."""
    if not isinstance(model, TaughtAutoEncoder):
        return []
    # Under a strategy a variable is no number.
    return [
        float(tf.convert_to_tensor(weight))
        for weight in (model.network_weight, model.rating_weight)
    ]
