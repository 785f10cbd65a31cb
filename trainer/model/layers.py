"""The layers of the autoencoder: reversible dense layer, rating centering."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from data_prep.dataset.errors import UserError
from trainer.model.sparse_products import differentiable_entries, sparse_matmul

#: Name under which Keras registers the classes of this project. It is part of
#: the format of saved models: never rename it.
PACKAGE = "deep_recommender"

#: The modes of `RatingCentering`.
CENTERINGS = ("none", "mean", "item", "user_item")


@keras.saving.register_keras_serializable(package=PACKAGE)
class ReversibleDense(keras.layers.Layer):
    """A dense layer of the encoder together with its mirror in the decoder.

        forward:  activation(inputs @ kernel + bias)
        reverse:  reverse_activation(inputs @ reverse_kernel.T + reverse_bias)

    If tied, `reverse_kernel` is `kernel`, with a bias of its own
    ("constrained" in the paper). Both kernels have a row for each input unit.
    So a layer whose input is the catalog can be applied to some items: it
    reads only their rows.

    Reference:
        Kuchaiev and Ginsburg, 2017, section 2.1
        (https://arxiv.org/abs/1708.01715).

    Args:
        units: size of the forward output.
        activation: name or function, used forward.
        reverse_activation: name or function, used in reverse.
        tie_weights: whether the reverse kernel is the kernel.
        updates_rows: whether training updates single rows of the weights; the
            layer then reads single rows, too.

    Call arguments:
        inputs: forward `(batch_size, input_units)`, dense, or sparse and
            float32; in reverse `(batch_size, units)`, dense.
        items: `(num_items,)`, int64, the input units that the columns of the
            inputs (forward) or outputs (in reverse) stand for; by default all
            in order. Forward, the others count as 0.
        reverse: whether to apply the mirror.

    Output shape:
        Forward `(batch_size, units)`; in reverse `(batch_size, input_units)`,
        or `(batch_size, num_items)` if `items` are given.
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        reverse_activation: Any = None,
        tie_weights: bool = False,
        updates_rows: bool = False,
        **kwargs: Any,
    ) -> None:
        # A sparse input stays float32 under mixed precision.
        super().__init__(**{**kwargs, "autocast": False})
        self.units = units
        self.activation = keras.activations.get(activation)
        self.reverse_activation = keras.activations.get(reverse_activation)
        self.tie_weights = tie_weights
        self.updates_rows = updates_rows

    def build(self, input_shape: tuple[int | None, int]) -> None:
        input_units = input_shape[-1]
        # The authors' code starts from Glorot uniform kernels and zero
        # biases, although SELU's theory asks for LeCun normal.
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_units, self.units),
            initializer="glorot_uniform",
            autocast=False,
        )
        self.bias = self.add_weight(
            name="bias", shape=(self.units,), initializer="zeros"
        )
        self.reverse_kernel = (
            self.kernel
            if self.tie_weights
            else self.add_weight(
                name="reverse_kernel",
                shape=(input_units, self.units),
                initializer="glorot_uniform",
                autocast=False,
            )
        )
        self.reverse_bias = self.add_weight(
            name="reverse_bias",
            shape=(input_units,),
            initializer="zeros",
            autocast=False,
        )

    def call(
        self,
        inputs: tf.Tensor | tf.SparseTensor,
        items: tf.Tensor | None = None,
        reverse: bool = False,
    ) -> tf.Tensor:
        if reverse:
            kernel = self._read(self.reverse_kernel, items)
            products = _matmul_transposed(*map(self._cast, (inputs, kernel)))
            bias = self._cast(self._read(self.reverse_bias, items))
            return self.reverse_activation(products + bias)
        kernel = self._read(self.kernel, items)
        if isinstance(inputs, tf.SparseTensor):
            products = self._cast(sparse_matmul(inputs, kernel))
        else:
            products = _matmul(*map(self._cast, (inputs, kernel)))
        return self.activation(products + self._cast(self.bias))

    def reverse_entries(
        self,
        inputs: tf.Tensor,
        indices: tf.Tensor,
        items: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Applies the mirror with a gradient for some entries only.

        Args:
            inputs: `(batch_size, units)`.
            indices: `(num_entries, 2)`, int64, row and column of each entry of
                the output, in order of the rows.
            items: `(num_items,)`, int64, as for a call.

        Returns:
            The entries, `(num_entries,)`, which are differentiable, and all
            outputs, `(batch_size, input_units)` or `(batch_size, num_items)`,
            which are constants.
        """
        kernel = self._read(self.reverse_kernel, items)
        bias = self._cast(self._read(self.reverse_bias, items))
        inputs = self._cast(inputs)
        products = tf.stop_gradient(
            tf.matmul(self._cast(kernel), inputs, transpose_b=True)
        )
        entries = differentiable_entries(
            tf.gather_nd(products, tf.reverse(indices, axis=[1])),
            indices,
            inputs,
            kernel,
        )
        return (
            self.reverse_activation(entries + tf.gather(bias, indices[:, 1])),
            tf.stop_gradient(
                self.reverse_activation(tf.transpose(products) + bias)
            ),
        )

    def _read(self, weight: Any, items: tf.Tensor | None) -> tf.Tensor:
        # Gathering rows from a variable makes every later read of the whole
        # variable copy it. Gathering them from its value makes every update
        # of rows copy it.
        rows = weight.value
        if items is None or not self.updates_rows:
            rows = tf.convert_to_tensor(rows)
        return rows if items is None else tf.gather(rows, items)

    def _cast(self, tensor: Any) -> tf.Tensor:
        return tf.cast(tensor, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "reverse_activation": keras.activations.serialize(
                self.reverse_activation
            ),
            "tie_weights": self.tie_weights,
            "updates_rows": self.updates_rows,
        }


# With a transposed kernel on the right, which is also how the gradient of a
# plain product looks, TensorFlow's matmul takes 2 to 5 times as long on a CPU
# as computing the transposed product and transposing the result.


@tf.custom_gradient
def _matmul(inputs: tf.Tensor, kernel: tf.Tensor) -> Any:
    """Computes `inputs @ kernel`."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return (
            _matmul_transposed(upstream, kernel),
            tf.matmul(inputs, upstream, transpose_a=True),
        )

    return tf.matmul(inputs, kernel), gradient


