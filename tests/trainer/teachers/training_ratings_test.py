import dataclasses
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from data_prep.dataset.errors import UserError
from data_prep.dataset.items import read_items
from data_prep.dataset.manifest import read_manifest, write_manifest
from data_prep.dataset.records import list_shards
from data_prep.dataset.schema import SUBSETS
from trainer.teachers.training_ratings import read_training_ratings


def test_ratings_are_those_of_the_manifest_and_the_vocabulary(synthetic_data):
    manifest = read_manifest(synthetic_data)
    items = read_items(synthetic_data)
    ratings = read_training_ratings(synthetic_data)
    assert ratings.num_users == manifest.num_users
    assert len(ratings.values) == manifest.num_ratings["train"]
    counts = np.bincount(ratings.items, minlength=manifest.num_items)
    np.testing.assert_array_equal(counts, items.counts)
    sums = np.bincount(ratings.items, ratings.values, manifest.num_items)
    np.testing.assert_allclose(sums / counts, items.means)


def test_rows_are_the_users_of_the_shards_in_order(synthetic_data):
    ratings = read_training_ratings(synthetic_data)
    users = tf.data.TFRecordDataset(list_shards(synthetic_data))
    for user, serialized in enumerate(users.as_numpy_iterator()):
        features = tf.train.Example.FromString(serialized).features.feature
        own = slice(*ratings.starts[user : user + 2])
        np.testing.assert_array_equal(
            ratings.items[own], features["item_index"].int64_list.value
        )
        np.testing.assert_array_equal(
            ratings.values[own], features["rating"].float_list.value
        )


def test_held_out_ratings_are_not_read(synthetic_data, tmp_path):
    """Data that lost its validation and test ratings reads the same."""
    stripped = str(tmp_path / "data")
    shutil.copytree(synthetic_data, stripped)
    for shard in list_shards(stripped):
        users = list(tf.data.TFRecordDataset(shard).as_numpy_iterator())
        os.remove(shard)
        with tf.io.TFRecordWriter(shard) as writer:
            for serialized in users:
                example = tf.train.Example.FromString(serialized)
                for group in ("validation", "test"):
                    for key in SUBSETS[group]:
                        del example.features.feature[key]
                writer.write(example.SerializeToString())
    whole, rest = map(read_training_ratings, (synthetic_data, stripped))
    np.testing.assert_array_equal(whole.starts, rest.starts)
    np.testing.assert_array_equal(whole.items, rest.items)
    np.testing.assert_array_equal(whole.values, rest.values)


@pytest.mark.parametrize(
    "change",
    [{"num_users": 199}, {"num_users": 201}, {"train": -1}, {"train": 1}],
)
def test_records_of_other_numbers_than_the_manifest_are_refused(
    synthetic_data, tmp_path, change
):
    data_dir = str(tmp_path / "data")
    shutil.copytree(synthetic_data, data_dir)
    manifest = read_manifest(data_dir)
    num_ratings = dict(manifest.num_ratings)
    num_ratings["train"] += change.get("train", 0)
    num_users = change.get("num_users", manifest.num_users)
    write_manifest(
        dataclasses.replace(
            manifest, num_users=num_users, num_ratings=num_ratings
        ),
        data_dir,
    )
    with pytest.raises(UserError, match="than its manifest says"):
        read_training_ratings(data_dir)
