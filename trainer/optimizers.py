"""The optimizers of the authors' code, with PyTorch's constants."""

from collections.abc import Callable

import keras

#: Keras starts some of them from other constants than PyTorch, with which the
#: published figures were made (https://docs.pytorch.org/docs/stable/optim.html).
#: Weight decay belongs to the model: it is an L2 penalty on the gradient
#: there, where Keras decouples it.
OPTIMIZERS: dict[str, Callable[[float], keras.optimizers.Optimizer]] = {
    # Keras multiplies the learning rate into the velocity, PyTorch out of it:
    # equal while the rate stands, and for the few batches that the velocity
    # remembers after a milestone Keras' steps are the longer ones.
    "momentum": lambda learning_rate: keras.optimizers.SGD(
        learning_rate, momentum=0.9
    ),
    "adam": lambda learning_rate: keras.optimizers.Adam(
        learning_rate, epsilon=1e-8
    ),
    "adagrad": lambda learning_rate: keras.optimizers.Adagrad(
        learning_rate, initial_accumulator_value=0.0, epsilon=1e-10
    ),
    "rmsprop": lambda learning_rate: keras.optimizers.RMSprop(
        learning_rate, rho=0.99, epsilon=1e-8
    ),
}
