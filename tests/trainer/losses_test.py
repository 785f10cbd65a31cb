import numpy as np
import pytest
import tensorflow as tf

from trainer import losses


def test_a_sparse_target_counts_the_entries_of_its_indices():
    targets = tf.SparseTensor([[0, 0], [1, 2]], [5.0, 0.0], [2, 3])
    predictions = tf.constant([[3.0, 9.0, 9.0], [9.0, 9.0, 1.0]])
    total, count = losses.masked_squared_error(targets, predictions)
    assert (float(total), float(count)) == (2.0**2 + 1.0**2, 2.0)


def test_a_dense_target_counts_its_non_zero_entries():
    targets = tf.constant([[1.0, 0.0], [-2.0, 0.5]])
    predictions = tf.constant([[2.0, 7.0], [-2.0, 0.0]])
    total, count = losses.masked_squared_error(targets, predictions)
    assert (float(total), float(count)) == (1.0 + 0.25, 3.0)


def test_the_loss_is_a_mean_over_ratings_not_over_users():
    # One user errs by 3 on one rating, another by 0 on three.
    targets = tf.SparseTensor(
        [[0, 0], [1, 0], [1, 1], [1, 2]], [3.0, 0.0, 0.0, 0.0], [2, 3]
    )
    total, count = losses.masked_squared_error(targets, tf.zeros((2, 3)))
    loss = losses.global_mean(total, count)
    assert float(loss) == pytest.approx(9 / 4)


def test_a_batch_without_an_entry_has_loss_zero():
    targets = tf.SparseTensor(
        np.zeros((0, 2), np.int64), np.zeros(0, np.float32), [2, 3]
    )
    total, count = losses.masked_squared_error(targets, tf.ones((2, 3)))
    assert float(losses.global_mean(total, count)) == 0.0


def test_the_means_of_replicas_add_up_to_the_mean_of_the_global_batch(
    two_replicas,
):
    totals = two_replicas.experimental_distribute_values_from_function(
        lambda context: tf.constant(
            [6.0, 1.0][context.replica_id_in_sync_group]
        )
    )
    counts = two_replicas.experimental_distribute_values_from_function(
        lambda context: tf.constant(
            [3.0, 11.0][context.replica_id_in_sync_group]
        )
    )
    means = two_replicas.run(losses.global_mean, args=(totals, counts))
    assert float(sum(means.values)) == pytest.approx(7 / 14)
