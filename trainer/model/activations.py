"""The activations of the authors' code, by name."""

from collections.abc import Callable

import keras
import tensorflow as tf

from trainer.model.layers import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
def leaky_relu(inputs: tf.Tensor) -> tf.Tensor:
    """Applies leaky ReLU with PyTorch's slope of 0.01; Keras' own is 0.2."""
    return keras.activations.leaky_relu(inputs, negative_slope=0.01)


#: Name -> activation. In section 3.2 of the paper SELU, ELU and leaky ReLU did
#: best: negative values and an unbounded positive part matter.
ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "selu": keras.activations.selu,
    "elu": keras.activations.elu,
    "leaky_relu": leaky_relu,
    "relu": keras.activations.relu,
    "relu6": keras.activations.relu6,
    "tanh": keras.activations.tanh,
    "sigmoid": keras.activations.sigmoid,
    "swish": keras.activations.silu,
    "linear": keras.activations.linear,
}