@tf.custom_gradient
def _matmul_transposed(inputs: tf.Tensor, kernel: tf.Tensor) -> Any:
    """Computes `inputs @ kernel.T`."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return (
            _matmul(upstream, kernel),
            tf.matmul(upstream, inputs, transpose_a=True),
        )

    products = tf.transpose(tf.matmul(kernel, inputs, transpose_b=True))
    return products, gradient


@keras.saving.register_keras_serializable(package=PACKAGE)
class RatingCentering(keras.layers.Layer):
    """Subtracts biases from ratings, and adds them back to predictions.

    A rating `r` of item `i` by user `u` becomes

        none:       r
        mean:       r - mean
        item:       r - mean - item_offset[i]
        user_item:  r - mean - item_offset[i] - user_offset[u]

    The mean and the damped item offsets come from the training ratings
    (`set_statistics`); they are weights that training leaves alone. A user's
    offset is computed in the graph from their own ratings, so users whom the
    model never saw have one as well:

        item_offset[i] = sum(r - mean) / (count(i) + item_damping)
        user_offset[u] = sum(r - mean - item_offset) / (count(u) + user_damping)

    Reference:
        Koren, 2008, "Factorization meets the neighborhood", section 2.1:
        baseline estimates (https://doi.org/10.1145/1401890.1401944).

    Args:
        mode: one of `CENTERINGS`.
        item_damping: number of ratings at the mean that every item starts
            with.
        user_damping: number of ratings at the baseline that every user starts
            with.

    Raises:
        UserError: `mode` is none of `CENTERINGS`.

    Call arguments:
        ratings: SparseTensor `(batch_size, num_items)`, float32.

    Returns:
        The centered ratings, a SparseTensor with the same indices, and the
        users' offsets, `(batch_size, 1)`, which `restore` takes.
    """

    def __init__(
        self,
        mode: str = "none",
        item_damping: float = 10.0,
        user_damping: float = 10.0,
        **kwargs: Any,
    ) -> None:
        # Ratings and offsets stay float32 under mixed precision.
        super().__init__(**{**kwargs, "dtype": "float32"})
        if mode not in CENTERINGS:
            raise UserError(
                f"`centering` must be one of {', '.join(CENTERINGS)}."
                f" Received: centering={mode!r}"
            )
        self.mode = mode
        self.item_damping = item_damping
        self.user_damping = user_damping

    def build(self, ratings_shape: tuple[int | None, int]) -> None:
        if self.mode == "none":
            return
        self.mean = self.add_weight(
            name="mean",
            shape=(),
            initializer="zeros",
            trainable=False,
            autocast=False,
        )
        if self.mode == "mean":
            return
        self.item_offsets = self.add_weight(
            name="item_offsets",
            shape=(ratings_shape[-1],),
            initializer="zeros",
            trainable=False,
            autocast=False,
        )

    @classmethod
    def from_statistics(
        cls,
        mode: str,
        counts: np.ndarray,
        means: np.ndarray,
        **damping: float,
    ) -> "RatingCentering":
        """Makes a layer with the statistics that `set_statistics` takes."""
        layer = cls(mode, **damping)
        layer.build((None, len(counts)))
        layer.set_statistics(counts, means)
        return layer

    def set_statistics(self, counts: np.ndarray, means: np.ndarray) -> None:
        """Sets the mean and the item offsets from the training ratings.

        Args:
            counts: `(num_items,)`, the number of training ratings of each
                item.
            means: `(num_items,)`, their mean; not used where the count is 0.
        """
        if self.mode == "none":
            return
        sums = np.where(counts > 0, counts * means, 0.0)
        mean = sums.sum() / max(counts.sum(), 1)
        self.mean.assign(mean)
        if self.mode != "mean":
            self.item_offsets.assign(
                (sums - counts * mean)
                / np.maximum(counts + self.item_damping, 1e-9)
            )

    def predict_cold(self, ratings: tf.SparseTensor) -> tf.Tensor:
        """Predicts the users' ratings of an item that nobody has rated.

        All that is known is the user: the prediction is the mean rating plus
        the user's offset, if the mode has these.

        Args:
            ratings: SparseTensor `(batch_size, num_items)`, float32.

        Returns:
            `(batch_size, 1)`, float32.
        """
        _, user_offsets = self(ratings)
        return user_offsets if self.mode == "none" else self.mean + user_offsets

    def call(
        self, ratings: tf.SparseTensor
    ) -> tuple[tf.SparseTensor, tf.Tensor]:
        batch_size = ratings.dense_shape[0]
        user_offsets = tf.zeros([batch_size, 1])
        if self.mode == "none":
            return ratings, user_offsets
        values = ratings.values - self.mean
        user_index, item_index = tf.unstack(ratings.indices, axis=1)
        if self.mode in ("item", "user_item"):
            values -= tf.gather(
                tf.convert_to_tensor(self.item_offsets), item_index
            )
        if self.mode == "user_item":
            sums = tf.math.unsorted_segment_sum(values, user_index, batch_size)
            counts = tf.math.unsorted_segment_sum(
                tf.ones_like(values), user_index, batch_size
            )
            offsets = tf.math.divide_no_nan(sums, counts + self.user_damping)
            values -= tf.gather(offsets, user_index)
            user_offsets = offsets[:, tf.newaxis]
        return ratings.with_values(values), user_offsets

    def restore(
        self,
        predictions: tf.Tensor,
        user_offsets: tf.Tensor,
        items: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Adds the biases that `call` subtracted to centered predictions.

        Args:
            predictions: `(batch_size, num_items)`, float32, centered.
            user_offsets: `(batch_size, 1)`, as `call` returned them.
            items: `(num_targets,)`, int64, the items of the columns; by
                default the catalog in order.

        Returns:
            Tensor of the shape of `predictions`, float32, on the scale of the
            ratings.
        """
        if self.mode == "none":
            return predictions
        if self.mode == "mean":
            return predictions + self.mean
        item_offsets = tf.convert_to_tensor(self.item_offsets)
        if items is not None:
            item_offsets = tf.gather(item_offsets, items)
        return predictions + (self.mean + item_offsets) + user_offsets

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "mode": self.mode,
            "item_damping": self.item_damping,
            "user_damping": self.user_damping,
        }


# Files of release 0.1 name the class so.
keras.saving.get_custom_objects()[f"{PACKAGE}>RatingCentring"] = RatingCentering
