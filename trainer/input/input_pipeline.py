"""Reads prepared records as batches of sparse ratings."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from data_prep.dataset import records
from trainer.input.item_mapping import ItemMapping

#: Users in the shuffle buffer; data with no more users is shuffled whole.
SHUFFLE_BUFFER = 16_384

#: Shards read at the same time.
_CYCLE_LENGTH = 8

#: Users per batch of the filter that keeps those with held-out ratings.
_FILTER_BATCH = 1024


def training_batches(
    shards: Sequence[str],
    num_items: int,
    batch_size: int,
    seed: int,
    epoch: int,
    first_batch: int = 0,
    num_replicas: int = 1,
    replicas: Sequence[int] = (0,),
) -> tf.data.Dataset:
    """Reads the training ratings of one epoch, shuffled for that epoch.

    The order depends only on the seed and the epoch, so an epoch that is
    started again, or in its middle, sees the same batches. Users left over
    after the last full batch are skipped, as in the authors' code; which users
    these are changes every epoch.

    Args:
        shards: TFRecord files of `data_prep`.
        num_items: size of the catalog.
        batch_size: users per batch.
        seed: seed of the job.
        epoch: number of the epoch.
        first_batch: number of batches to skip, to resume within an epoch.
            Their users are read but not parsed.
        num_replicas: replicas that share each batch.
        replicas: those of them that read this dataset, ascending. The users
            of all others are not parsed.

    Returns:
        A dataset of SparseTensors `(batch_size, num_items)`, float32; with
        several replicas, of the users of each of `replicas` in turn, whose
        numbers differ by at most one.
    """

    def take_rows(users: tf.Tensor) -> tf.data.Dataset:
        parts = [
            tf.data.Dataset.from_tensors(
                users[
                    batch_size * replica // num_replicas : batch_size
                    * (replica + 1)
                    // num_replicas
                ]
            )
            for replica in replicas
        ]
        return functools.reduce(tf.data.Dataset.concatenate, parts)

    order = np.random.default_rng([seed, epoch])
    users = (
        tf.data.Dataset.from_tensor_slices(order.permutation(sorted(shards)))
        .interleave(
            tf.data.TFRecordDataset,
            cycle_length=_CYCLE_LENGTH,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        .shuffle(SHUFFLE_BUFFER, seed=int(order.integers(2**31)))
        .skip(first_batch * batch_size)
        .batch(batch_size, drop_remainder=True)
    )
    if num_replicas > 1:
        users = users.flat_map(take_rows)
    return users.map(
        lambda users: records.parse_users(users, num_items, ["train"])["train"],
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    ).prefetch(tf.data.AUTOTUNE)


def evaluation_batches(
    shards: Sequence[str],
    num_items: int,
    batch_size: int,
    group: str,
    mapping: ItemMapping | None = None,
) -> tf.data.Dataset:
    """Reads the ratings of the users who have held-out ratings.

    Args:
        shards: TFRecord files of `data_prep`.
        num_items: size of the catalog.
        batch_size: users per batch; the last one may hold fewer.
        group: "validation" or "test".
        mapping: maps to the items of a model; the ratings of others are left
            out.

    Returns:
        A dataset of pairs: training ratings and held-out ratings of the same
        users, SparseTensors `(batch_size, num_items)`, float32.
    """
    return _without_rows(
        numbered_evaluation_batches(
            shards, num_items, batch_size, group, mapping
        )
    )


def numbered_evaluation_batches(
    shards: Sequence[str],
    num_items: int,
    batch_size: int,
    group: str,
    mapping: ItemMapping | None = None,
) -> tf.data.Dataset:
    """Reads what `evaluation_batches` does, and which users these are.

    Args:
        shards: TFRecord files of `data_prep`.
        num_items: size of the catalog.
        batch_size: users per batch; the last one may hold fewer.
        group: "validation" or "test".
        mapping: as for `evaluation_batches`.

    Returns:
        A dataset of triples: the pairs of `evaluation_batches`, and the rows
        of their users in `training_ratings.TrainingRatings`, int64
        `(batch_size,)`.
    """
    return _pair_with_training(
        shards,
        batch_size,
        _known_ratings(num_items, "train", mapping),
        _known_ratings(num_items, group, mapping),
    )


def cold_rating_batches(
    shards: Sequence[str],
    num_items: int,
    batch_size: int,
    group: str,
    mapping: ItemMapping | None = None,
) -> tf.data.Dataset:
    """Reads the users who have held-out ratings of cold items.

    Args:
        shards: TFRecord files of `data_prep`.
        num_items: size of the catalog.
        batch_size: users per batch; the last one may hold fewer.
        group: "validation" or "test".
        mapping: maps to the items of a model; those that it does not know are
            cold as well.

    Returns:
        A dataset of pairs: the users' training ratings, a SparseTensor
        `(batch_size, num_items)`, and their held-out ratings of cold items,
        side by side, float32 both.
    """

    def parse_cold(users: tf.Tensor) -> tf.SparseTensor:
        cold = records.parse_cold_ratings(users, group)
        if mapping is None:
            return cold
        held_out = records.parse_users(users, num_items, [group])[group]
        return tf.sparse.concat(1, [cold, mapping.keep_unknown(held_out)])

    return _without_rows(
        _pair_with_training(
            shards,
            batch_size,
            _known_ratings(num_items, "train", mapping),
            parse_cold,
        )
    )


def _without_rows(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Leaves out which users those of numbered batches are."""
    return batches.map(lambda ratings, held_out, _: (ratings, held_out))


def _known_ratings(
    num_items: int, subset: str, mapping: ItemMapping | None
) -> Callable[[tf.Tensor], tf.SparseTensor]:
    """Returns what parses the ratings of the items that a model knows."""

    def parse(users: tf.Tensor) -> tf.SparseTensor:
        ratings = records.parse_users(users, num_items, [subset])[subset]
        return ratings if mapping is None else mapping.keep_known(ratings)

    return parse


def _pair_with_training(
    shards: Sequence[str],
    batch_size: int,
    parse_training: Callable[[tf.Tensor], tf.SparseTensor],
    parse_held_out: Callable[[tf.Tensor], tf.SparseTensor],
) -> tf.data.Dataset:
    """Reads training and held-out ratings of the users who have held-out ones.

    Args:
        shards: TFRecord files of `data_prep`.
        batch_size: users per batch; the last one may hold fewer.
        parse_training: parses the training ratings of serialized users.
        parse_held_out: parses their held-out ratings.

    Returns:
        A dataset of triples: training ratings, held-out ratings, and the
        number of each user among those of all shards.
    """

    def keep_held_out(
        rows: tf.Tensor, users: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        kept, _ = tf.unique(parse_held_out(users).indices[:, 0])
        return tf.gather(rows, kept), tf.gather(users, kept)

    def parse(
        rows: tf.Tensor, users: tf.Tensor
    ) -> tuple[tf.SparseTensor, tf.SparseTensor, tf.Tensor]:
        return parse_training(users), parse_held_out(users), rows

    options = tf.data.Options()
    # Workers share each batch, however many shards there are.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return (
        tf.data.TFRecordDataset(sorted(shards))
        .enumerate()
        .batch(_FILTER_BATCH)
        .map(keep_held_out, num_parallel_calls=tf.data.AUTOTUNE)
        .unbatch()
        .batch(batch_size)
        .map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
        .with_options(options)
    )
