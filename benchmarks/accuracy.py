"""Measures recipes on prepared data: seeds, spread and intervals.

    python -m benchmarks.accuracy --data_dir DIR --work_dir DIR \
        [--recipes untaught,quickstart,recommended] [--seeds 0,1,2]

Trains a job per recipe and seed in the work directory; what is there already
is not trained again. Prints JSON lines: per job the validation and test RMSE,
the ranking metrics of the test users and the seconds of the job; per recipe
the mean and the standard deviation over the seeds, and the 95 % interval of
the difference in test RMSE to the first recipe and to the biases, by a paired
bootstrap over users, for the first seed.
"""

import json
import os
import statistics
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")

import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from data_prep.dataset.files import read_json
from data_prep.dataset.manifest import read_manifest
from data_prep.dataset.records import list_shards
from trainer.evaluation.baselines import Biases
from trainer.input.input_pipeline import evaluation_batches
from trainer.job.paths import JobPaths
from trainer.job.record import load_job
from trainer.model.rating_model import RatingModel
from trainer.recipes import make_config
from trainer.training.train import train_and_evaluate

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Prepared data.")
_WORK_DIR = flags.DEFINE_string("work_dir", None, "Directory of the jobs.")
_RECIPES = flags.DEFINE_list(
    "recipes", ["untaught", "quickstart", "recommended"], "Recipes."
)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds.")

#: Resamples of the bootstrap.
_RESAMPLES = 2000

_RANKING = ("liked/ndcg@10", "all/ndcg@10", "top_share", "coverage")


def train(recipe: str, seed: int) -> tuple[JobPaths, dict[str, float]]:
    """Trains a job if it is not there; returns its figures."""
    paths = JobPaths.resolve(
        os.path.join(_WORK_DIR.value, f"{recipe}-{seed}"), environ={}
    )
    path = os.path.join(paths.job_dir, "figures.json")
    if os.path.exists(path):
        return paths, read_json(path)
    start = time.monotonic()
    manifest = read_manifest(_DATA_DIR.value)
    metrics = train_and_evaluate(
        make_config(
            recipe, {"seed": seed}, manifest.num_users, manifest.num_items
        ),
        _DATA_DIR.value,
        paths,
        tf.distribute.get_strategy(),
    )
    figures = {
        "validation_rmse": metrics["validation"]["rmse"],
        "test_rmse": metrics["test"]["rmse"],
        "test_mae": metrics["test"]["mae"],
        **{name: metrics["ranking"]["network"][name] for name in _RANKING},
        **{
            f"{name}_test_rmse": row["rmse"]
            for name, row in metrics["baselines"].items()
        },
        **metrics.get("blend_weights", {}),
        "seconds": time.monotonic() - start,
    }
    figures = {name: round(value, 5) for name, value in figures.items()}
    with open(path, "w") as file:
        json.dump(figures, file)
    return paths, figures


def sum_squares(model: RatingModel) -> tuple[np.ndarray, np.ndarray]:
    """Sums each test user's squared errors, and counts their ratings."""
    num_items = read_manifest(_DATA_DIR.value).num_items
    batches = evaluation_batches(
        list_shards(_DATA_DIR.value), num_items, 128, "test"
    )

    @tf.function(input_signature=[batches.element_spec])
    def sum_batch(batch: Any) -> tuple[tf.Tensor, tf.Tensor]:
        ratings, held_out = batch
        errors = tf.gather_nd(model(ratings), held_out.indices)
        errors -= held_out.values
        users, num_users = held_out.indices[:, 0], ratings.dense_shape[0]
        return (
            tf.math.unsorted_segment_sum(errors**2, users, num_users),
            tf.math.unsorted_segment_sum(
                tf.ones_like(errors), users, num_users
            ),
        )

    sums = [
        [tensor.numpy() for tensor in sum_batch(batch)] for batch in batches
    ]
    squares, counts = zip(*sums, strict=True)
    return np.concatenate(squares), np.concatenate(counts)


def interval(
    squares: np.ndarray, others: np.ndarray, counts: np.ndarray
) -> list[float]:
    """Bootstraps the difference of two RMSEs over users, 95 %."""
    rng = np.random.default_rng(0)
    num_users = len(counts)
    differences = []
    for _ in range(_RESAMPLES):
        weights = np.bincount(
            rng.integers(num_users, size=num_users), minlength=num_users
        )
        total = weights @ counts
        differences.append(
            np.sqrt(weights @ squares / total)
            - np.sqrt(weights @ others / total)
        )
    return [
        round(float(q), 4) for q in np.quantile(differences, (0.025, 0.975))
    ]


def report(line: dict[str, Any]) -> None:
    """Prints a line of the benchmark."""
    print(json.dumps({"benchmark": "accuracy", **line}), flush=True)


def main(_: list[str]) -> None:
    """Trains and measures all jobs."""
    logging.set_verbosity(logging.INFO)
    squares: dict[str, np.ndarray] = {}
    counts = np.zeros(0)
    for recipe in _RECIPES.value:
        rows = []
        for seed in map(int, _SEEDS.value):
            paths, figures = train(recipe, seed)
            report({"recipe": recipe, "seed": seed, **figures})
            rows.append(figures)
            if recipe not in squares:
                job = load_job(paths)
                squares[recipe], counts = sum_squares(job.model)
                biases = Biases(job.items.counts, job.items.means, "user_item")
                squares.setdefault("biases", sum_squares(biases)[0])
        report(
            {
                "recipe": recipe,
                "mean": {
                    name: round(statistics.mean(row[name] for row in rows), 5)
                    for name in rows[0]
                },
                "deviation": {
                    name: round(statistics.pstdev(row[name] for row in rows), 5)
                    for name in rows[0]
                },
                "difference": {
                    other: interval(squares[recipe], squares[other], counts)
                    for other in dict.fromkeys([_RECIPES.value[0], "biases"])
                    if other != recipe
                },
            }
        )


if __name__ == "__main__":
    flags.mark_flags_as_required(["data_dir", "work_dir"])
    app.run(main)
