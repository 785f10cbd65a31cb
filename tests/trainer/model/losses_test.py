import pytest
import tensorflow as tf

from trainer.model import losses


def test_a_rating_of_0_counts_as_any_other():
    total, count = losses.squared_error(
        tf.constant([5.0, 0.0]), tf.constant([3.0, 1.0])
    )
    assert (float(total), float(count)) == (2.0**2 + 1.0**2, 2.0)


def test_a_re_fed_output_counts_with_its_non_zero_entries():
    targets = tf.constant([[1.0, 0.0], [-2.0, 0.5]])
    predictions = tf.constant([[2.0, 7.0], [-2.0, 0.0]])
    total, count = losses.masked_squared_error(targets, predictions)
    assert (float(total), float(count)) == (1.0 + 0.25, 3.0)


def test_the_loss_is_a_mean_over_ratings_not_over_users():
    # One user errs by 3 on one rating, another by 0 on three.
    total, count = losses.squared_error(
        tf.constant([3.0, 0.0, 0.0, 0.0]), tf.zeros(4)
    )
    loss = losses.global_mean(total, count)
    assert float(loss) == pytest.approx(9 / 4)


def test_a_batch_without_a_rating_has_loss_zero():
    total, count = losses.squared_error(tf.zeros(0), tf.zeros(0))
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
