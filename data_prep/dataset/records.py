"""Reads the record files: one `tf.train.Example` per user.

The files `users/part-KKKKK-of-NNNNN.tfrecord` hold every user once. A reader
names the subsets that it needs and gets no others, so training cannot see
test ratings by accident. `schema` names the features of an example;
`data_prep.engine.tfrecords` writes them.
"""

from collections.abc import Sequence

import tensorflow as tf

from data_prep.dataset.errors import UserError
from data_prep.dataset.manifest import read_manifest
from data_prep.dataset.schema import COLD_RATINGS, SUBSETS, USER_ID


def list_shards(data_dir: str) -> list[str]:
    """Lists the record files of `data_dir`, in order.

    Raises:
        UserError: if `data_dir` is not prepared data, or a shard is missing.
    """
    digests = read_manifest(data_dir).digests
    shards = [
        str(tf.io.gfile.join(data_dir, name))
        for name in sorted(digests)
        if name.startswith("users/")
    ]
    for shard in shards:
        if not tf.io.gfile.exists(shard):
            raise UserError(
                f"{shard} is missing, although the manifest names it. Remove"
                f" {data_dir} and prepare the data again."
            )
    return shards


def parse_users(
    serialized: tf.Tensor, num_items: int, subsets: Sequence[str]
) -> dict[str, tf.SparseTensor]:
    """Parses the named subsets of a batch of users.

    Args:
        serialized: serialized examples, string `(batch_size,)`.
        num_items: the size of the vocabulary.
        subsets: some of `train`, `validation`, `test`.

    Returns:
        The ratings of each subset, a float32 SparseTensor
        `(batch_size, num_items)`. Its indices say what is rated: a stored 0
        is a rating.
    """
    features = {}
    for subset in subsets:
        index_key, rating_key = SUBSETS[subset]
        features[index_key] = tf.io.VarLenFeature(tf.int64)
        features[rating_key] = tf.io.VarLenFeature(tf.float32)
    parsed = tf.io.parse_example(serialized, features)
    ratings = {}
    for subset in subsets:
        index_key, rating_key = SUBSETS[subset]
        # (num_ratings, 2): position in the batch, item index.
        indices = tf.stack(
            [parsed[index_key].indices[:, 0], parsed[index_key].values], axis=1
        )
        ratings[subset] = tf.SparseTensor(
            indices,
            parsed[rating_key].values,
            [tf.size(serialized, tf.int64), num_items],
        )
    return ratings


def parse_cold_ratings(serialized: tf.Tensor, subset: str) -> tf.SparseTensor:
    """Parses the held-out ratings of items without training ratings.

    Such an item has no index, so the users' ratings stand side by side.

    Args:
        serialized: serialized examples, string `(batch_size,)`.
        subset: `validation` or `test`.

    Returns:
        A float32 SparseTensor `(batch_size, longest)`, where `longest` is the
        largest number of such ratings of a user.
    """
    key = COLD_RATINGS[subset]
    return tf.io.parse_example(
        serialized, {key: tf.io.VarLenFeature(tf.float32)}
    )[key]


def parse_user_ids(serialized: tf.Tensor) -> tf.Tensor:
    """Parses the raw ids of a batch of users, string `(batch_size,)`."""
    features = {USER_ID: tf.io.FixedLenFeature([], tf.string)}
    return tf.io.parse_example(serialized, features)[USER_ID]
