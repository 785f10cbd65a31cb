"""The deep autoencoder with dense re-feeding."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from data_prep.dataset.errors import UserError
from trainer import losses
from trainer.activations import ACTIVATIONS
from trainer.item_subsets import find_rated_items, sample_items
from trainer.layers import PACKAGE, RatingCentering, ReversibleDense
from trainer.optimizers import RowOptimizer
from trainer.rating_model import RatingModel


@keras.saving.register_keras_serializable(package=PACKAGE)
class AutoEncoder(RatingModel):
    """Predicts a user's rating of every item from the ratings he gave.

    The encoder narrows the sparse vector of a user's ratings to a code, the
    decoder mirrors it and answers with a dense vector:

        f(x) = decode(dropout(encode(x)))

    A training step updates the weights `1 + num_refeeds` times, each time
    towards reproducing its input: first the ratings, where the loss counts
    the rated entries only; then the dense output f(x) itself, taken as the
    ratings of a user who rated everything, because a perfect f has
    f(f(x)) = f(x). The re-fed f(x) is the training-mode output from before
    the first update, and it is a constant: no gradient flows into it.

    `encode` and `decode` work on what `centering` leaves of the ratings; `call`
    takes and returns ratings.

    Reference:
        Kuchaiev and Ginsburg, 2017, "Training Deep AutoEncoders for
        Collaborative Filtering" (https://arxiv.org/abs/1708.01715), and the
        authors' code (https://github.com/NVIDIA/DeepRecommender).

    Args:
        num_items: size of the catalogue.
        hidden_units: sizes of the encoder's layers, the code last.
        activation: one of `activations.ACTIVATIONS`, used throughout.
        last_layer_activation: whether it is used on the output as well, as in
            the paper's best models. Off, the output is linear.
        dropout_rate: fraction of the code that training drops. Nothing else
            is dropped: dropout on every layer "stifled convergence" (section
            3.5).
        tie_weights: whether the decoder uses the transposed kernels of the
            encoder.
        num_refeeds: number of dense re-feeding updates a batch.
        refeed_noise_rate: fraction of the re-fed entries that is dropped from
            input and target.
        num_sampled_items: number of items drawn for the re-feeding of each batch,
            which stand for the whole catalogue; 0 re-feeds all of it. With a
            lazy optimizer a step then costs what the items cost that it
            rated or drew, whatever the size of the catalogue.
        centering: one of `layers.CENTERINGS`. Give its statistics with
            `model.centering.set_statistics` before training.
        seed: seed of the dropout.

    Call arguments:
        ratings: SparseTensor `(batch_size, num_items)`, float32. Its indices,
            in the order of the users, say what is rated: a stored 0 is a
            rating.
        training: whether to drop.

    Output shape:
        `(batch_size, num_items)`, float32, not clipped to the rating scale.

    Example:
        >>> model = AutoEncoder(num_items=4, hidden_units=(2,))
        >>> ratings = tf.SparseTensor([[0, 1], [0, 3]], [5.0, 1.0], [1, 4])
        >>> model(ratings).shape
        TensorShape([1, 4])
    """

    def __init__(
        self,
        num_items: int,
        hidden_units: Sequence[int] = (512, 512, 1024),
        activation: str = "selu",
        last_layer_activation: bool = True,
        dropout_rate: float = 0.8,
        tie_weights: bool = False,
        num_refeeds: int = 1,
        refeed_noise_rate: float = 0.0,
        num_sampled_items: int = 0,
        centering: str = "none",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.check_arguments(
            hidden_units=hidden_units,
            activation=activation,
            last_layer_activation=last_layer_activation,
            dropout_rate=dropout_rate,
            tie_weights=tie_weights,
            num_refeeds=num_refeeds,
            refeed_noise_rate=refeed_noise_rate,
            num_sampled_items=num_sampled_items,
            centering=centering,
            seed=seed,
        )
        super().__init__(**kwargs)
        self.num_items = num_items
        self.hidden_units = tuple(hidden_units)
        self.activation = activation
        self.last_layer_activation = last_layer_activation
        self.dropout_rate = dropout_rate
        self.tie_weights = tie_weights
        self.num_refeeds = num_refeeds
        self.refeed_noise_rate = refeed_noise_rate
        self.num_sampled_items = num_sampled_items
        self.seed = seed

        self.centering = RatingCentering(centering, name="centering")
        self.dense_layers = [
            ReversibleDense(
                units,
                activation=ACTIVATIONS[activation],
                reverse_activation=(
                    ACTIVATIONS[activation]
                    if depth or last_layer_activation
                    else None
                ),
                tie_weights=tie_weights,
                updates_rows=num_sampled_items > 0 and depth == 0,
                dtype=self.dtype_policy,
                name=f"dense_{depth}",
            )
            for depth, units in enumerate(hidden_units)
        ]
        self.dropout = keras.layers.Dropout(
            dropout_rate, seed=seed, dtype=self.dtype_policy
        )
        self.refeed_noise = keras.layers.Dropout(refeed_noise_rate, seed=seed)
        self.item_draws = keras.random.SeedGenerator(seed)

        self.rating_loss = keras.metrics.Mean(name="loss")
        self.refeed_loss = keras.metrics.Mean(name="refeed_loss")
        # Every size is known, so the weights exist from the start: optimizers,
        # checkpoints and strategies need not see a batch first.
        self.build((None, num_items))

    @staticmethod
    def check_arguments(
        *,
        hidden_units: Sequence[int],
        activation: str,
        dropout_rate: float,
        num_refeeds: int,
        refeed_noise_rate: float,
        num_sampled_items: int,
        centering: str,
        **_: Any,
    ) -> None:
        """Checks the constructor's arguments before there is a catalogue.

        Raises:
            UserError: a value that no model can have.
        """
        if not hidden_units or min(hidden_units) < 1:
            raise UserError(
                "`hidden_units` must be one or more positive integers."
                f" Received: hidden_units={hidden_units}"
            )
        if activation not in ACTIVATIONS:
            raise UserError(
                f"`activation` must be one of {', '.join(ACTIVATIONS)}."
                f" Received: activation={activation!r}"
            )
        for name, rate in (
            ("dropout_rate", dropout_rate),
            ("refeed_noise_rate", refeed_noise_rate),
        ):
            if not 0 <= rate < 1:
                raise UserError(
                    f"`{name}` must be in [0, 1), a fraction, not a"
                    f" percentage. Received: {name}={rate}"
                )
        if num_refeeds < 0:
            raise UserError(
                "`num_refeeds` must be 0 or more."
                f" Received: num_refeeds={num_refeeds}"
            )
        if num_sampled_items < 0:
            raise UserError(
                "`num_sampled_items` must be 0 or more."
                f" Received: num_sampled_items={num_sampled_items}"
            )
        RatingCentering(centering)

    def build(self, ratings_shape: tuple[int | None, int]) -> None:
        self.centering.build(ratings_shape)
        input_units = self.num_items
        for layer in self.dense_layers:
            layer.build((None, input_units))
            input_units = layer.units
        self.built = True

    def encode(
        self,
        centered_ratings: tf.SparseTensor | tf.Tensor,
        items: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Computes the code of each user.

        Args:
            centered_ratings: `(batch_size, num_items)`, sparse or dense, 0
                where there is none.
            items: the items of the columns, by default the catalogue in
                order.

        Returns:
            `(batch_size, hidden_units[-1])`.
        """
        if isinstance(centered_ratings, tf.SparseTensor) and items is None:
            centered_ratings, items = self._select_rated(centered_ratings)
        return self.encode_hidden(
            self.dense_layers[0](centered_ratings, items=items)
        )

    def encode_hidden(self, hidden: tf.Tensor) -> tf.Tensor:
        """Computes codes from the first hidden layer.

        Args:
            hidden: `(batch_size, hidden_units[0])`.

        Returns:
            `(batch_size, hidden_units[-1])`.
        """
        outputs = hidden
        for layer in self.dense_layers[1:]:
            outputs = layer(outputs)
        return outputs

    def decode(
        self, code: tf.Tensor, items: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Computes centered predictions from a code.

        Args:
            code: `(batch_size, hidden_units[-1])`.
            items: what to predict, by default the catalogue in order.

        Returns:
            `(batch_size, num_items)`, float32.
        """
        return self._predict(self.decode_hidden(code), items)

    def decode_hidden(self, code: tf.Tensor) -> tf.Tensor:
        """Computes the last hidden layer from codes.

        Args:
            code: `(batch_size, hidden_units[-1])`.

        Returns:
            `(batch_size, hidden_units[0])`.
        """
        outputs = code
        for layer in reversed(self.dense_layers[1:]):
            outputs = layer(outputs, reverse=True)
        return outputs

    def _predict(self, hidden: tf.Tensor, items: tf.Tensor | None) -> tf.Tensor:
        """Computes centered predictions from the last hidden layer."""
        outputs = self.dense_layers[0](hidden, items=items, reverse=True)
        return tf.cast(outputs, tf.float32)

    def _predict_entries(
        self,
        hidden: tf.Tensor,
        indices: tf.Tensor,
        items: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """As `_predict`, for a loss about some entries of the predictions.

        Returns:
            These entries, and all predictions as constants.
        """
        entries, outputs = self.dense_layers[0].reverse_entries(
            hidden, indices, items
        )
        return tf.cast(entries, tf.float32), tf.cast(outputs, tf.float32)

    def _select_rated(
        self, ratings: tf.SparseTensor
    ) -> tuple[tf.SparseTensor, tf.Tensor | None]:
        """Drops the columns that nobody rated, where rows are updated."""
        if not self.num_sampled_items:
            return ratings, None
        return find_rated_items(ratings)

    def call(
        self,
        ratings: tf.SparseTensor,
        items: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        centered_ratings, user_offsets = self.centering(ratings)
        code = self.dropout(self.encode(centered_ratings), training=training)
        return self.centering.restore(
            self.decode(code, items), user_offsets, items
        )

    def train_step(self, ratings: tf.SparseTensor) -> dict[str, tf.Tensor]:
        """Updates the weights `1 + num_refeeds` times.

        `optimizer.iterations` counts updates, not batches: let schedules
        count epochs or batches.

        Args:
            ratings: SparseTensor `(batch_size, num_items)`.

        Returns:
            The training metrics so far: `loss`, the masked mean squared error
            over the ratings seen, and `refeed_loss`, with dropout on and from
            before each update.
        """
        centered_ratings, _ = self.centering(ratings)
        rated, items = self._select_rated(centered_ratings)
        with tf.GradientTape() as tape:
            hidden = self._encode_and_drop(rated, items)
            predictions, outputs = self._predict_entries(
                hidden, rated.indices, items
            )
            loss = self._track_loss(
                self.rating_loss,
                *losses.squared_error(rated.values, predictions),
            )
        if self.num_refeeds and self.num_sampled_items:
            items = self._draw_items()
            outputs = self._predict(hidden, items)
        self._apply_gradients(tape, loss)
        for _ in range(self.num_refeeds):
            refed = self.refeed_noise(outputs, training=True)
            with tf.GradientTape() as tape:
                hidden = self._encode_and_drop(self._scale_up(refed), items)
                outputs = self._predict(hidden, items)
                loss = self._track_loss(
                    self.refeed_loss,
                    *losses.masked_squared_error(refed, outputs),
                )
            self._apply_gradients(tape, loss)
        return self.training_metrics()

    def _encode_and_drop(
        self, inputs: tf.SparseTensor | tf.Tensor, items: tf.Tensor | None
    ) -> tf.Tensor:
        """Computes the last hidden layer in training mode."""
        code = self.dropout(self.encode(inputs, items), training=True)
        return self.decode_hidden(code)

    def _draw_items(self) -> tf.Tensor:
        """Draws the items that a re-feeding is about."""
        return sample_items(
            min(self.num_sampled_items, self.num_items),
            self.num_items,
            self.item_draws,
        )

    def _scale_up(self, refed: tf.Tensor) -> tf.Tensor:
        """Makes what was drawn stand for the whole catalogue."""
        if not 0 < self.num_sampled_items < self.num_items:
            return refed
        return refed * (self.num_items / self.num_sampled_items)

    def _track_loss(
        self, tracker: keras.metrics.Mean, total: tf.Tensor, count: tf.Tensor
    ) -> tf.Tensor:
        """Computes what to differentiate, and adds the loss to its metric."""
        tracker.update_state(tf.math.divide_no_nan(total, count), count)
        return self.optimizer.scale_loss(losses.global_mean(total, count))

    def _apply_gradients(self, tape: tf.GradientTape, loss: tf.Tensor) -> None:
        weights = self.trainable_variables
        gradients = tape.gradient(loss, weights)
        if not isinstance(
            getattr(self.optimizer, "inner_optimizer", self.optimizer),
            RowOptimizer,
        ):
            # The optimizers of Keras mistake rows that several replicas read.
            gradients = [tf.convert_to_tensor(g) for g in gradients]
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))

    def training_metrics(self) -> dict[str, tf.Tensor]:
        """Reads the metrics that `train_step` updates.

        Outside `strategy.run` they cover all replicas, inside its own.
        """
        metrics = {"loss": self.rating_loss.result()}
        if self.num_refeeds:
            metrics["refeed_loss"] = self.refeed_loss.result()
        return metrics

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_items": self.num_items,
            "hidden_units": self.hidden_units,
            "activation": self.activation,
            "last_layer_activation": self.last_layer_activation,
            "dropout_rate": self.dropout_rate,
            "tie_weights": self.tie_weights,
            "num_refeeds": self.num_refeeds,
            "refeed_noise_rate": self.refeed_noise_rate,
            "num_sampled_items": self.num_sampled_items,
            "centering": self.centering.mode,
            "seed": self.seed,
        }
