"""Runs the paper's experiments again, on other data than Netflix'.

    python -m benchmarks.paper_claims --splits DIR,DIR --work_dir DIR \
        [--claims depth,dropout] [--seeds 0,1,2] [--num_epochs 30]

`--splits` are prepared data, for example MovieLens-1M by `user-time` and by
`random`. Each claim of the paper is a line of settings that differ in one or
two respects:

    depth       one to six layers of 128 units (section 3.3)
    activation  with and without it on the output layer (section 3.2). The
                authors' code had it there in all their experiments, so those
                with sigmoid and tanh say nothing of these
                (https://github.com/NVIDIA/DeepRecommender/pull/4).
    dropout     of the code, 0 to 0.9 (section 3.4)
    tied        tied and untied weights of one and of three layers (section
                3.3)
    refeeds     learning rate by number of dense re-feeding updates (section
                3.5)
    noise       of the re-fed output (an option of the authors' code)

Each setting is trained on ratings alone, as in the paper; those that a taught
autoencoder has as well also towards the rating teacher of the recipe
`quickstart`, on parts of histories. The epoch with the lowest validation RMSE
is kept and measured on test ratings. Prints a JSON line per model, then one
per setting with means and deviations over the seeds, and draws a picture per
claim into `WORK_DIR/plots`. Each finished model is a file in `WORK_DIR/rows`:
a stopped command goes on after the last.

Reference:
    Kuchaiev and Ginsburg, 2017 (https://arxiv.org/abs/1708.01715).
"""

import dataclasses
import json
import math
import os
import statistics
import time
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf
from absl import app, flags, logging
from matplotlib.figure import Figure

from benchmarks.paper_settings import BASES, CLAIMS, list_settings
from data_prep.dataset.files import read_json, write_json
from trainer.config import Config
from trainer.evaluation.evaluator import Evaluator
from trainer.input.input_pipeline import training_batches
from trainer.input.job_data import JobData
from trainer.job.fitted_teachers import fit_teachers
from trainer.job.paths import JobPaths
from trainer.training.train import create_model

_SPLITS = flags.DEFINE_list("splits", None, "Directories of prepared data.")
_WORK_DIR = flags.DEFINE_string("work_dir", None, "Rows, plots, teachers.")
_CLAIMS = flags.DEFINE_list("claims", None, "Claims. Default: all.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds.")
_NUM_EPOCHS = flags.DEFINE_integer(
    "num_epochs", None, "Epochs of each model. Default: as its recipe has."
)
_TEACHES = flags.DEFINE_boolean(
    "teaches", True, "Whether settings are tried with a rating teacher, too."
)


@flags.validator("claims", f"must be among {', '.join(CLAIMS)}")
def _are_known(claims: list[str] | None) -> bool:
    return set(claims or []) <= CLAIMS.keys()


@flags.validator("splits", "must be directories of different names")
def _are_different(directories: list[str] | None) -> bool:
    names = [_name_split(directory) for directory in directories or []]
    return len(set(names)) == len(names)


def _name_split(data_dir: str) -> str:
    return os.path.basename(os.path.normpath(data_dir))


def train_and_measure(
    config: Config, data: JobData, teachers: Mapping[str, Any]
) -> dict[str, Any]:
    """Trains a model.

    Returns:
        `validation`, the RMSE after each epoch; of the epoch with the lowest,
        `best_epoch`, `validation_rmse` and `test_rmse`, `None` for a model
        that diverged before its first; `diverged` and `seconds`.
    """
    keras.utils.set_random_seed(config.seed)
    start = time.monotonic()
    model = create_model(
        config, data.items, data.distribution.deviation, teachers
    )
    evaluate = Evaluator(model, tf.distribute.get_strategy())
    step = tf.function(model.train_step, reduce_retracing=True)
    validation: list[float] = []
    best_rmse, best_weights, diverged = math.inf, [], False
    for epoch in range(1, config.num_epochs + 1):
        model.optimizer.learning_rate = config.learning_rate_at(epoch - 1)
        for batch in training_batches(
            data.shards, data.num_items, config.batch_size, config.seed, epoch
        ):
            step(batch)
        rmse = evaluate(data.held_out("validation"))["rmse"]
        diverged = not math.isfinite(rmse)
        if diverged:
            break
        logging.info("epoch %d: validation RMSE %.4f", epoch, rmse)
        validation.append(round(rmse, 5))
        if rmse < best_rmse:
            best_rmse = rmse
            best_weights = [v.numpy() for v in model.trainable_variables]
    figures: dict[str, Any] = {
        "validation": validation,
        "best_epoch": None,
        "validation_rmse": None,
        "test_rmse": None,
        "diverged": diverged,
    }
    if validation:
        for variable, value in zip(
            model.trainable_variables, best_weights, strict=True
        ):
            variable.assign(value)
        test = evaluate(data.held_out("test"))["rmse"]
        figures["best_epoch"] = 1 + validation.index(min(validation))
        figures["validation_rmse"] = round(best_rmse, 5)
        figures["test_rmse"] = round(test, 5)
    return {**figures, "seconds": round(time.monotonic() - start, 1)}


