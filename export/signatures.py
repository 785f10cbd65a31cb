"""What a served model answers: functions over raw item ids."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from serving import protocol
from trainer.autoencoder import AutoEncoder

#: A tensor name of the protocol -> a tensor.
Answer = dict[str, tf.Tensor]


class Signatures:
    """The functions that a SavedModel offers, over one model and vocabulary.

    All of them take the users' histories: `item_ids`, strings `(batch_size,
    history)` padded with `""`, and `ratings`, float32 of the same shape. Ids
    that the model does not know are ignored; an item named twice counts once,
    with its last rating; a history without a known item gets the model's
    answer to an empty one. A rating that is not finite or not on the rating
    scale is refused, and so are shapes that do not fit together: TensorFlow
    Serving enforces neither, and a mistaken shape would broadcast to
    nonsense.

    All of them return `num_known_items`, int32 `(batch_size,)`: how many items
    of the history the model knows. The first dimension of every input and
    output is the batch.

    Args:
        model: a trained model.
        item_ids: the raw id of each item index.
        rating_scale: lowest and highest rating that a user can give.
        mean_rating: prediction for an item that the model does not know.
        top_k: number of recommendations.

    Attributes:
        rating_scale: as given.
        functions: the signatures by name.
        input_specs: the arguments of each, by name.
        tables: the lookup tables that they use.
    """

    def __init__(
        self,
        model: AutoEncoder,
        item_ids: Sequence[str],
        rating_scale: tuple[float, float],
        mean_rating: float,
        top_k: int,
    ) -> None:
        self._model = model
        self.rating_scale = rating_scale
        self._mean_rating = mean_rating
        self._top_k = min(top_k, model.num_items)
        ids = tf.constant(item_ids, tf.string)
        indices = tf.range(len(item_ids), dtype=tf.int64)
        self._index_of_id = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(ids, indices),
            default_value=-1,
        )
        self._id_of_index = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(indices, ids),
            default_value="",
        )
        self.tables = [self._index_of_id, self._id_of_index]
        self.functions: dict[str, Callable[..., Answer]] = {
            protocol.RECOMMEND: self.recommend,
            protocol.PREDICT: self.predict,
            protocol.ENCODE: self.encode,
        }
        history = [
            tf.TensorSpec([None, None], tf.string, protocol.ITEM_IDS),
            tf.TensorSpec([None, None], tf.float32, protocol.RATINGS),
        ]
        candidates = tf.TensorSpec(
            [None, None], tf.string, protocol.CANDIDATE_ITEM_IDS
        )
        self.input_specs = {
            protocol.RECOMMEND: history,
            protocol.PREDICT: [*history, candidates],
            protocol.ENCODE: history,
        }

    def recommend(self, item_ids: tf.Tensor, ratings: tf.Tensor) -> Answer:
        """Ranks the items that each user did not rate.

        Returns:
            `item_ids` and `predicted_ratings`, `(batch_size, k)`, best first.
            A user with fewer than k items left gets `""` and 0 at the end.
        """
        histories, num_known_items = self._read(item_ids, ratings)
        predictions = tf.tensor_scatter_nd_update(
            self._model(histories, training=False),
            histories.indices,
            tf.fill(tf.shape(histories.values), -float("inf")),
        )
        predicted_ratings, indices = tf.math.top_k(predictions, self._top_k)
        is_item = tf.math.is_finite(predicted_ratings)
        return {
            protocol.ITEM_IDS: self._id_of_index.lookup(
                tf.where(is_item, tf.cast(indices, tf.int64), -1)
            ),
            protocol.PREDICTED_RATINGS: tf.where(
                is_item, predicted_ratings, 0.0
            ),
            protocol.NUM_KNOWN_ITEMS: num_known_items,
        }

    def predict(
        self,
        item_ids: tf.Tensor,
        ratings: tf.Tensor,
        candidate_item_ids: tf.Tensor,
    ) -> Answer:
        """Predicts each user's ratings of candidates, rated ones included.

        Returns:
            `predicted_ratings` and `candidate_known`, `(batch_size,
            candidates)`. The prediction for an unknown candidate is the mean
            rating.
        """
        tf.debugging.assert_equal(
            tf.shape(candidate_item_ids)[0],
            tf.shape(item_ids)[0],
            "`candidate_item_ids` must have a row for each row of `item_ids`.",
        )
        histories, num_known_items = self._read(item_ids, ratings)
        candidates = self._index_of_id.lookup(candidate_item_ids)
        candidate_known = candidates >= 0
        predictions = tf.gather(
            self._model(histories, training=False),
            tf.maximum(candidates, 0),
            batch_dims=1,
        )
        return {
            protocol.PREDICTED_RATINGS: tf.where(
                candidate_known, predictions, self._mean_rating
            ),
            protocol.CANDIDATE_KNOWN: candidate_known,
            protocol.NUM_KNOWN_ITEMS: num_known_items,
        }

    def encode(self, item_ids: tf.Tensor, ratings: tf.Tensor) -> Answer:
        """Computes each user's code.

        Returns:
            `code`, float32 `(batch_size, code_units)`.
        """
        histories, num_known_items = self._read(item_ids, ratings)
        centred_ratings, _ = self._model.centring(histories)
        code = self._model.encode(centred_ratings)
        return {
            protocol.CODE: tf.cast(code, tf.float32),
            protocol.NUM_KNOWN_ITEMS: num_known_items,
        }

    def _read(
        self, item_ids: tf.Tensor, ratings: tf.Tensor
    ) -> tuple[tf.SparseTensor, tf.Tensor]:
        """Turns histories into what the model takes.

        Returns:
            SparseTensor `(batch_size, num_items)` and, int32 `(batch_size,)`,
            the number of its ratings in each row.
        """
        self._check(item_ids, ratings)
        batch_size = tf.shape(item_ids, out_type=tf.int64)[0]
        num_items = self._model.num_items
        indices = self._index_of_id.lookup(item_ids)
        position = tf.where(indices >= 0)
        user = position[:, 0]
        item = tf.gather_nd(indices, position)
        values = tf.gather_nd(ratings, position)
        # A stable sort brings the ratings of one user and item together, the
        # last one given at the end.
        key = user * num_items + item
        order = tf.argsort(key, stable=True)
        key = tf.gather(key, order)
        is_last = tf.concat(
            [key[1:] != key[:-1], tf.ones_like(key[:1], tf.bool)], axis=0
        )
        order = tf.boolean_mask(order, is_last)
        user = tf.gather(user, order)
        histories = tf.SparseTensor(
            tf.stack([user, tf.gather(item, order)], axis=1),
            tf.gather(values, order),
            [batch_size, num_items],
        )
        num_known_items = tf.math.unsorted_segment_sum(
            tf.ones_like(user, tf.int32), user, batch_size
        )
        return histories, num_known_items

    def _check(self, item_ids: tf.Tensor, ratings: tf.Tensor) -> None:
        tf.debugging.assert_equal(
            tf.shape(item_ids),
            tf.shape(ratings),
            "`item_ids` and `ratings` must have the same shape.",
        )
        low, high = self.rating_scale
        # Written so that NaN, which compares as false, is off the scale.
        on_scale = (ratings >= low) & (ratings <= high)
        refused = tf.where((item_ids != "") & ~on_scale)
        tf.debugging.Assert(
            tf.size(refused) == 0,
            [
                f"`ratings` must lie on the scale from {low:g} to {high:g}."
                " Received, of items and their ratings:",
                tf.gather_nd(item_ids, refused),
                tf.gather_nd(ratings, refused),
            ],
        )
