"""Fits and measures one model, in a process of its own."""

import dataclasses
import resource
import sys
from typing import Any

import tensorflow as tf

from trainer.compare.answers import MODEL, Answer, measure
from trainer.compare.fit_data import FitData, read_batches
from trainer.compare.models import MODELS
from trainer.compare.tuning import Choice, tune
from trainer.evaluation.cold_ratings import include_cold_ratings
from trainer.evaluation.intervals import PairedBootstrap
from trainer.evaluation.ranking import Rankings
from trainer.evaluation.rating_errors import Errors
from trainer.input.job_data import JobData


@dataclasses.dataclass(frozen=True)
class Fit:
    """A fit of a model, the unit of work of a comparison.

    Attributes:
        name: a key of `MODELS`.
        seed: its seed.
    """

    name: str
    seed: int


def fit_and_measure(
    fit: Fit, data_dir: str, work_dir: str, choice: Choice | None
) -> dict[str, Any]:
    """Fits a model, tuned on validation ratings, and measures it on test ones.

    The test ratings are read once, when everything is chosen.

    Args:
        fit: what to fit.
        data_dir: the prepared data.
        work_dir: where the fit keeps what it needs to go on after a stop; it
            is there.
        choice: the settings; `None` tunes them.

    Returns:
        The record of the fit: its `settings` and `num_epochs`, the
        `validation` metric that chose them, the `trials` among which,
        `seconds` of a fit with these settings and `tuning_seconds` of all, both
        `None` if it goes on with one that was stopped, `peak_bytes` of memory,
        and of the test ratings the metrics, `test`,
        and `resampled`, as `PairedBootstrap.resampled` has them.
    """
    model = MODELS[fit.name]
    is_resumed = bool(tf.io.gfile.listdir(work_dir))
    data = FitData(data_dir, work_dir)
    tuned = tune(model, data, fit.seed, choice)
    return {
        "model": fit.name,
        "seed": fit.seed,
        "data_fingerprint": data.job_data.manifest.fingerprint,
        "settings": dict(tuned.choice.settings),
        "num_epochs": tuned.choice.num_epochs,
        "validation": {model.metric: tuned.validation},
        "trials": tuned.trials,
        "seconds": None if is_resumed else tuned.seconds,
        "tuning_seconds": None if is_resumed else tuned.tuning_seconds,
        "peak_bytes": _peak_bytes(),
        **measure_test(tuned.answer, data.job_data),
    }


def measure_test(answer: Answer, data: JobData) -> dict[str, Any]:
    """Measures a model on the test ratings, in one pass.

    Args:
        answer: the model, with all that was chosen.
        data: the prepared data.

    Returns:
        `test` and `resampled`, as `fit_and_measure` says. `rmse_with_cold`,
        `mae_with_cold` and `num_ratings_with_cold` of `test` are over all test
        ratings, those of items without training ratings included; data that a
        version up to 0.1 prepared do not have these.
    """
    distribution = data.distribution
    errors = Errors(distribution.range)
    rankings = Rankings(data.items.counts, distribution.liked_from)
    bootstrap = PairedBootstrap(data.num_items, distribution.liked_from)
    measure(answer, read_batches(data, "test"), [errors, rankings, bootstrap])
    test = errors.result().get(MODEL, {})
    if test and "test" in data.manifest.num_cold_ratings:
        with_cold = include_cold_ratings(test, data.items, data.cold("test"))
        test |= {f"{name}_with_cold": with_cold[name] for name in with_cold}
    return {
        "test": test | rankings.result()[MODEL],
        "resampled": {
            metric: by_name[MODEL].tolist()
            for metric, by_name in bootstrap.resampled().items()
            if by_name
        },
    }


def _peak_bytes() -> int:
    """Returns the most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes, but on macOS.
    return peak if sys.platform == "darwin" else peak * 1024
