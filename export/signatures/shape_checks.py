"""Checks the shapes of inputs in the graph.

TensorFlow Serving does not enforce the shapes that a signature declares, and a
wrong shape would broadcast to nonsense. Each function returns the tensor that
it checked: use that one, so that the check comes first. A tensor that fails is
refused with `tf.errors.InvalidArgumentError`.
"""

import tensorflow as tf


def with_dimensions(tensor: tf.Tensor, name: str, dimensions: str) -> tf.Tensor:
    """Refuses a tensor of another rank.

    Args:
        tensor: an input of a signature.
        name: its name there.
        dimensions: the names of its dimensions, such as "batch, history".
    """
    # The graph is built for the declared rank, so a check of it would be
    # folded away as always true. Hide the static shape.
    shape = tf.shape(
        tf.raw_ops.PlaceholderWithDefault(
            input=tensor, shape=tf.TensorShape(None)
        )
    )
    return _after(
        tf.size(shape) == dimensions.count(",") + 1,
        [f"`{name}` must have the shape [{dimensions}]. Received:", shape],
        tensor,
    )


def with_shape_of(
    tensor: tf.Tensor, name: str, other: tf.Tensor, other_name: str
) -> tf.Tensor:
    """Refuses a tensor whose shape differs from another of the same rank."""
    return _after(
        tf.reduce_all(tf.shape(tensor) == tf.shape(other)),
        [
            f"`{other_name}` and `{name}` must have the same shape. Received:",
            tf.shape(other),
            tf.shape(tensor),
        ],
        tensor,
    )


def with_rows_of(
    tensor: tf.Tensor, name: str, other: tf.Tensor, other_name: str
) -> tf.Tensor:
    """Refuses a tensor with more or fewer rows than another."""
    return _after(
        tf.shape(tensor)[0] == tf.shape(other)[0],
        [
            f"`{name}` must have a row for each row of `{other_name}`."
            " Received, of rows:",
            tf.shape(tensor)[0],
            tf.shape(other)[0],
        ],
        tensor,
    )


def with_counts(tensor: tf.Tensor, name: str) -> tf.Tensor:
    """Refuses a tensor with a number below 0."""
    return _after(
        tf.reduce_all(tensor >= 0),
        [f"`{name}` must be 0 or more. Received:", tensor],
        tensor,
    )


def require(condition: tf.Tensor, message: list[str | tf.Tensor]) -> tf.Tensor:
    """Refuses the request if a condition does not hold.

    The message is built in any case. `tf.debugging.Assert` builds it in a
    branch, and branches cost more than small messages: recommendations for one
    user took 4 % longer.

    Args:
        condition: scalar, bool.
        message: texts and tensors to print.

    Returns:
        The operation that checks the condition.
    """
    return tf.raw_ops.Assert(condition=condition, data=message)


def _after(
    condition: tf.Tensor, message: list[str | tf.Tensor], tensor: tf.Tensor
) -> tf.Tensor:
    with tf.control_dependencies([require(condition, message)]):
        return tf.identity(tensor)
