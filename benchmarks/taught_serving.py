"""Measures what teachers cost when a model is served: one user at a time.

    python -m benchmarks.taught_serving [--num_items 17768] [--turns 5]

Exports, with random weights, the network of the paper, the taught networks of
the recipes `quickstart` and `recommended`, each of the taught ones also ranked
by interest alone, and asks each for recommendations in turns, through the
loader of the local server. Prints JSON lines: the median latency of each in
milliseconds, its size on disk, and a summary with the ratios to the first.
"""

import json
import os
import statistics
import tempfile
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks.recommend_signature import make_requests, write_version
from serving import protocol
from serving.local_server.model import ModelVersion
from trainer.model.autoencoder import AutoEncoder
from trainer.model.taught_autoencoder import TaughtAutoEncoder
from trainer.recipes import RECIPES
from trainer.teachers.ridge_encoders import RidgeEncoders

_NUM_ITEMS = flags.DEFINE_integer("num_items", 17_768, "Catalog size.")
_TURNS = flags.DEFINE_integer("turns", 5, "Turns.", lower_bound=1)
_REQUESTS = flags.DEFINE_integer(
    "requests", 100, "Requests per model and turn.", lower_bound=1
)

#: Ratings of a user, on a scale of 1 to 5.
_NUM_RATED = 100

#: Items in an answer.
_TOP_K = 100


def make_taught_model(recipe: str) -> TaughtAutoEncoder:
    """Makes the model of a recipe, with weights of a usual size."""
    config = RECIPES[recipe]
    num_items = _NUM_ITEMS.value
    rng = np.random.default_rng(2017)
    encoders = RidgeEncoders(
        num_items, config.teacher_samples, config.teacher_rank, 5, 100.0
    )
    for weight in (encoders.item_factors, encoders.implicit):
        weight.assign(rng.normal(0, 0.2, weight.shape))
    encoders.prior_precision.assign(np.full(encoders.prior_mean.shape, 9.0))
    encoders.noise_precision.assign(np.ones(config.teacher_samples))
    encoders.thresholds.assign(
        np.tile([-2.0, -1.0, 0.5, 2.0], (config.teacher_samples, 1))
    )
    encoders.values.assign(np.arange(1.0, 6))
    model = TaughtAutoEncoder(
        num_items, encoders, None, hidden_units=config.hidden_units
    )
    model.network_weight.assign(0.2)
    model.rating_weight.assign(0.5)
    return model


def main(_: list[str]) -> None:
    """Exports the models and asks them in turns."""
    keras.utils.set_random_seed(2017)
    models: dict[str, tuple[Any, str]] = {
        "paper": (AutoEncoder(_NUM_ITEMS.value, (512, 512, 1024)), "rating")
    }
    for recipe in ("quickstart", "recommended"):
        model = make_taught_model(recipe)
        models[recipe] = model, "score"
        models[f"{recipe}, by interest"] = model, "interest"
    users = make_requests(_REQUESTS.value, _NUM_ITEMS.value, _NUM_RATED)
    latencies: dict[str, list[float]] = {name: [] for name in models}
    with tempfile.TemporaryDirectory() as directory:
        versions = {}
        for name, (model, rank_by) in models.items():
            path = os.path.join(directory, name)
            write_version(
                path,
                model,
                num_items=_NUM_ITEMS.value,
                num_rated=_NUM_RATED,
                top_k=_TOP_K,
                rank_by=rank_by,
            )
            versions[name] = ModelVersion(path)
        outputs = sorted(
            versions["paper"].signature_defs[protocol.RECOMMEND].outputs
        )
        for turn in range(_TURNS.value + 1):
            for name, version in versions.items():
                times = []
                for user in users:
                    start = time.perf_counter()
                    version.run(protocol.RECOMMEND, user, outputs)
                    times.append(1000 * (time.perf_counter() - start))
                # The first turn warms up.
                if turn:
                    latencies[name].append(statistics.median(times))
        for name, medians in latencies.items():
            size = sum(
                os.path.getsize(os.path.join(parent, file))
                for parent, _, files in tf.io.gfile.walk(
                    os.path.join(directory, name)
                )
                for file in files
            )
            print(
                json.dumps(
                    {
                        "benchmark": "taught_serving",
                        "model": name,
                        "p50_ms": round(statistics.median(medians), 2),
                        "megabytes": round(size / 1e6, 1),
                    }
                ),
                flush=True,
            )
    print(
        json.dumps(
            {
                "benchmark": "taught_serving",
                "summary": "p50 over that of the paper's network",
                **{
                    name: round(
                        statistics.median(
                            ours / paper
                            for ours, paper in zip(
                                medians, latencies["paper"], strict=True
                            )
                        ),
                        2,
                    )
                    for name, medians in latencies.items()
                },
            }
        )
    )


if __name__ == "__main__":
    app.run(main)
