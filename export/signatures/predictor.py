"""A trained model's predictions, computed fast for a few users."""

import tensorflow as tf

from trainer.autoencoder import AutoEncoder
from trainer.sparse_products import multiply_sparse


class Predictor:
    """Predicts the same ratings as a trained model, for a few users at a time.

    Training computes many users at once, serving few. So it differs from the
    model in two places:

    - The first layer multiplies the ratings without a gradient, which a
      SavedModel cannot hold.
    - The output kernel is stored with a column per item. The product for one
      user takes as long as reading that kernel, and TensorFlow reads a kernel
      of rows on one core, a kernel of columns on all.

    Both compute in float32, the type of the weights, even for a model whose
    hidden layers compute in half precision.

    Args:
        model: a trained model. Its output kernel is copied as it is now.

    Attributes:
        centering: the layer that subtracts biases from the ratings.
        input_layer: the layer of the model whose input is the catalog.
    """

    def __init__(self, model: AutoEncoder) -> None:
        self._model = model
        self.centering = model.centering
        self.input_layer = model.dense_layers[0]
        # (units, num_items)
        self._output_kernel = tf.Variable(
            tf.transpose(self.input_layer.reverse_kernel.value),
            trainable=False,
            name="output_kernel",
        )

    def predict(self, ratings: tf.SparseTensor) -> tf.Tensor:
        """Predicts each user's rating of every item.

        Args:
            ratings: SparseTensor `(batch_size, num_items)`, float32.

        Returns:
            `(batch_size, num_items)`, float32, not clipped.
        """
        centered_ratings, user_offsets = self.centering(ratings)
        return self.centering.restore(
            self.decode(self.encode(centered_ratings)), user_offsets
        )

    def encode(self, centered_ratings: tf.SparseTensor) -> tf.Tensor:
        """Computes the code of each user.

        Args:
            centered_ratings: SparseTensor `(batch_size, num_items)`, float32.

        Returns:
            `(batch_size, code_units)`.
        """
        return self.encode_sums(
            multiply_sparse(centered_ratings, self.read_input_kernel())
        )

    def read_input_kernel(self) -> tf.Tensor:
        """Returns the kernel of the first layer, float32 `(num_items, units)`.

        Gather its rows from this tensor, not from the variable: that makes
        every later read of the whole variable copy it.
        """
        return tf.convert_to_tensor(self.input_layer.kernel.value)

    def read_output_kernel(self) -> tf.Tensor:
        """Returns the output kernel, float32 `(units, num_items)`.

        It is the transposed reverse kernel of the first layer.
        """
        return tf.convert_to_tensor(self._output_kernel)

    def encode_sums(self, sums: tf.Tensor) -> tf.Tensor:
        """Computes the code of each user from the sums of the first layer.

        Args:
            sums: `(batch_size, units)`, float32, for each user the sum of the
                rows of the input kernel times their centered ratings.

        Returns:
            `(batch_size, code_units)`.
        """
        return self._model.encode_hidden(
            self.input_layer.activation(sums + self.input_layer.bias.value)
        )

    def decode(
        self, code: tf.Tensor, items: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Computes centered predictions from the code of each user.

        Args:
            code: `(batch_size, code_units)`.
            items: `(num_targets,)`, int64, the items to predict; by default
                the catalog in order.

        Returns:
            `(batch_size, num_items)` or `(batch_size, num_targets)`, float32.
        """
        hidden = self._model.decode_hidden(code)
        kernel = self.read_output_kernel()
        bias = tf.convert_to_tensor(self.input_layer.reverse_bias.value)
        if items is not None:
            kernel, bias = (
                tf.gather(kernel, items, axis=1),
                tf.gather(bias, items),
            )
        return self.input_layer.reverse_activation(
            tf.matmul(tf.cast(hidden, tf.float32), kernel) + bias
        )
