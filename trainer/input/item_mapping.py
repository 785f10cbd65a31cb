"""Maps the item indices of other data to those that a model knows."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


class ItemMapping:
    """Maps ratings of other data to the items of a model.

    Args:
        item_ids: the raw id of each item index of the data.
        known_ids: the raw id of each item index of the model.

    Attributes:
        num_items: size of the model's catalog.
    """

    def __init__(
        self, item_ids: Sequence[str], known_ids: Sequence[str]
    ) -> None:
        index_of = {item_id: index for index, item_id in enumerate(known_ids)}
        indices = np.array(
            [index_of.get(item_id, -1) for item_id in item_ids], np.int64
        )
        self.num_items = len(known_ids)
        self._indices = tf.constant(indices)

    def keep_known(self, ratings: tf.SparseTensor) -> tf.SparseTensor:
        """Returns the ratings of items that the model knows.

        Args:
            ratings: SparseTensor `(batch_size, items of the data)`.

        Returns:
            SparseTensor `(batch_size, num_items)`, its indices in order.
        """
        indices = tf.gather(self._indices, ratings.indices[:, 1])
        is_known = indices >= 0
        return tf.sparse.reorder(
            tf.SparseTensor(
                tf.stack(
                    [ratings.indices[:, 0][is_known], indices[is_known]], axis=1
                ),
                ratings.values[is_known],
                [ratings.dense_shape[0], self.num_items],
            )
        )

    def keep_unknown(self, ratings: tf.SparseTensor) -> tf.SparseTensor:
        """Returns the ratings of the other items, in the columns of the data.

        Args:
            ratings: SparseTensor `(batch_size, items of the data)`.
        """
        indices = tf.gather(self._indices, ratings.indices[:, 1])
        return tf.sparse.retain(ratings, indices < 0)
