"""Runs a comparison: every fit once, then the summary of all."""

import concurrent.futures
import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import read_json, write_json
from trainer.compare.fitting import Fit, fit_and_measure
from trainer.compare.folds import Fold, read_folds
from trainer.compare.models import MODELS
from trainer.compare.report import write_report
from trainer.compare.summary import summarize
from trainer.compare.tuning import Choice
from trainer.report.reproduction import list_versions
from trainer.training.child_process import prepare_process

#: Seconds between two lines while a fit runs.
_SECONDS_BETWEEN_LINES = 30.0


def choose_models(names: Sequence[str]) -> list[str]:
    """Lists the models that are named and installed, in the order of `MODELS`.

    Args:
        names: keys of `MODELS`, or "all" alone.

    Raises:
        UserError: a name is unknown, or none of the models is installed.
    """
    wanted = list(MODELS) if list(names) == ["all"] else list(names)
    for name in wanted:
        if name not in MODELS:
            raise UserError(
                f"`models` must be `all` or some of {', '.join(MODELS)},"
                f" separated by commas. Received: {name!r}"
            )
    installed = []
    for name, model in MODELS.items():
        if name not in wanted:
            continue
        if model.is_installed:
            installed.append(name)
        else:
            logging.warning(
                "%s is skipped: it needs `%s`. pip install"
                " 'deep-recommender[compare]' brings it.",
                name,
                model.library,
            )
    if not installed:
        raise UserError(
            "none of the models is installed. pip install"
            " 'deep-recommender[compare]' brings the libraries."
        )
    return installed


def compare_models(
    data_dirs: Sequence[str],
    output_dir: str,
    names: Sequence[str],
    num_seeds: int,
    reference: str | None = None,
) -> dict[str, Any]:
    """Fits and measures models, and writes `compare.json` and `compare.html`.

    Each fit is recorded once it is measured. A comparison that is started
    again goes on with the next one, and one of more models, seeds or data fits
    these alone. The first seed of a model tunes it, the others take its
    settings. Each data set has a tuning of its own: the validation ratings of
    one fold are test ratings of another.

    Args:
        data_dirs: prepared data; models are fitted to each.
        output_dir: where the records go; it may hold those of an earlier
            comparison of the same data.
        names: keys of `MODELS`.
        num_seeds: seeds per model; one suffices where none matters.
        reference: the model that the others are compared with; `None` takes
            the best in each metric.

    Returns:
        The content of `compare.json`: what `summarize` returns, `failures`,
        why a model was left out, `versions` and `data_fingerprint`, or of
        several data sets `data_fingerprints`, by their names.

    Raises:
        UserError: `num_seeds` or `reference` is wrong, the data do not belong
            together, as `read_folds` says, the output directory holds fits to
            other data, or no model could be fitted.
    """
    if num_seeds < 1:
        raise UserError(
            f"`seeds` must be at least 1. Received: seeds={num_seeds}"
        )
    if reference is not None and reference not in names:
        raise UserError(
            f"`reference` must be one of the models, {', '.join(names)}."
            f" Received: reference={reference}"
        )
    folds = read_folds(data_dirs, output_dir)
    records, failures = _fit_all(folds, names, num_seeds)
    if failures.keys() == set(names):
        raise UserError(
            "none of the models could be fitted:"
            f" {'; '.join(failures.values())}"
        )
    fingerprints = {fold.name: fold.manifest.fingerprint for fold in folds}
    summary = {
        **summarize(records, None if reference in failures else reference),
        "failures": failures,
        **(
            {"data_fingerprint": folds[0].manifest.fingerprint}
            if len(folds) == 1
            else {"data_fingerprints": fingerprints}
        ),
        "versions": list_versions(("cornac", "scikit-surprise")),
    }
    write_json(os.path.join(output_dir, "compare.json"), summary)
    write_report(os.path.join(output_dir, "compare.html"), summary, folds)
    return summary


def _fit_all(
    folds: Sequence[Fold], names: Sequence[str], num_seeds: int
) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Runs all fits that are not recorded yet.

    Returns:
        The records by the names of the folds, without the models that could
        not be fitted to one of them, and why they could not, by model.
    """
    fits = [
        (fold, Fit(name, seed))
        for name in names
        for fold in folds
        for seed in range(num_seeds if MODELS[name].is_random else 1)
    ]
    records: dict[tuple[str, Fit], Any] = {}
    failures: dict[str, str] = {}
    start = time.monotonic()
    for place, (fold, fit) in enumerate(fits, start=1):
        if fit.name in failures:
            continue
        where = f" on {fold.name}" if len(folds) > 1 else ""
        record = _read_record(fold, fit)
        if record is None:
            logging.info(
                "%d of %d: fitting %s%s, seed %d; %s so far.",
                place,
                len(fits),
                fit.name,
                where,
                fit.seed,
                _duration(time.monotonic() - start),
            )
            choice = _read_choice(records.get((fold.name, Fit(fit.name, 0))))
            try:
                record = _run(fit, fold, choice)
            except UserError as error:
                reason = f"{fold.name}: {error}" if where else str(error)
                logging.warning("%s is left out: %s", fit.name, reason)
                failures[fit.name] = reason
                continue
            write_json(_record_path(fold, fit), record)
        records[fold.name, fit] = record
    by_fold: dict[str, list[Any]] = {fold.name: [] for fold in folds}
    for (name, fit), record in records.items():
        if fit.name not in failures:
            by_fold[name].append(record)
    return by_fold, failures


def _run(fit: Fit, fold: Fold, choice: Choice | None) -> dict[str, Any]:
    """Runs a fit in a process of its own, whose peak memory is its own."""
    work_dir = os.path.join(fold.output_dir, fit.name, f"seed-{fit.seed}")
    tf.io.gfile.makedirs(work_dir)
    start = time.monotonic()
    with concurrent.futures.ProcessPoolExecutor(
        max_workers=1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=prepare_process,
    ) as processes:
        future = processes.submit(
            fit_and_measure, fit, fold.data_dir, work_dir, choice
        )
        while True:
            try:
                return future.result(_SECONDS_BETWEEN_LINES)
            except BrokenProcessPool as error:
                raise UserError(
                    f"the process that fits {fit.name} was killed, which is"
                    " what happens when there is too little memory."
                ) from error
            except TimeoutError:
                logging.info(
                    "Fitting %s, seed %d, for %s.",
                    fit.name,
                    fit.seed,
                    _duration(time.monotonic() - start),
                )


def _read_record(fold: Fold, fit: Fit) -> Any:
    """Reads the record of a finished fit; `None` if there is none."""
    path = _record_path(fold, fit)
    if not tf.io.gfile.exists(path):
        return None
    record = read_json(path)
    if record["data_fingerprint"] != fold.manifest.fingerprint:
        raise UserError(
            f"{fold.output_dir} holds a comparison on other data. Give another"
            " --output-dir."
        )
    return record


def _record_path(fold: Fold, fit: Fit) -> str:
    return os.path.join(fold.output_dir, fit.name, f"seed-{fit.seed}.json")


def _read_choice(record: Mapping[str, Any] | None) -> Choice | None:
    """Returns what was chosen for the first seed of a model."""
    if record is None:
        return None
    return Choice(record["settings"], record["num_epochs"])


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
