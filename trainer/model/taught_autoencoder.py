"""The deep autoencoder that learns from teachers: ratings and interest."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from data_prep.dataset.errors import UserError
from trainer.model import losses
from trainer.model.activations import ACTIVATIONS
from trainer.model.global_batch import GlobalDropout, draw_uniform
from trainer.model.item_subsets import find_rated_items, sample_items
from trainer.model.layers import PACKAGE, RatingCentering, ReversibleDense
from trainer.model.network_arguments import check_network_arguments
from trainer.model.rating_model import RatingModel

#: Factor on the input, a vector of about unit length, whose product with a
#: Glorot kernel of thousands of rows would start close to 0, where SELU is
#: nearly linear.
_INPUT_SCALE = 10.0

#: Added to the logit of an item, which then has no share in a softmax.
_NO_LOGIT = -1e9


class Answers(NamedTuple):
    """What the parts of a `TaughtAutoEncoder` answer.

    Attributes:
        network: ratings, `(batch_size, num_asked)`, by the network.
        teacher: ratings by its teacher; the network's if it has none.
        interest: logits of the interest.
    """

    network: tf.Tensor
    teacher: tf.Tensor
    interest: tf.Tensor


class _InterestTargets(NamedTuple):
    """What the interest in some items shall be.

    Attributes:
        items: the items of the columns; `None` for the catalog in order.
        targets: distributions over these items, `(batch_size, num_asked)`.
        corrections: logarithms of the numbers of items that each of them
            stands for, which are added to the logits, `(batch_size,
            num_asked)`; 0 for the catalog.
    """

    items: tf.Tensor | None
    targets: tf.Tensor
    corrections: tf.Tensor | float


@keras.saving.register_keras_serializable(package=PACKAGE)
class TaughtAutoEncoder(RatingModel):
    """Predicts ratings and interest, as teachers do, from ratings.

    The network reads values and mask and has two outputs of one code. With
    `c` the centered ratings of a user, in standard deviations, and `n` their
    number:

        hidden = activation(V' c / sqrt(n + 1) + M' rated / sqrt(n + 1))
        code = encoder(hidden)
        f(x), i(x) = R decoder(code), I decoder(code)

    `f(x)` is the centered rating of every item, `i(x)` the logit of the
    interest in it: how likely the user is to choose it.

    A training step updates the weights twice:

    1. On a random part of each history, `f(x)` moves towards what the rating
       teacher answers to this part, for all items, and `i(x)` towards the
       softmax of the interest teacher's scores. So the network learns what
       can be said of short histories, and does not learn users by heart.
    2. Dense re-feeding: `f(f(x))` moves towards `f(x)`, taken for the ratings
       of a user who rated everything, as in the paper.

    The ratings themselves are not a target beside the rating teacher: they
    are noisy where its answers are not. Without one, update 1 is about the
    rated entries of the whole history; without an interest teacher, it is the
    multinomial likelihood of these items.

    The teachers are part of the model, and frozen. Ratings are served as a
    mean of network and rating teacher, items ranked by the interest plus some
    of the rating; both weights are chosen on validation ratings.

    Reference:
        Kuchaiev and Ginsburg, 2017, "Training Deep AutoEncoders for
        Collaborative Filtering" (https://arxiv.org/abs/1708.01715): layers,
        dropout of the code, re-feeding. Hinton, Vinyals and Dean, 2015,
        "Distilling the Knowledge in a Neural Network"
        (https://arxiv.org/abs/1503.02531): a softmax as target. Liang et al.,
        2018, "Variational Autoencoders for Collaborative Filtering"
        (https://arxiv.org/abs/1802.05814): the multinomial likelihood.

    Args:
        num_items: size of the catalog.
        rating_teacher: maps ratings to a rating of every item.
        interest_teacher: maps ratings to a score of every item.
        hidden_units: sizes of the encoder's layers, the code last. The
            decoder mirrors them.
        activation: one of `activations.ACTIVATIONS`, of the hidden layers. The
            outputs are linear.
        dropout_rate: fraction of the code that training drops.
        whole_history_rate: share of the users whose whole history a step
            shows; of the others, a uniformly random share of the ratings.
        num_refeeds: number of dense re-feeding updates per batch.
        num_sampled_items: number of items, sampled for each batch, that stand
            for the catalog in every target: a step then costs as much as they
            and the items rated in the batch do. 0 for the whole catalog.
        interest_weight: weight of the cross-entropy, in nats per user, beside
            the squared error of the ratings, in variances per item.
        sharpness: factor on the interest teacher's scores, which are brought
            to unit standard deviation for each user, before the softmax.
        seed: seed of dropout and parts.

    Call arguments:
        ratings: SparseTensor `(batch_size, num_items)`, float32. Its indices,
            in the order of the users, say what is rated.
        items: `(num_asked,)`, int64, the items to predict, by default the
            catalog in order.
        training: whether to drop.

    Output shape:
        `(batch_size, num_items)` or `(batch_size, num_asked)`, float32, not
        clipped to the rating scale.
    """

    def __init__(
        self,
        num_items: int,
        rating_teacher: RatingModel | None = None,
        interest_teacher: keras.Model | None = None,
        hidden_units: Sequence[int] = (384, 192),
        activation: str = "selu",
        dropout_rate: float = 0.1,
        whole_history_rate: float = 0.3,
        num_refeeds: int = 1,
        num_sampled_items: int = 0,
        interest_weight: float = 0.05,
        sharpness: float = 0.5,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.check_arguments(
            hidden_units=hidden_units,
            activation=activation,
            dropout_rate=dropout_rate,
            whole_history_rate=whole_history_rate,
            num_refeeds=num_refeeds,
            num_sampled_items=num_sampled_items,
            interest_weight=interest_weight,
            sharpness=sharpness,
        )
        super().__init__(**kwargs)
        self.num_items = num_items
        self.hidden_units = tuple(hidden_units)
        self.activation = activation
        self.dropout_rate = dropout_rate
        self.whole_history_rate = whole_history_rate
        self.num_refeeds = num_refeeds
        self.num_sampled_items = num_sampled_items
        self.interest_weight = interest_weight
        self.sharpness = sharpness
        self.seed = seed

        self.rating_teacher: Any = rating_teacher
        self.interest_teacher: Any = interest_teacher
        for teacher in (rating_teacher, interest_teacher):
            if teacher is not None:
                teacher.trainable = False

        self.centering = RatingCentering("user_item", name="centering")
        # Values come in and ratings go out through the one, the mask comes in
        # and interest goes out through the other: each has a row per item.
        self.rating_layer, self.interest_layer = (
            ReversibleDense(
                hidden_units[0],
                updates_rows=num_sampled_items > 0,
                dtype=self.dtype_policy,
                name=name,
            )
            for name in ("rating_layer", "interest_layer")
        )
        self.hidden_layers = [
            ReversibleDense(
                units,
                activation=ACTIVATIONS[activation],
                reverse_activation=ACTIVATIONS[activation],
                dtype=self.dtype_policy,
                name=f"hidden_{depth}",
            )
            for depth, units in enumerate(hidden_units[1:], start=1)
        ]
        self.dropout = GlobalDropout(
            dropout_rate, seed=seed, dtype=self.dtype_policy
        )
        self.part_draws = keras.random.SeedGenerator(seed)
        self.item_draws = keras.random.SeedGenerator(seed)

        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.interest_loss = keras.metrics.Mean(name="interest_loss")
        self.refeed_loss = keras.metrics.Mean(name="refeed_loss")
        self.build((None, num_items))

    @staticmethod
    def check_arguments(
        *,
        hidden_units: Sequence[int],
        activation: str,
        dropout_rate: float,
        whole_history_rate: float,
        num_refeeds: int,
        num_sampled_items: int,
        interest_weight: float,
        sharpness: float,
    ) -> None:
        """Checks the constructor's arguments before there is a catalog.

        Raises:
            UserError: a value that no model can have.
        """
        check_network_arguments(
            hidden_units,
            activation,
            num_refeeds,
            num_sampled_items,
            dropout_rate=dropout_rate,
        )
        if not 0 <= whole_history_rate <= 1:
            raise UserError(
                "`whole_history_rate` must be in [0, 1], a fraction, not a"
                " percentage. Received:"
                f" whole_history_rate={whole_history_rate}"
            )
        for name, value in (
            ("interest_weight", interest_weight),
            ("sharpness", sharpness),
        ):
            if not 0 <= value < float("inf"):
                raise UserError(
                    f"`{name}` must be a finite number of 0 or more."
                    f" Received: {name}={value}"
                )

    def build(self, ratings_shape: tuple[int | None, int]) -> None:
        self.centering.build(ratings_shape)
        self.rating_layer.build(ratings_shape)
        self.interest_layer.build(ratings_shape)
        input_units = self.hidden_units[0]
        for layer in self.hidden_layers:
            layer.build((None, input_units))
            input_units = layer.units

        def add_scalar(name: str, value: float) -> Any:
            return self.add_weight(
                name=name,
                shape=(),
                initializer=keras.initializers.Constant(value),
                dtype="float32",
                trainable=False,
            )

        self.deviation = add_scalar("deviation", 1.0)
        self.network_weight = add_scalar("network_weight", 1.0)
        self.rating_weight = add_scalar("rating_weight", 0.0)
        self.built = True

    def set_statistics(
        self, counts: np.ndarray, means: np.ndarray, deviation: float
    ) -> None:
        """Sets biases and unit from the training ratings.

        Args:
            counts: `(num_items,)`, the number of training ratings of each.
            means: `(num_items,)`, their mean; anything where the count is 0.
            deviation: standard deviation of the training ratings. The network
                works in its unit, so the scale of the ratings does not matter.
        """
        self.centering.set_statistics(counts, means)
        self.deviation.assign(deviation if deviation > 0 else 1.0)

    def encode(self, centered_ratings: tf.SparseTensor) -> tf.Tensor:
        """Computes the code of each user.

        Args:
            centered_ratings: `(batch_size, num_items)`, on the rating scale.

        Returns:
            `(batch_size, hidden_units[-1])`.
        """
        items = None
        if self.num_sampled_items:
            centered_ratings, items = find_rated_items(centered_ratings)
        return self._encode(*self.scale_inputs(centered_ratings), items)

    def scale_inputs(
        self, centered_ratings: tf.SparseTensor
    ) -> tuple[tf.SparseTensor, tf.SparseTensor]:
        """Scales what a user's history puts into the network.

        Args:
            centered_ratings: `(batch_size, num_items)`, on the rating scale.

        Returns:
            The values, in standard deviations, and the mask, both divided by
            the root of their number.
        """
        users = centered_ratings.indices[:, 0]
        counts = tf.math.unsorted_segment_sum(
            tf.ones_like(centered_ratings.values),
            users,
            centered_ratings.dense_shape[0],
        )
        scale = tf.gather(_INPUT_SCALE * tf.math.rsqrt(counts + 1), users)
        values = centered_ratings.values / self.deviation
        return (
            centered_ratings.with_values(values * scale),
            centered_ratings.with_values(scale),
        )

    def _encode_everything(
        self, outputs: tf.Tensor, items: tf.Tensor | None
    ) -> tf.Tensor:
        """Computes the codes of users who rated every item as `outputs` say.

        Args:
            outputs: `(batch_size, num_items)`, centered, in deviations, or of
                the items that stand for the catalog.
            items: these items.
        """
        num_outputs = outputs.shape[1]
        scale = _INPUT_SCALE / (self.num_items + 1) ** 0.5
        scale *= self.num_items / num_outputs
        return self._encode(
            outputs * scale, tf.fill([1, num_outputs], scale), items
        )

    def _encode(
        self,
        values: tf.SparseTensor | tf.Tensor,
        mask: tf.SparseTensor | tf.Tensor,
        items: tf.Tensor | None,
    ) -> tf.Tensor:
        return self.encode_sums(
            self.rating_layer(values, items=items)
            + self.interest_layer(mask, items=items)
        )

    def encode_sums(self, sums: tf.Tensor) -> tf.Tensor:
        """Computes the codes from the sums of the first layer.

        Args:
            sums: `(batch_size, hidden_units[0])`, the products of values and
                mask with their kernels, and both biases.

        Returns:
            `(batch_size, hidden_units[-1])`.
        """
        hidden = ACTIVATIONS[self.activation](sums)
        for layer in self.hidden_layers:
            hidden = layer(hidden)
        return hidden

    def decode_hidden(self, code: tf.Tensor) -> tf.Tensor:
        """Computes the last hidden layer from codes.

        Args:
            code: `(batch_size, hidden_units[-1])`.

        Returns:
            `(batch_size, hidden_units[0])`, of which both outputs are linear.
        """
        hidden = code
        for layer in reversed(self.hidden_layers):
            hidden = layer(hidden, reverse=True)
        return hidden

    def _output(
        self,
        layer: ReversibleDense,
        hidden: tf.Tensor,
        items: tf.Tensor | None = None,
    ) -> tf.Tensor:
        return tf.cast(layer(hidden, items=items, reverse=True), tf.float32)

    def call(
        self,
        ratings: tf.SparseTensor,
        items: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        network, _ = self._ask_network(ratings, items, training)
        if self.rating_teacher is None:
            return network
        # The validation after each epoch is of the network alone, which
        # answers much faster than the teacher.
        return tf.cond(
            self.network_weight < 1,
            lambda: self.blend(network, self.rating_teacher(ratings, items)),
            lambda: network,
        )

    def answer(
        self, ratings: tf.SparseTensor, items: tf.Tensor | None = None
    ) -> Answers:
        """Computes everything that is served, in its parts.

        Args:
            ratings: SparseTensor `(batch_size, num_items)`.
            items: as for a call.
        """
        network, hidden = self._ask_network(ratings, items, training=False)
        return Answers(
            network=network,
            teacher=(
                network
                if self.rating_teacher is None
                else self.rating_teacher(ratings, items)
            ),
            interest=self._output(self.interest_layer, hidden, items),
        )

    def blend(self, network: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
        """Mixes the ratings of network and teacher into those served."""
        return teacher + self.network_weight * (network - teacher)

    def score(
        self, answers: Answers, rating_weight: float | None = None
    ) -> tf.Tensor:
        """Computes what ranks items: the interest and some of the rating.

        Args:
            answers: what `answer` returned.
            rating_weight: the weight of the rating; by default the model's.

        Returns:
            `(batch_size, num_asked)`, float32, the higher the better.
        """
        weight = self.rating_weight if rating_weight is None else rating_weight
        predictions = self.blend(answers.network, answers.teacher)
        return answers.interest + weight * predictions / self.deviation

    def _ask_network(
        self, ratings: tf.SparseTensor, items: tf.Tensor | None, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes the network's ratings, and its last hidden layer."""
        centered_ratings, user_offsets = self.centering(ratings)
        code = self.dropout(self.encode(centered_ratings), training=training)
        hidden = self.decode_hidden(code)
        predictions = self.centering.restore(
            self.deviation * self._output(self.rating_layer, hidden, items),
            user_offsets,
            items,
        )
        return predictions, hidden

    def train_step(self, ratings: tf.SparseTensor) -> dict[str, tf.Tensor]:
        """Updates the weights `1 + num_refeeds` times.

        `optimizer.iterations` counts updates, not batches: let schedules
        count epochs or batches.

        Args:
            ratings: SparseTensor `(batch_size, num_items)`.

        Returns:
            The training metrics so far, with dropout on and from before each
            update: `loss`, the mean squared distance to the rating teacher in
            variances of the ratings, `interest_loss`, the cross-entropy in
            nats per user, and `refeed_loss`, as `loss`.
        """
        shown = self._show_parts(ratings)
        items = self._sample_items()
        centered_ratings, user_offsets = self.centering(shown)
        rating_targets = self._ask_rating_teacher(shown, user_offsets, items)
        interest = self._find_interest_targets(shown, ratings, items)
        with tf.GradientTape() as tape:
            code = self.dropout(self.encode(centered_ratings), training=True)
            hidden = self.decode_hidden(code)
            outputs = self._output(self.rating_layer, hidden, items)
            if rating_targets is None:
                errors = losses.squared_error(
                    self._normalize(ratings, user_offsets),
                    self._predict_rated(hidden, outputs, ratings),
                )
            else:
                errors = _dense_squared_error(rating_targets, outputs)
            loss = self._track_loss(self.loss_tracker, *errors)
            if self.interest_weight:
                logits = self._output(
                    self.interest_layer, hidden, interest.items
                )
                loss += self.interest_weight * self._track_loss(
                    self.interest_loss,
                    *_cross_entropy(
                        interest.targets, logits + interest.corrections
                    ),
                )
        self._apply_gradients(tape, loss)
        for _ in range(self.num_refeeds):
            refed = tf.stop_gradient(outputs)
            with tf.GradientTape() as tape:
                code = self.dropout(
                    self._encode_everything(refed, items), training=True
                )
                outputs = self._output(
                    self.rating_layer, self.decode_hidden(code), items
                )
                loss = self._track_loss(
                    self.refeed_loss, *_dense_squared_error(refed, outputs)
                )
            self._apply_gradients(tape, loss)
        return self.training_metrics()

    def _show_parts(self, ratings: tf.SparseTensor) -> tf.SparseTensor:
        """Draws the part of each history that the network gets to see."""
        if self.whole_history_rate == 1:
            return ratings
        draws = draw_uniform(2, ratings.dense_shape[0], self.part_draws)
        shares = tf.where(draws[0] < self.whole_history_rate, 1.0, draws[1])
        (chances,) = tf.unstack(
            draw_uniform(1, tf.size(ratings.values), self.part_draws)
        )
        is_shown = chances < tf.gather(shares, ratings.indices[:, 0])
        return tf.sparse.retain(ratings, is_shown)

    def _normalize(
        self, ratings: tf.SparseTensor, user_offsets: tf.Tensor
    ) -> tf.Tensor:
        """Centers ratings by offsets of users and divides by the deviation."""
        users, items = tf.unstack(ratings.indices, axis=1)
        biases = (
            self.centering.mean
            + tf.gather(
                tf.convert_to_tensor(self.centering.item_offsets), items
            )
            + tf.gather(user_offsets[:, 0], users)
        )
        return (ratings.values - biases) / self.deviation

    def _sample_items(self) -> tf.Tensor | None:
        """Samples the items that stand for the catalog."""
        if not self.num_sampled_items:
            return None
        return sample_items(
            min(self.num_sampled_items, self.num_items),
            self.num_items,
            self.item_draws,
        )

    def _predict_rated(
        self, hidden: tf.Tensor, outputs: tf.Tensor, ratings: tf.SparseTensor
    ) -> tf.Tensor:
        """Computes `f(x)` of the entries that are rated.

        Args:
            hidden: `(batch_size, hidden_units[0])`.
            outputs: `f(x)` of the catalog or of the sampled items.
            ratings: the entries.
        """
        if not self.num_sampled_items:
            return tf.gather_nd(outputs, ratings.indices)
        rated, items = find_rated_items(ratings)
        outputs = self._output(self.rating_layer, hidden, items)
        return tf.gather_nd(outputs, rated.indices)

    def _ask_rating_teacher(
        self,
        shown: tf.SparseTensor,
        user_offsets: tf.Tensor,
        items: tf.Tensor | None,
    ) -> tf.Tensor | None:
        """Computes the targets of `f(x)`, centered, in deviations."""
        if self.rating_teacher is None:
            return None
        answers = self.rating_teacher(shown, items, training=True)
        biases = self.centering.restore(
            tf.zeros_like(answers), user_offsets, items
        )
        return tf.stop_gradient((answers - biases) / self.deviation)

    def _find_interest_targets(
        self,
        shown: tf.SparseTensor,
        ratings: tf.SparseTensor,
        items: tf.Tensor | None,
    ) -> "_InterestTargets":
        """Computes the distributions that are the targets of `i(x)`."""
        if self.interest_teacher is not None:
            scores = self.interest_teacher(shown)
            deviations = tf.math.reduce_std(scores, axis=1, keepdims=True)
            scores = self.sharpness * tf.math.divide_no_nan(scores, deviations)
            if items is not None:
                scores = tf.gather(scores, items, axis=1)
            return _InterestTargets(
                items, tf.stop_gradient(tf.nn.softmax(scores)), 0.0
            )
        if items is None:
            chosen = _uniform(ratings.indices, ratings.dense_shape)
            return _InterestTargets(None, chosen, 0.0)
        rated = find_rated_items(ratings)
        items, places = tf.unique(tf.concat([rated.items, items], axis=0))
        num_asked = tf.size(items)
        is_sampled = (
            tf.math.bincount(
                places[tf.size(rated.items) :], minlength=num_asked
            )
            > 0
        )
        targets = _uniform(
            rated.ratings.indices,
            tf.stack([ratings.dense_shape[0], tf.cast(num_asked, tf.int64)]),
        )
        # A sampled item stands for as many as its stratum has, one that the
        # user rated for itself, and one that only others rated for nothing:
        # what a user learns does not depend on the others.
        stratum_size = max(self.num_items / self.num_sampled_items, 1.0)
        corrections = tf.where(
            targets > 0,
            0.0,
            tf.where(is_sampled, math.log(stratum_size), _NO_LOGIT),
        )
        return _InterestTargets(items, targets, corrections)

    def loss_trackers(self) -> list[keras.metrics.Mean]:
        trackers = [self.loss_tracker]
        if self.interest_weight:
            trackers.append(self.interest_loss)
        if self.num_refeeds:
            trackers.append(self.refeed_loss)
        return trackers

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_items": self.num_items,
            "rating_teacher": keras.saving.serialize_keras_object(
                self.rating_teacher
            ),
            "interest_teacher": keras.saving.serialize_keras_object(
                self.interest_teacher
            ),
            "hidden_units": self.hidden_units,
            "activation": self.activation,
            "dropout_rate": self.dropout_rate,
            "whole_history_rate": self.whole_history_rate,
            "num_refeeds": self.num_refeeds,
            "num_sampled_items": self.num_sampled_items,
            "interest_weight": self.interest_weight,
            "sharpness": self.sharpness,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TaughtAutoEncoder":
        """Makes a model of its config, teachers included."""
        teachers = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("rating_teacher", "interest_teacher")
        }
        return cls(**{**config, **teachers})


def _uniform(indices: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Makes each row a uniform distribution over its entries, if it has any.

    Args:
        indices: `(num_entries, 2)`, int64, row and column of each entry.
        shape: `(2,)`, int64.
    """
    chosen = tf.scatter_nd(indices, tf.ones(tf.shape(indices)[:1]), shape)
    return tf.math.divide_no_nan(
        chosen, tf.reduce_sum(chosen, axis=1, keepdims=True)
    )


def _dense_squared_error(
    targets: tf.Tensor, outputs: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """As `losses.squared_error`, over every item of every user."""
    return losses.squared_error(
        tf.reshape(targets, [-1]), tf.reshape(outputs, [-1])
    )


def _cross_entropy(
    targets: tf.Tensor, logits: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the cross-entropy of the users and their number."""
    entropies = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
    return (
        tf.reduce_sum(entropies),
        tf.cast(tf.size(entropies), tf.float32),
    )
