"""Checks the documented results of the recipes on MovieLens-1M."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from data_prep.dataset.records import list_shards, parse_users
from data_prep.prepare import prepare
from data_prep.sources.registry import make_source
from data_prep.splits.registry import make_split
from trainer.job.paths import JobPaths
from trainer.job.record import load_job
from trainer.recipes import RECIPES
from trainer.training.train import train_and_evaluate

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def movielens(tmp_path_factory):
    data_dir = str(tmp_path_factory.mktemp("movielens"))
    prepare(make_source("movielens-1m"), make_split("user-time"), data_dir)
    return data_dir


def train(job_dir, data_dir, **changes):
    """Trains the recipe untaught and counts what it recommends.

    Returns:
        `metrics.json`, and the training ratings of each of the ten items that
        are recommended to some hundred users.
    """
    config = dataclasses.replace(RECIPES["untaught"], **changes)
    paths = JobPaths.resolve(str(job_dir), environ={})
    metrics = train_and_evaluate(
        config, data_dir, paths, tf.distribute.get_strategy()
    )
    job = load_job(paths)
    users = tf.data.TFRecordDataset(list_shards(data_dir)).batch(300)
    ratings = parse_users(next(iter(users)), job.data.num_items, ["train"])[
        "train"
    ]
    predictions = job.model(ratings).numpy()
    predictions[tuple(ratings.indices.numpy().T)] = -np.inf
    best = np.argsort(-predictions, axis=1)[:, :10]
    return metrics, job.items.counts[best]


def test_the_untaught_beats_the_biases_and_recommends_what_people_know(
    tmp_path, movielens
):
    metrics, counts = train(tmp_path, movielens)
    biases = metrics["baselines"]["biases"]["rmse"]
    assert metrics["test"]["rmse"] < 0.96 * biases
    assert np.mean(counts < 10) < 0.05


def test_without_weight_decay_items_of_a_few_ratings_are_recommended(
    tmp_path, movielens
):
    metrics, counts = train(tmp_path, movielens, weight_decay=0.0)
    assert (
        metrics["test"]["rmse"]
        < 0.97 * (metrics["baselines"]["biases"]["rmse"])
    )
    assert np.mean(counts < 10) > 0.5
