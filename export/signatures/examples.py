"""Parses users from serialized `tf.train.Example`s, one string per user.

Lists of any length fit in one tensor of strings, so TensorFlow Serving can
batch such requests; and batch prediction reads files of such records. The
features of an example have the names of the inputs:

    item_ids            bytes list, the user's items
    ratings             float list of the same length, their ratings
    candidate_item_ids  bytes list, if the signature takes candidates
"""

import tensorflow as tf

from export.signatures import shape_checks as checks
from serving import protocol

_TYPES = {
    protocol.ITEM_IDS: tf.string,
    protocol.RATINGS: tf.float32,
    protocol.CANDIDATE_ITEM_IDS: tf.string,
}


def read_examples(examples: tf.Tensor, *names: str) -> dict[str, tf.Tensor]:
    """Parses the inputs of another signature from examples.

    Args:
        examples: serialized examples, string `(batch_size,)`.
        *names: the features to parse. A missing feature counts as empty.

    Returns:
        The features by name, `(batch_size, longest list)`, padded with `""`
        or 0.

    Raises:
        tf.errors.InvalidArgumentError: an example is malformed, or has more or
            fewer ratings than items. The graph raises it.
    """
    examples = checks.with_dimensions(examples, protocol.EXAMPLES, "batch")
    lists = tf.io.parse_example(
        examples, {name: tf.io.RaggedFeature(_TYPES[name]) for name in names}
    )
    num_items = lists[protocol.ITEM_IDS].row_lengths()
    num_ratings = lists[protocol.RATINGS].row_lengths()
    refused = tf.where(num_items != num_ratings)
    is_equal = checks.require(
        tf.size(refused) == 0,
        [
            f"An example must have as many `{protocol.RATINGS}` as"
            f" `{protocol.ITEM_IDS}`. Received, of each:",
            tf.gather_nd(num_ratings, refused),
            tf.gather_nd(num_items, refused),
        ],
    )
    with tf.control_dependencies([is_equal]):
        return {name: lists[name].to_tensor() for name in names}
