"""Random numbers for the global batch, of which each replica takes its rows.

Replicas share the state of the random generators. Left alone, each would draw
the same numbers for users of its own, and two replicas would not train like
one. So each draws for the users of all replicas, and uses those of its own.
"""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from trainer.model.layers import PACKAGE


class Rows(NamedTuple):
    """The rows of a replica among those of all replicas.

    Attributes:
        first: the first of them.
        count: their number.
        total: the number of rows of all replicas.
    """

    first: tf.Tensor
    count: tf.Tensor
    total: tf.Tensor


def locate_rows(count: Any) -> Rows:
    """Finds out which rows of the global batch a replica has.

    The rows of a replica follow those of the replica before it. To be called
    by all replicas, which tell each other their numbers of rows.

    Args:
        count: the number of rows of this replica, an integer scalar.
    """
    count = tf.cast(count, tf.int64)
    num_replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if num_replicas == 1:
        return Rows(tf.zeros([], tf.int64), count, count)
    replica = tf.distribute.get_replica_context()
    number = tf.convert_to_tensor(replica.replica_id_in_sync_group)
    counts = replica.all_reduce(
        tf.distribute.ReduceOp.SUM,
        tf.one_hot(number, num_replicas, dtype=tf.int64) * count,
    )
    return Rows(tf.reduce_sum(counts[:number]), count, tf.reduce_sum(counts))


def draw_uniform(
    num_draws: int, count: Any, seed: keras.random.SeedGenerator
) -> tf.Tensor:
    """Draws uniform numbers for each row of a replica.

    Args:
        num_draws: numbers per row.
        count: the number of rows of this replica.
        seed: generates the random seeds, the same on all replicas.

    Returns:
        `(num_draws, count)`, float32, in [0, 1).
    """
    rows = locate_rows(count)
    draws = keras.random.uniform([num_draws, rows.total], seed=seed)
    return draws[:, rows.first : rows.first + rows.count]


@keras.saving.register_keras_serializable(package=PACKAGE)
class GlobalDropout(keras.layers.Dropout):
    """Drops what dropout on the global batch would drop.

    Call arguments:
        inputs: `(batch_size, units)`, the rows of this replica.
        training: whether to drop.
    """

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        one_replica = tf.distribute.get_strategy().num_replicas_in_sync == 1
        if one_replica or not training or self.rate == 0:
            return super().call(inputs, training=training)
        count, units = tf.unstack(tf.shape(inputs, tf.int64))
        rows = locate_rows(count)
        kept = keras.random.dropout(
            tf.ones([rows.total, units], inputs.dtype),
            self.rate,
            seed=self.seed_generator,
        )
        return inputs * kept[rows.first : rows.first + count]
