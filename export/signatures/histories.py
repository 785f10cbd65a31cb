"""Converts histories of raw item ids to the sparse ratings of the model."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from data_prep.dataset.items import ItemNames, Items
from export.signatures import shape_checks as checks
from serving import protocol


class Histories(NamedTuple):
    """The ratings of a batch of users.

    Attributes:
        ratings: SparseTensor `(batch_size, num_items)`, float32, its indices
            in order.
        num_known_items: int32 `(batch_size,)`, the number of ratings in each
            row.
    """

    ratings: tf.SparseTensor
    num_known_items: tf.Tensor


class ItemLookup:
    """Looks up items by id or title, and ids and titles by index, in the graph.

    Args:
        items: the items.

    Attributes:
        tables: the lookup tables.
        num_items: number of items.
    """

    def __init__(self, items: Items) -> None:
        self.num_items = len(items.item_ids)
        indices = tf.range(self.num_items, dtype=tf.int64)
        names = ItemNames(items)
        self._index_of_name = _make_table(
            list(names.index_of),
            tf.constant(list(names.index_of.values()), tf.int64),
            -1,
        )
        self._id_of_index = _make_table(indices, items.item_ids, "")
        self._title_of_index = _make_table(indices, items.display_names(), "")
        self.tables = [
            self._index_of_name,
            self._id_of_index,
            self._title_of_index,
        ]
        self._ids_of_ambiguous = None
        if names.ambiguous:
            self._ids_of_ambiguous = _make_table(
                list(names.ambiguous),
                [", ".join(ids) for ids in names.ambiguous.values()],
                "",
            )
            self.tables.append(self._ids_of_ambiguous)

    def index_of(self, names: tf.Tensor) -> tf.Tensor:
        """Returns the index of the item of each id or title; -1 if unknown.

        Args:
            names: strings of any shape.

        Returns:
            int64 of the same shape.

        Raises:
            tf.errors.InvalidArgumentError: several items have a title. The
                graph raises it.
        """
        checked = []
        if self._ids_of_ambiguous is not None:
            ids = self._ids_of_ambiguous.lookup(names)
            refused = tf.where(ids != "")
            checked.append(
                checks.require(
                    tf.size(refused) == 0,
                    [
                        "Several items have the same title. Give the id of one"
                        " of them. Received, of titles and their ids:",
                        tf.gather_nd(names, refused),
                        tf.gather_nd(ids, refused),
                    ],
                )
            )
        with tf.control_dependencies(checked):
            return self._index_of_name.lookup(names)

    def id_of(self, indices: tf.Tensor) -> tf.Tensor:
        """Returns the id of each index, a string; `""` for -1.

        Args:
            indices: int64 of any shape.
        """
        return self._id_of_index.lookup(indices)

    def title_of(self, indices: tf.Tensor) -> tf.Tensor:
        """Returns the title of each index, the id where it has none.

        Args:
            indices: int64 of any shape.

        Returns:
            Strings of the same shape; `""` for -1.
        """
        return self._title_of_index.lookup(indices)


def _make_table(
    keys: Sequence[str] | tf.Tensor,
    values: Sequence[str] | tf.Tensor,
    default: str | int,
) -> tf.lookup.StaticHashTable:
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(keys, values), default
    )


def read_histories(
    item_ids: tf.Tensor,
    ratings: tf.Tensor,
    items: ItemLookup,
    rating_scale: tuple[float, float],
) -> Histories:
    """Converts histories, and refuses malformed ones.

    Items may be named by title as well. Unknown ids are left out. If an item
    occurs twice, its last rating counts.

    Args:
        item_ids: strings `(batch_size, history)`, padded with `""`.
        ratings: float32 of the same shape.
        items: the vocabulary.
        rating_scale: lowest and highest rating that a user can give.

    Returns:
        The ratings of known items.

    Raises:
        tf.errors.InvalidArgumentError: shapes do not match, or a rating is
            not on the scale. The graph raises it.
    """
    item_ids = checks.with_dimensions(
        item_ids, protocol.ITEM_IDS, "batch, history"
    )
    ratings = checks.with_dimensions(
        ratings, protocol.RATINGS, "batch, history"
    )
    ratings = checks.with_shape_of(
        ratings, protocol.RATINGS, item_ids, protocol.ITEM_IDS
    )
    _check_scale(item_ids, ratings, rating_scale)
    indices = items.index_of(item_ids)
    # A stable sort brings the ratings of each item together, the last one
    # given at the end, and those of unknown items to the front.
    order = tf.argsort(indices, axis=1, stable=True)
    indices = tf.gather(indices, order, batch_dims=1)
    ratings = tf.gather(ratings, order, batch_dims=1)
    is_last = tf.concat(
        [
            indices[:, 1:] != indices[:, :-1],
            tf.ones_like(indices[:, :1], tf.bool),
        ],
        axis=1,
    )
    is_kept = (indices >= 0) & is_last
    kept = tf.where(is_kept)
    return Histories(
        ratings=tf.SparseTensor(
            tf.stack([kept[:, 0], tf.gather_nd(indices, kept)], axis=1),
            tf.gather_nd(ratings, kept),
            [tf.shape(indices, tf.int64)[0], items.num_items],
        ),
        num_known_items=tf.math.count_nonzero(is_kept, axis=1, dtype=tf.int32),
    )


def _check_scale(
    item_ids: tf.Tensor, ratings: tf.Tensor, scale: tuple[float, float]
) -> None:
    low, high = scale
    # Written so that NaN, for which both comparisons are false, is refused.
    on_scale = (ratings >= low) & (ratings <= high)
    refused = tf.where((item_ids != "") & ~on_scale)
    checks.require(
        tf.size(refused) == 0,
        [
            f"`{protocol.RATINGS}` must lie on the scale from {low:g} to"
            f" {high:g}. Received, of items and their ratings:",
            tf.gather_nd(item_ids, refused),
            tf.gather_nd(ratings, refused),
        ],
    )
