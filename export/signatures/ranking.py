"""Finds the highest of many scores."""

import tensorflow as tf

# Measured: groups of 4 to 16 scores are about equally fast, larger ones
# slower; and with few groups they cost more than they save.
_GROUP_SIZE = 8
_MIN_GROUPS_PER_SCORE = 10


def top_k(scores: tf.Tensor, k: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the k highest scores of each row, as `tf.math.top_k` does.

    TensorFlow's own passes every score of a row through a heap. Here most
    scores are only compared with their neighbors: the k best scores lie in the
    k groups of neighbors with the best maxima.

    Args:
        scores: `(batch_size, num_scores)`, float32; `num_scores` must be known
            when the graph is built.
        k: number of scores to find, from 0 to `num_scores`; an int or, where
            only the request tells, an int32 scalar.

    Returns:
        Scores, float32, and their positions, int32, both `(batch_size, k)`,
        best first. Equal scores may come in any order, and any of them may be
        left out; the position of -infinity may lie beyond the row.
    """
    num_groups = -(-scores.shape[1] // _GROUP_SIZE)
    pays = (k > 0) & (num_groups >= _MIN_GROUPS_PER_SCORE * k)
    if isinstance(k, int):
        return _top_of_groups(scores, k) if pays else tf.math.top_k(scores, k)
    best, positions = tf.cond(
        pays,
        lambda: _top_of_groups(scores, k),
        lambda: tuple(tf.math.top_k(scores, k)),
    )
    return best, positions


def _top_of_groups(
    scores: tf.Tensor, k: int | tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    num_groups = -(-scores.shape[1] // _GROUP_SIZE)
    num_missing = num_groups * _GROUP_SIZE - scores.shape[1]
    if num_missing:
        scores = tf.pad(
            scores, [[0, 0], [0, num_missing]], constant_values=-float("inf")
        )
    grouped = tf.reshape(scores, [-1, num_groups, _GROUP_SIZE])
    _, groups = tf.math.top_k(tf.reduce_max(grouped, axis=2), k)
    candidates = tf.reshape(
        tf.gather(grouped, groups, batch_dims=1), [-1, k * _GROUP_SIZE]
    )
    best, columns = tf.math.top_k(candidates, k)
    positions = (
        tf.gather(groups, columns // _GROUP_SIZE, batch_dims=1) * _GROUP_SIZE
        + columns % _GROUP_SIZE
    )
    return best, positions
