"""Generates ratings with a known answer, and data and jobs of them."""

import csv
import dataclasses
import os
import shutil

import numpy as np
import tensorflow as tf

from data_prep.dataset.files import digest_file
from data_prep.dataset.manifest import read_manifest, write_manifest
from data_prep.dataset.records import list_shards
from data_prep.prepare import prepare
from data_prep.sources.registry import make_source
from data_prep.splits.registry import make_split
from trainer.job.paths import JobPaths
from trainer.recipes import RECIPES
from trainer.training.train import train_and_evaluate


def write_ratings(
    path,
    num_users=200,
    num_items=40,
    ratings_per_user=20,
    seed=0,
):
    """Writes low-rank ratings on a scale from 0 to 10, zeros included.

    A rating is 5 plus offsets of user and item plus the product of one factor
    of each, rounded: the offsets alone cannot explain it, a model of rank one
    can.
    """
    rng = np.random.default_rng(seed)
    user_factors = rng.normal(0, 1.5, num_users)
    item_factors = rng.choice([-1.5, 1.5], num_items)
    item_offsets = rng.normal(0, 0.5, num_items)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "rating", "timestamp"])
        for user in range(num_users):
            items = rng.permutation(num_items)[:ratings_per_user]
            for second, item in enumerate(items):
                rating = 5 + item_offsets[item]
                rating += user_factors[user] * item_factors[item]
                writer.writerow(
                    [
                        f"user-{user}",
                        f"item-{item}",
                        int(np.clip(np.rint(rating), 0, 10)),
                        1_000_000_000 + second,
                    ]
                )


def prepare_synthetic(directory, **arguments):
    """Writes and prepares ratings; returns the directory of the data."""
    ratings = directory / "ratings.csv"
    write_ratings(ratings, **arguments)
    data_dir = directory / "data"
    prepare(
        make_source("files", ratings=str(ratings)),
        make_split("user-time"),
        str(data_dir),
        num_shards=3,
    )
    return str(data_dir)


def reverse_test_ratings(data_dir, directory):
    """Copies data with every test rating turned round, on the scale 0 to 10.

    Returns the directory of the copy.
    """
    shutil.copytree(data_dir, directory)
    manifest = read_manifest(str(directory))
    digests = dict(manifest.digests)
    for shard in list_shards(str(directory)):
        users = [
            tf.train.Example.FromString(record)
            for record in tf.data.TFRecordDataset(shard).as_numpy_iterator()
        ]
        with tf.io.TFRecordWriter(shard) as writer:
            for user in users:
                values = user.features.feature["test_rating"].float_list.value
                values[:] = [10 - value for value in values]
                writer.write(user.SerializeToString(deterministic=True))
        digests[os.path.relpath(shard, directory)] = digest_file(shard)
    write_manifest(
        dataclasses.replace(manifest, digests=digests), str(directory)
    )
    return str(directory)


#: A taught model that trains in seconds.
SMALL_TAUGHT = dataclasses.replace(
    RECIPES["recommended"],
    hidden_units=(16, 8),
    teacher_rank=2,
    teacher_sweeps=20,
    teacher_samples=8,
    batch_size=40,
    num_epochs=3,
)


def train_small_job(job_dir, data_dir):
    """Trains a small model for a few epochs; returns the job's paths."""
    config = dataclasses.replace(
        RECIPES["untaught"], hidden_units=(16, 8), batch_size=40, num_epochs=3
    )
    paths = JobPaths.resolve(str(job_dir), environ={})
    train_and_evaluate(config, data_dir, paths, tf.distribute.get_strategy())
    return paths
