"""The deep autoencoder with dense re-feeding.

The recipes `paper` and `untaught` train it; the others train the model of
`trainer.model.taught_autoencoder`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from trainer.model import losses
from trainer.model.activations import ACTIVATIONS
from trainer.model.global_batch import GlobalDropout
from trainer.model.item_subsets import find_rated_items, sample_items
from trainer.model.layers import PACKAGE, RatingCentering, ReversibleDense
from trainer.model.network_arguments import check_network_arguments
from trainer.model.rating_model import RatingModel
from trainer.renamed_settings import use_current_names


@keras.saving.register_keras_serializable(package=PACKAGE)
class AutoEncoder(RatingModel):
    """Predicts a user's rating of every item from the ratings they gave.

    The encoder maps the sparse vector of a user's ratings to a code; the
    decoder mirrors the encoder and maps the code to a dense vector:

        f(x) = decode(dropout(encode(x)))

    A training step updates the weights `1 + num_refeeds` times, each time
    towards reproducing the input: first the ratings, with a loss over the
    rated entries only; then the dense output f(x), as if it were the ratings
    of a user who rated everything, because a perfect f has f(f(x)) = f(x). The
    re-fed f(x) is the training-mode output from before the first update, and a
    constant: no gradient flows into it.

    `encode` and `decode` work on centered ratings; `call` takes and returns
    ratings.

    Reference:
        Kuchaiev and Ginsburg, 2017, "Training Deep AutoEncoders for
        Collaborative Filtering" (https://arxiv.org/abs/1708.01715), and the
        authors' code (https://github.com/NVIDIA/DeepRecommender).

    Args:
        num_items: size of the catalog.
        hidden_units: sizes of the encoder's layers, the code last.
        activation: one of `activations.ACTIVATIONS`, used on every layer.
        last_layer_activation: whether the output uses it as well, as in the
            paper's best models; if not, the output is linear.
        dropout_rate: fraction of the code's units that training drops. No
            other layer has dropout: on every layer it "stifled convergence"
            (section 3.5).
        tie_weights: whether the decoder uses the transposed kernels of the
            encoder.
        num_refeeds: number of dense re-feeding updates per batch.
        refeed_noise_rate: fraction of the re-fed entries that is dropped from
            input and target.
        num_sampled_items: number of items sampled per batch to stand for the
            whole catalog in dense re-feeding; 0 re-feeds all of it. With a
            lazy optimizer, the cost of a step then depends on the items that
            are rated or sampled in its batch, not on the catalog.
        centering: one of `layers.CENTERINGS`. Give its statistics with
            `model.centering.set_statistics` before training.
        seed: seed of dropout, re-feeding noise and item samples.

    Raises:
        UserError: an argument has a value that no model can have.

    Call arguments:
        ratings: SparseTensor `(batch_size, num_items)`, float32. Its indices,
            in the order of the users, say what is rated: a stored 0 is a
            rating.
        items: `(num_targets,)`, int64, the items to predict; by default the
            catalog in order.
        training: whether to apply dropout.

    Output shape:
        `(batch_size, num_items)` or `(batch_size, num_targets)`, float32, on
        the scale of the ratings but not clipped to it.

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
        self.dropout = GlobalDropout(
            dropout_rate, seed=seed, dtype=self.dtype_policy
        )
        self.refeed_noise = GlobalDropout(refeed_noise_rate, seed=seed)
        self.item_seeds = keras.random.SeedGenerator(seed)

        self.rating_loss = keras.metrics.Mean(name="loss")
        self.refeed_loss = keras.metrics.Mean(name="refeed_loss")
        # All sizes are known, so the weights can exist from the start:
        # optimizers, checkpoints and strategies need not see a batch first.
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
        """Checks the constructor's arguments, without a catalog.

        Raises:
            UserError: an argument has a value that no model can have.
        """
        check_network_arguments(
            hidden_units,
            activation,
            num_refeeds,
            num_sampled_items,
            dropout_rate=dropout_rate,
            refeed_noise_rate=refeed_noise_rate,
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
                where there is no rating.
            items: `(num_items,)`, int64, the items of the columns; by default
                the catalog in order.

        Returns:
            `(batch_size, hidden_units[-1])`.
        """
        if isinstance(centered_ratings, tf.SparseTensor) and items is None:
            centered_ratings, items = self._select_rated(centered_ratings)
        return self.encode_hidden(
            self.dense_layers[0](centered_ratings, items=items)
        )

    def encode_hidden(self, hidden: tf.Tensor) -> tf.Tensor:
        """Computes the code of each user from the first hidden layer.

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
        """Computes centered predictions from the code of each user.

        Args:
            code: `(batch_size, hidden_units[-1])`.
            items: `(num_targets,)`, int64, the items to predict; by default
                the catalog in order.

        Returns:
            `(batch_size, num_items)` or `(batch_size, num_targets)`, float32.
        """
        return self._predict(self.decode_hidden(code), items)

    def decode_hidden(self, code: tf.Tensor) -> tf.Tensor:
        """Computes the last hidden layer from the code of each user.

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
        """Computes centered predictions with a gradient for some entries only.

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
        """Drops the columns that nobody rated, if training updates rows."""
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
        """Updates the weights `1 + num_refeeds` times on a batch.

        `optimizer.iterations` counts updates, not batches: let schedules
        count epochs or batches.

        Args:
            ratings: SparseTensor `(batch_size, num_items)`, float32.

        Returns:
            The training metrics so far, scalars: `loss`, the masked mean
            squared error over the ratings seen, and `refeed_loss`, both with
            dropout and from before each update.
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
            items = self._sample_items()
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

    def _sample_items(self) -> tf.Tensor:
        """Samples the items that a re-feeding is restricted to."""
        return sample_items(
            min(self.num_sampled_items, self.num_items),
            self.num_items,
            self.item_seeds,
        )

    def _scale_up(self, refed: tf.Tensor) -> tf.Tensor:
        """Scales re-fed ratings of a sample up to the whole catalog."""
        if not 0 < self.num_sampled_items < self.num_items:
            return refed
        return refed * (self.num_items / self.num_sampled_items)

    def loss_trackers(self) -> list[keras.metrics.Mean]:
        if self.num_refeeds:
            return [self.rating_loss, self.refeed_loss]
        return [self.rating_loss]

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

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Any = None
    ) -> Self:
        return super().from_config(use_current_names(config), custom_objects)

    @property
    def centring(self) -> RatingCentering:
        """The centering by its name in release 0.1.

        Keras finds the weights in a `.keras` file by the names of attributes.
        """
        return self.centering
