"""A trained model as it is served: the same sums, done for few users."""

import tensorflow as tf

from trainer.autoencoder import AutoEncoder
from trainer.sparse_products import multiply_sparse


class Predictor:
    """Predicts what a trained model does, for a few users at a time.

    Training is about many users, serving about few. So two things are done
    otherwise than in the model:

    - The first layer multiplies the ratings without a way back to a gradient,
      which a SavedModel cannot hold.
    - The kernel of the output is kept with a column for each item. The product
      for one user takes as long as it takes to read all of that kernel, and
      TensorFlow reads a kernel of rows on one core, one of columns on all.

    Both are done in float32, the type of the weights, also for a model with
    hidden layers in half precision.

    Args:
        model: a trained model. Its output kernel is copied as it is now.

    Attributes:
        centering: what takes off the ratings what biases explain.
        input_layer: the layer of the model whose input is the catalogue.
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
            ratings: `(batch_size, num_items)`.

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
            centered_ratings: `(batch_size, num_items)`.

        Returns:
            `(batch_size, code_units)`.
        """
        return self.encode_sums(
            multiply_sparse(centered_ratings, self.read_input_kernel())
        )

    def read_input_kernel(self) -> tf.Tensor:
        """Reads the kernel of the first layer, `(num_items, units)`.

        Rows are gathered from what this returns and not from the variable,
        which would be copied for every later reader.
        """
        return tf.convert_to_tensor(self.input_layer.kernel.value)

    def encode_sums(self, sums: tf.Tensor) -> tf.Tensor:
        """Computes codes from what the first layer has added up.

        Args:
            sums: `(batch_size, units)`, for each user the rows of the input
                kernel times his centered ratings.

        Returns:
            `(batch_size, code_units)`.
        """
        return self._model.encode_hidden(
            self.input_layer.activation(sums + self.input_layer.bias.value)
        )

    def decode(
        self, code: tf.Tensor, items: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Computes centered predictions from codes.

        Args:
            code: `(batch_size, code_units)`.
            items: `(num_asked,)`, int64, what to predict, by default the
                catalogue in order.

        Returns:
            `(batch_size, num_items)` or `(batch_size, num_asked)`, float32.
        """
        hidden = self._model.decode_hidden(code)
        kernel = self._output_kernel
        bias = tf.convert_to_tensor(self.input_layer.reverse_bias.value)
        if items is not None:
            kernel, bias = (
                tf.gather(kernel, items, axis=1),
                tf.gather(bias, items),
            )
        return self.input_layer.reverse_activation(
            tf.matmul(tf.cast(hidden, tf.float32), kernel) + bias
        )
