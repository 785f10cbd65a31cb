"""The masked squared error of the paper, as pure functions."""

import tensorflow as tf


def squared_error(
    targets: tf.Tensor, predictions: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the sum of squared errors over ratings, and their number.

    Args:
        targets: `(num_ratings,)`, float32.
        predictions: `(num_ratings,)`, float32, of the same entries.

    Returns:
        The sum of the squared errors and the number of ratings, float32
        scalars. Keep the two apart until all batches are added: a mean of
        per-batch means is another number.
    """
    return (
        tf.reduce_sum((predictions - targets) ** 2),
        tf.cast(tf.size(targets), tf.float32),
    )


def masked_squared_error(
    targets: tf.Tensor, predictions: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the sum of squared errors over a re-fed output's entries.

    These are its non-zero entries, as in the authors' code: an entry that
    noise or a rectifier set to 0 carries no target.

    Args:
        targets: `(batch_size, num_items)`, float32.
        predictions: `(batch_size, num_items)`, float32.

    Returns:
        The sum of the squared errors and the number of entries, float32
        scalars.
    """
    mask = tf.cast(tf.not_equal(targets, 0.0), tf.float32)
    return (
        tf.reduce_sum(mask * (predictions - targets) ** 2),
        tf.reduce_sum(mask),
    )


def global_mean(total: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Divides a replica's sum by the count of the global batch.

    So the losses of all replicas, and their gradients, *add up* to those of
    one device that sees the whole batch:

        loss = sum(m * (target - prediction)^2) / sum(m)

    with `m` equal to 1 where the target has an entry and 0 elsewhere: a mean
    over ratings, not a mean of per-user means. It is 0 without any entry.

    Reference:
        Kuchaiev and Ginsburg, 2017, section 2.2, equation 1
        (https://arxiv.org/abs/1708.01715).

    Args:
        total: scalar, float32, the sum of this replica.
        count: scalar, float32, the count of this replica.

    Returns:
        A float32 scalar.
    """
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        replica = tf.distribute.get_replica_context()
        count = replica.all_reduce(tf.distribute.ReduceOp.SUM, count)
    return tf.math.divide_no_nan(total, count)
