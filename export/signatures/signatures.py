"""The signatures of an exported model: functions over raw item ids."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from data_prep.dataset.items import Items
from export.signatures import shape_checks as checks
from export.signatures.autoencoder_predictor import AutoEncoderPredictor
from export.signatures.examples import read_examples
from export.signatures.explanations import Explainer
from export.signatures.histories import Histories, ItemLookup, read_histories
from export.signatures.predictor import Predictor
from export.signatures.ranking import top_k
from export.signatures.similarity import ItemSimilarity
from export.signatures.taught_predictor import TaughtPredictor
from serving import protocol
from trainer.model.layers import RatingCentering
from trainer.model.rating_model import RatingModel
from trainer.model.taught_autoencoder import TaughtAutoEncoder
from trainer.model.uncertainty import Uncertainty

#: A tensor name of the protocol -> a tensor.
Answer = dict[str, tf.Tensor]


class Signatures:
    """The functions of a SavedModel over one model and its vocabulary.

    All but `similar` and `describe` take users' histories: `item_ids`, strings
    `(batch_size, history)` padded with `""`, and `ratings`, float32 of the
    same shape; or `examples`, serialized `tf.train.Example`s that hold both.
    Wherever an id is taken, a title that one item alone has is taken as well.
    Ids that the model does not know are ignored; an item named twice counts
    once, with its last rating; a history without a known item gets the model's
    answer to an empty one.

    These return `num_known_items`, int32 `(batch_size,)`, the number of items
    in the history that the model knows. The first dimension of every input and
    output is the batch, and no row depends on another.

    The graph raises `tf.errors.InvalidArgumentError` for ratings that are not
    finite or not on the rating scale, for titles that several items have, and
    for shapes that do not match.

    Args:
        model: a trained model.
        items: the items, with the statistics of their training ratings.
        rating_scale: lowest and highest rating that a user can give.
        top_k: number of recommendations, and of similar items per target; a
            smaller catalog gives fewer.
        history_length: length that clients should pad histories to.
        uncertainty: how far ratings lie from the model's predictions, if that
            is known.
        rank_by: one of `settings.RANK_BY`, what the scores are.
        clip_predictions: whether predicted ratings are clipped to the rating
            scale; scores never are.
        default: the signature that also answers requests that name none.

    Attributes:
        rating_scale: as given.
        history_length: as given.
        functions: the signatures by name.
        input_specs: the arguments of each signature, by name.
        tables: the lookup tables that the signatures use.
        predictor: what answers for the model.

    Raises:
        UserError: the model cannot rank by `rank_by`.
    """

    def __init__(
        self,
        model: RatingModel,
        items: Items,
        rating_scale: tuple[float, float],
        *,
        top_k: int,
        history_length: int,
        uncertainty: Uncertainty | None = None,
        rank_by: str = "score",
        clip_predictions: bool = False,
        default: str = protocol.RECOMMEND,
    ) -> None:
        self.predictor = _make_predictor(model, rank_by)
        self._explainer = Explainer(self.predictor)
        self._similarity = ItemSimilarity(
            self.predictor, min(top_k, model.num_items - 1)
        )
        self._items = ItemLookup(items)
        # What every model says of an item that it does not know.
        self._biases = RatingCentering.from_statistics(
            "user_item", items.counts, items.means
        )
        self._uncertainty = uncertainty
        self.rating_scale = rating_scale
        self.history_length = history_length
        self._top_k = min(top_k, model.num_items)
        self._clip_predictions = clip_predictions
        self.tables = self._items.tables

        item_ids_spec = _strings(protocol.ITEM_IDS, 2)
        history = [
            item_ids_spec,
            tf.TensorSpec([None, None], tf.float32, protocol.RATINGS),
        ]
        candidates = _strings(protocol.CANDIDATE_ITEM_IDS, 2)
        targets = _strings(protocol.TARGET_ITEM_IDS, 2)
        examples = [_strings(protocol.EXAMPLES, 1)]
        signatures: dict[
            str, tuple[Callable[..., Answer], list[tf.TensorSpec]]
        ] = {
            protocol.RECOMMEND: (self.recommend, history),
            protocol.RECOMMEND_TOP: (
                self.recommend_top,
                [
                    *history,
                    tf.TensorSpec(
                        [None], tf.int32, protocol.NUM_RECOMMENDATIONS
                    ),
                ],
            ),
            protocol.RECOMMEND_FROM: (
                self.recommend_from,
                [*history, candidates],
            ),
            protocol.PREDICT: (self.predict, [*history, candidates]),
            protocol.EXPLAIN: (self.explain, [*history, targets]),
            protocol.SIMILAR: (self.similar, [targets]),
            protocol.ENCODE: (self.encode, history),
            protocol.RECOMMEND_EXAMPLES: (self.recommend_examples, examples),
            protocol.PREDICT_EXAMPLES: (self.predict_examples, examples),
            protocol.DESCRIBE: (self.describe, [item_ids_spec]),
        }
        signatures[protocol.RECOMMEND] = signatures[default]
        self.functions = {
            name: function for name, (function, _) in signatures.items()
        }
        self.input_specs = {
            name: specs for name, (_, specs) in signatures.items()
        }
        self._graphs: dict[str, tf.types.experimental.ConcreteFunction] = {}

    def graph(self, name: str) -> tf.types.experimental.ConcreteFunction:
        """Returns a signature as a graph.

        One takes a second or more to trace, so all who need it share it.

        Args:
            name: a key of `functions`.
        """
        if name not in self._graphs:
            self._graphs[name] = tf.function(
                self.functions[name],
                input_signature=self.input_specs[name],
                autograph=False,
            ).get_concrete_function()
        return self._graphs[name]

    def recommend(self, item_ids: tf.Tensor, ratings: tf.Tensor) -> Answer:
        """Recommends the unrated items with the highest scores.

        Returns:
            `item_ids` and `titles`, strings, `predicted_ratings` and `scores`,
            float32, all `(batch_size, k)`, best first. A user with fewer than
            k unrated items gets `""` and 0 at the end. An item without a title
            has its id there.
        """
        histories = self._read(item_ids, ratings)
        return self._recommend(histories, self._top_k)

    def recommend_top(
        self,
        item_ids: tf.Tensor,
        ratings: tf.Tensor,
        num_recommendations: tf.Tensor,
    ) -> Answer:
        """Recommends like `recommend`, as many items as each user asks for.

        Returns:
            What `recommend` returns; k is the largest of
            `num_recommendations`, int32 `(batch_size,)`, or the size of the
            catalog. A user who asks for fewer gets `""` and 0 at the end.
        """
        histories = self._read(item_ids, ratings)
        num_recommendations = checks.with_counts(
            checks.with_rows_of(
                checks.with_dimensions(
                    num_recommendations, protocol.NUM_RECOMMENDATIONS, "batch"
                ),
                protocol.NUM_RECOMMENDATIONS,
                histories.num_known_items,
                protocol.ITEM_IDS,
            ),
            protocol.NUM_RECOMMENDATIONS,
        )
        return self._recommend(
            histories,
            # Of an empty batch the largest is the lowest of all integers.
            tf.clip_by_value(
                tf.reduce_max(num_recommendations), 0, self._items.num_items
            ),
            num_recommendations,
        )

    def recommend_from(
        self,
        item_ids: tf.Tensor,
        ratings: tf.Tensor,
        candidate_item_ids: tf.Tensor,
    ) -> Answer:
        """Ranks the candidates that each user did not rate.

        Returns:
            `item_ids` and `titles`, strings, `predicted_ratings` and `scores`,
            float32, all `(batch_size, candidates)`, best first. Each candidate
            that is rated, unknown, `""` or a repetition leaves a `""` and 0 at
            the end.
        """
        histories = self._read(item_ids, ratings)
        users = self.predictor.read(histories.ratings)
        candidate_item_ids = _check_columns(
            candidate_item_ids, protocol.CANDIDATE_ITEM_IDS, histories
        )
        # Sorting brings repeated candidates together.
        candidates = tf.sort(self._items.index_of(candidate_item_ids), axis=1)
        is_first = tf.concat(
            [
                tf.ones_like(candidates[:, :1], tf.bool),
                candidates[:, 1:] != candidates[:, :-1],
            ],
            axis=1,
        )
        scores = tf.where(
            is_first & (candidates >= 0),
            tf.gather(
                self._scores_of_unrated(users, histories),
                tf.maximum(candidates, 0),
                batch_dims=1,
            ),
            -float("inf"),
        )
        scores, columns = tf.math.top_k(scores, tf.shape(candidates)[1])
        return self._ranking(
            scores,
            tf.gather(candidates, columns, batch_dims=1),
            users,
            histories,
        )

    def predict(
        self,
        item_ids: tf.Tensor,
        ratings: tf.Tensor,
        candidate_item_ids: tf.Tensor,
    ) -> Answer:
        """Predicts each user's ratings of candidates, including rated ones.

        Returns:
            `predicted_ratings`, float32, and `candidate_known`, bool, both
            `(batch_size, candidates)`; and, where the uncertainty is known,
            `standard_deviations`, float32, of the ratings around the
            predictions before these are clipped. The prediction for an unknown
            candidate is the mean rating plus the user's offset.
        """
        histories = self._read(item_ids, ratings)
        candidate_item_ids = _check_columns(
            candidate_item_ids, protocol.CANDIDATE_ITEM_IDS, histories
        )
        candidates = self._items.index_of(candidate_item_ids)
        candidate_known = candidates >= 0
        items = tf.maximum(candidates, 0)
        predictions = tf.where(
            candidate_known,
            self.predictor.predict(
                self.predictor.read(histories.ratings), items
            ),
            self._biases.predict_cold(histories.ratings),
        )
        answer = {
            protocol.PREDICTED_RATINGS: self._to_ratings(predictions),
            protocol.CANDIDATE_KNOWN: candidate_known,
            protocol.NUM_KNOWN_ITEMS: histories.num_known_items,
        }
        if self._uncertainty is not None:
            answer[protocol.STANDARD_DEVIATIONS] = tf.where(
                candidate_known,
                self._uncertainty(histories.ratings, predictions, items),
                self._uncertainty.of_unknown_items(
                    histories.ratings, predictions
                ),
            )
        return answer

    def explain(
        self,
        item_ids: tf.Tensor,
        ratings: tf.Tensor,
        target_item_ids: tf.Tensor,
    ) -> Answer:
        """Explains scores by the user's ratings that contributed most.

        The contribution of a rating is the target's score minus its score
        without that rating. If the target itself is rated, its own rating
        contributes as well.

        Returns:
            `reason_item_ids` and `reason_titles`, strings, and
            `contributions`, float32, all
            `(batch_size, targets, NUM_REASONS)`, the strongest first, filled
            up with `""` and 0; and `target_known`, bool `(batch_size,
            targets)`. An unknown target has no reasons.
        """
        histories = self._read(item_ids, ratings)
        target_item_ids = _check_columns(
            target_item_ids, protocol.TARGET_ITEM_IDS, histories
        )
        targets = self._items.index_of(target_item_ids)
        target_known = targets >= 0
        reasons, contributions = self._explainer.explain(
            histories.ratings, tf.maximum(targets, 0)
        )
        has_reasons = target_known[:, :, tf.newaxis]
        reasons = tf.where(has_reasons, reasons, -1)
        return {
            protocol.REASON_ITEM_IDS: self._items.id_of(reasons),
            protocol.REASON_TITLES: self._items.title_of(reasons),
            protocol.CONTRIBUTIONS: tf.where(has_reasons, contributions, 0.0),
            protocol.TARGET_KNOWN: target_known,
            protocol.NUM_KNOWN_ITEMS: histories.num_known_items,
        }

    def similar(self, target_item_ids: tf.Tensor) -> Answer:
        """Finds the items most similar to each target.

        The similarity of two items is the cosine of their rows of the model's
        output kernel: of `reverse_kernel` of the first layer, which is its
        `kernel` if weights are tied; of a taught model, of `reverse_kernel` of
        the interest layer.

        Returns:
            `similar_item_ids` and `similar_titles`, strings, and
            `similarities`, float32 in [-1, 1], all
            `(batch_size, targets, k)`, most similar first,
            without the target itself, where k is `top_k` or, if that is less,
            the number of other items; and `target_known`, bool `(batch_size,
            targets)`. An unknown target has `""` and 0 throughout.
        """
        target_item_ids = checks.with_dimensions(
            target_item_ids, protocol.TARGET_ITEM_IDS, "batch, items"
        )
        targets = self._items.index_of(target_item_ids)
        target_known = targets >= 0
        indices, similarities = self._similarity.find_similar(
            tf.reshape(tf.maximum(targets, 0), [-1])
        )
        shape = tf.concat([tf.shape(targets), tf.shape(indices)[1:]], axis=0)
        is_known = target_known[:, :, tf.newaxis]
        similar = tf.where(is_known, tf.reshape(indices, shape), -1)
        return {
            protocol.SIMILAR_ITEM_IDS: self._items.id_of(similar),
            protocol.SIMILAR_TITLES: self._items.title_of(similar),
            protocol.SIMILARITIES: tf.where(
                is_known, tf.reshape(similarities, shape), 0.0
            ),
            protocol.TARGET_KNOWN: target_known,
        }

    def encode(self, item_ids: tf.Tensor, ratings: tf.Tensor) -> Answer:
        """Computes each user's code.

        Returns:
            `code`, float32 `(batch_size, code_units)`.
        """
        histories = self._read(item_ids, ratings)
        code = self.predictor.encode(histories.ratings)
        return {
            protocol.CODE: tf.cast(code, tf.float32),
            protocol.NUM_KNOWN_ITEMS: histories.num_known_items,
        }

    def recommend_examples(self, examples: tf.Tensor) -> Answer:
        """Answers like `recommend`, for serialized `tf.train.Example`s."""
        return self.recommend(
            **read_examples(examples, protocol.ITEM_IDS, protocol.RATINGS)
        )

    def predict_examples(self, examples: tf.Tensor) -> Answer:
        """Answers like `predict`, for serialized `tf.train.Example`s.

        Rows are as long as the longest list of candidates in the batch, which
        may be another caller's: ignore the entries beyond a user's own
        candidates.
        """
        return self.predict(
            **read_examples(
                examples,
                protocol.ITEM_IDS,
                protocol.RATINGS,
                protocol.CANDIDATE_ITEM_IDS,
            )
        )

    def describe(self, item_ids: tf.Tensor) -> Answer:
        """Tells which items the model knows, and how to form requests.

        Returns:
            `item_known`, bool of the shape of `item_ids`; and, the same in
            every row, `history_length`, int32 `(batch_size,)`, the length to
            pad histories to, and `rating_min` and `rating_max`, float32
            `(batch_size,)`, the rating scale.
        """
        item_ids = checks.with_dimensions(
            item_ids, protocol.ITEM_IDS, "batch, items"
        )
        rows = tf.shape(item_ids)[:1]
        low, high = self.rating_scale
        return {
            protocol.ITEM_KNOWN: self._items.index_of(item_ids) >= 0,
            protocol.HISTORY_LENGTH: tf.fill(rows, self.history_length),
            protocol.RATING_MIN: tf.fill(rows, tf.cast(low, tf.float32)),
            protocol.RATING_MAX: tf.fill(rows, tf.cast(high, tf.float32)),
        }

    def _read(self, item_ids: tf.Tensor, ratings: tf.Tensor) -> Histories:
        return read_histories(item_ids, ratings, self._items, self.rating_scale)

    def _recommend(
        self,
        histories: Histories,
        k: int | tf.Tensor,
        lengths: tf.Tensor | None = None,
    ) -> Answer:
        """Recommends k items, or the first `lengths` of them."""
        users = self.predictor.read(histories.ratings)
        scores, indices = top_k(self._scores_of_unrated(users, histories), k)
        if lengths is not None:
            scores = tf.where(
                tf.range(k) < lengths[:, tf.newaxis], scores, -float("inf")
            )
        return self._ranking(
            scores, tf.cast(indices, tf.int64), users, histories
        )

    def _scores_of_unrated(self, users: Any, histories: Histories) -> tf.Tensor:
        """Computes the scores of all items; -infinity for rated ones."""
        return tf.tensor_scatter_nd_update(
            self.predictor.score(users),
            histories.ratings.indices,
            tf.fill(tf.shape(histories.ratings.values), -float("inf")),
        )

    def _ranking(
        self,
        scores: tf.Tensor,
        indices: tf.Tensor,
        users: Any,
        histories: Histories,
    ) -> Answer:
        """Answers with items in order; -infinity scores become fillers."""
        is_item = tf.math.is_finite(scores)
        ratings = self.predictor.predict_ranked(
            users, tf.where(is_item, indices, 0), scores
        )
        indices = tf.where(is_item, indices, -1)
        return {
            protocol.ITEM_IDS: self._items.id_of(indices),
            protocol.TITLES: self._items.title_of(indices),
            protocol.PREDICTED_RATINGS: tf.where(
                is_item, self._to_ratings(ratings), 0.0
            ),
            protocol.SCORES: tf.where(is_item, scores, 0.0),
            protocol.NUM_KNOWN_ITEMS: histories.num_known_items,
        }

    def _to_ratings(self, predictions: tf.Tensor) -> tf.Tensor:
        if not self._clip_predictions:
            return predictions
        return tf.clip_by_value(predictions, *self.rating_scale)


def _make_predictor(model: RatingModel, rank_by: str) -> Predictor[Any]:
    if isinstance(model, TaughtAutoEncoder):
        return TaughtPredictor(model, rank_by)
    return AutoEncoderPredictor(model, rank_by)


def _check_columns(
    item_ids: tf.Tensor, name: str, histories: Histories
) -> tf.Tensor:
    """Checks the lists of items that a request has besides histories."""
    return checks.with_rows_of(
        checks.with_dimensions(item_ids, name, "batch, items"),
        name,
        histories.num_known_items,
        protocol.ITEM_IDS,
    )


def _strings(name: str, rank: int) -> tf.TensorSpec:
    return tf.TensorSpec([None] * rank, tf.string, name)
