import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from data_prep.dataset.manifest import read_manifest
from data_prep.dataset.records import list_shards, parse_users
from trainer.input.input_pipeline import (
    evaluation_batches,
    numbered_evaluation_batches,
    training_batches,
)
from trainer.teachers.training_ratings import read_training_ratings

pytestmark = pytest.mark.integration

BATCH_SIZE = 32


@pytest.fixture(scope="module")
def data(synthetic_data):
    manifest = read_manifest(synthetic_data)
    return list_shards(synthetic_data), manifest


def read_all(shards, num_items, group):
    """Reads each user's ratings of a group as the bytes of a dense row."""
    users = tf.data.TFRecordDataset(shards).batch(10_000)
    ratings = parse_users(next(iter(users)), num_items, [group])[group]
    return to_rows(ratings)


def to_rows(ratings):
    dense = np.full(ratings.shape, np.nan)
    dense[tuple(ratings.indices.numpy().T)] = ratings.values
    return [row.tobytes() for row in dense]


def test_an_epoch_reads_each_user_once_but_for_a_last_partial_batch(data):
    shards, manifest = data
    rows = []
    for batch in training_batches(
        shards, manifest.num_items, BATCH_SIZE, seed=1, epoch=1
    ):
        assert batch.shape == (BATCH_SIZE, manifest.num_items)
        rows += to_rows(batch)
    everyone = read_all(shards, manifest.num_items, "train")
    assert len(rows) == manifest.num_users // BATCH_SIZE * BATCH_SIZE
    assert len(set(rows)) == len(rows)
    assert set(rows) < set(everyone)


def epoch_rows(data, **arguments):
    shards, manifest = data
    return [
        row
        for batch in training_batches(
            shards, manifest.num_items, BATCH_SIZE, **arguments
        )
        for row in to_rows(batch)
    ]


def test_an_epoch_that_is_started_again_sees_the_same_batches(data):
    assert epoch_rows(data, seed=1, epoch=3) == epoch_rows(
        data, seed=1, epoch=3
    )


@hypothesis.given(
    first_batch=st.integers(0, 8), epoch=st.integers(0, 3), seed=st.integers(0)
)
@hypothesis.settings(max_examples=20)
def test_an_epoch_can_be_started_at_any_batch(data, first_batch, epoch, seed):
    """The largest numbers are beyond its end, where nothing is left."""
    whole = epoch_rows(data, seed=seed, epoch=epoch)
    rest = epoch_rows(data, seed=seed, epoch=epoch, first_batch=first_batch)
    assert rest == whole[first_batch * BATCH_SIZE :]


def test_every_epoch_and_every_seed_has_an_order_of_its_own(data):
    orders = [
        epoch_rows(data, seed=seed, epoch=epoch)
        for seed, epoch in ((1, 1), (1, 2), (2, 1))
    ]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]


def test_shuffling_mixes_users_of_different_shards(data):
    shards, manifest = data
    shard_of_row = {
        row: number
        for number, shard in enumerate(shards)
        for row in read_all([shard], manifest.num_items, "train")
    }
    rows = epoch_rows(data, seed=1, epoch=1)
    assert {shard_of_row[row] for row in rows[:BATCH_SIZE]} == {0, 1, 2}


def test_the_order_of_the_shards_given_does_not_matter(data):
    shards, manifest = data
    assert epoch_rows(data, seed=1, epoch=1) == epoch_rows(
        (shards[::-1], manifest), seed=1, epoch=1
    )


@pytest.mark.parametrize("group", ["validation", "test"])
def test_evaluation_pairs_training_with_held_out_ratings(data, group):
    shards, manifest = data
    pairs = {}
    num_held_out = 0
    for ratings, held_out in evaluation_batches(
        shards, manifest.num_items, 7, group
    ):
        assert ratings.shape == held_out.shape
        num_held_out += len(held_out.values)
        pairs.update(zip(to_rows(ratings), to_rows(held_out), strict=True))
    assert num_held_out == manifest.num_ratings[group]
    training = read_all(shards, manifest.num_items, "train")
    held_out = read_all(shards, manifest.num_items, group)
    nothing = np.full(manifest.num_items, np.nan).tobytes()
    assert pairs == {
        row: other
        for row, other in zip(training, held_out, strict=True)
        if other != nothing
    }


def test_numbered_users_are_rows_of_the_training_ratings(data, synthetic_data):
    shards, manifest = data
    training = read_training_ratings(synthetic_data)
    num_users = 0
    for ratings, _, rows in numbered_evaluation_batches(
        shards, manifest.num_items, 7, "validation"
    ):
        dense = np.zeros(ratings.shape)
        dense[tuple(ratings.indices.numpy().T)] = ratings.values
        for row, user in zip(dense, rows.numpy(), strict=True):
            place = slice(training.starts[user], training.starts[user + 1])
            expected = np.zeros(manifest.num_items)
            expected[training.items[place]] = training.values[place]
            np.testing.assert_array_equal(row, expected)
            num_users += 1
    assert num_users > 100


def test_replicas_share_each_batch_in_order(data):
    whole = epoch_rows(data, seed=1, epoch=2)
    replicas = [
        epoch_rows(data, seed=1, epoch=2, num_replicas=3, replicas=replicas)
        for replicas in ((0, 1), (2,))
    ]
    # Ten, eleven and eleven of 32 users.
    shared = [
        row
        for batch in range(len(whole) // BATCH_SIZE)
        for row in (
            *replicas[0][21 * batch : 21 * (batch + 1)],
            *replicas[1][11 * batch : 11 * (batch + 1)],
        )
    ]
    assert shared == whole