def fit_rating_teacher(
    config: Config, split: str, data: JobData
) -> dict[str, Any]:
    """Fits the rating teacher of a split and seed, or loads it."""
    paths = JobPaths.resolve(
        os.path.join(_WORK_DIR.value, "teachers", f"{split}-{config.seed}"),
        environ={},
    )
    return {
        "rating_teacher": fit_teachers(config, paths, data)["rating_teacher"]
    }


def run_split(data_dir: str) -> list[dict[str, Any]]:
    """Makes the rows of a split, of which those at hand are read."""
    split = _name_split(data_dir)
    data = {
        batch_size: JobData.read(data_dir, batch_size)
        for batch_size in {config.batch_size for config in BASES.values()}
    }
    rows = []
    for seed in map(int, _SEEDS.value):
        for claim, setting, base, settings in list_settings(
            _CLAIMS.value or CLAIMS, _NUM_EPOCHS.value, _TEACHES.value
        ):
            config = dataclasses.replace(settings, seed=seed)
            name = (
                f"{split}, {claim}, {setting}, {base}, {config.num_epochs}"
                f" epochs, seed {seed}.json"
            )
            path = os.path.join(_WORK_DIR.value, "rows", name)
            if not os.path.exists(path):
                logging.info("%s", name)
                of_batches = data[config.batch_size]
                teachers = (
                    fit_rating_teacher(config, split, of_batches)
                    if base == "teacher"
                    else {}
                )
                figures = train_and_measure(config, of_batches, teachers)
                row = {
                    "benchmark": "paper_claims",
                    "split": split,
                    "claim": claim,
                    "setting": setting,
                    "learns_from": base,
                    "seed": seed,
                    **figures,
                }
                write_json(path, row)
                print(json.dumps(row), flush=True)
            rows.append(read_json(path))
    return rows


def summarize(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Computes means and deviations over the seeds, a line per setting."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = row["split"], row["claim"], row["setting"], row["learns_from"]
        groups.setdefault(key, []).append(row)
    lines = []
    for (split, claim, setting, base), group in groups.items():
        line: dict[str, Any] = {
            "benchmark": "paper_claims_summary",
            "split": split,
            "claim": claim,
            "setting": setting,
            "learns_from": base,
            "num_seeds": len(group),
            "num_diverged": sum(row["diverged"] for row in group),
        }
        for name in ("validation_rmse", "test_rmse"):
            values = [row[name] for row in group if row[name] is not None]
            line[name] = [
                round(statistics.fmean(values), 5) if values else None,
                round(statistics.stdev(values), 5) if len(values) > 1 else None,
            ]
        lines.append(line)
    return lines


def draw(lines: list[dict[str, Any]], claim: str, path: str) -> None:
    """Draws the test RMSE of the settings of a claim as SVG.

    Args:
        lines: what `summarize` returns.
        claim: a key of `CLAIMS`.
        path: the file.
    """
    figure = Figure((7, 4), layout="constrained")
    axes = figure.add_subplot()
    of_claim = [line for line in lines if line["claim"] == claim]
    settings = list(CLAIMS[claim])
    for split, base in dict.fromkeys(
        (line["split"], line["learns_from"]) for line in of_claim
    ):
        points = [
            (settings.index(line["setting"]), *line["test_rmse"])
            for line in of_claim
            if (line["split"], line["learns_from"]) == (split, base)
            and line["test_rmse"][0] is not None
        ]
        if points:
            places, means, deviations = zip(*points, strict=True)
            axes.errorbar(
                places,
                means,
                [deviation or 0.0 for deviation in deviations],
                fmt="o-",
                capsize=3,
                label=f"{split}, from {base}",
            )
    axes.set_xticks(range(len(settings)), settings, rotation=45, ha="right")
    axes.set_xlabel(claim)
    axes.set_ylabel("test RMSE")
    if of_claim:
        axes.legend()
    figure.savefig(path)


def main(_: list[str]) -> None:
    """Runs all settings, and draws them."""
    logging.set_verbosity(logging.INFO)
    for name in ("rows", "plots"):
        os.makedirs(os.path.join(_WORK_DIR.value, name), exist_ok=True)
    rows = [row for data_dir in _SPLITS.value for row in run_split(data_dir)]
    lines = summarize(rows)
    for line in lines:
        print(json.dumps(line))
    for claim in _CLAIMS.value or CLAIMS:
        path = os.path.join(_WORK_DIR.value, "plots", f"{claim}.svg")
        draw(lines, claim, path)


if __name__ == "__main__":
    flags.mark_flags_as_required(["splits", "work_dir"])
    app.run(main)
