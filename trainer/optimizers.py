"""The optimizers of the authors' code, with PyTorch's rules and constants."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from trainer.layers import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class Momentum(keras.optimizers.Optimizer):
    """Stochastic gradient descent with momentum, as PyTorch defines it.

        velocity = momentum * velocity + gradient
        weight = weight - learning_rate * velocity

    `keras.optimizers.SGD` keeps the learning rate inside the velocity: the
    same while the rate stands still, longer steps for some batches after a
    schedule lowers it. It also passes over the weights several times, where
    this one is a single fused operation.

    Reference:
        https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html

    Args:
        learning_rate: as for any Keras optimizer.
        momentum: in [0, 1).
    """

    def __init__(
        self,
        learning_rate: float = 0.005,
        momentum: float = 0.9,
        name: str = "momentum",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum = momentum

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        self.velocities = self.add_optimizer_variables(variables, "velocity")

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: Any
    ) -> None:
        velocity = self.velocities[self._get_variable_index(variable)]
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=velocity.value.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=tf.convert_to_tensor(gradient),
            momentum=tf.cast(self.momentum, variable.dtype),
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum}


#: Keras has other constants than PyTorch, with which the published figures
#: were made, and adds some epsilons under the root, where PyTorch adds their
#: square root after it. Weight decay belongs to the model, which adds it to
#: the gradient as PyTorch does; Keras decouples it.
OPTIMIZERS: dict[str, Callable[[float], keras.optimizers.Optimizer]] = {
    "momentum": Momentum,
    "adam": lambda learning_rate: keras.optimizers.Adam(
        learning_rate, epsilon=1e-8
    ),
    "adagrad": lambda learning_rate: keras.optimizers.Adagrad(
        learning_rate, initial_accumulator_value=0.0, epsilon=1e-20
    ),
    "rmsprop": lambda learning_rate: keras.optimizers.RMSprop(
        learning_rate, rho=0.99, epsilon=1e-16
    ),
}
