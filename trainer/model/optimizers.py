"""The optimizers of the authors' code, with PyTorch's rules and constants.

The published results were made with them. The optimizers of Keras use other
constants, fold the learning rate into the velocity of momentum, add some
epsilons under the root, decouple weight decay, and mishandle repeated rows of
a sparse gradient. They also traverse the weights once per operation of a rule.
Here each rule compiles to a few passes: in a wide layer these passes and the
matrix products dominate a step.
"""

import abc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from trainer.model.layers import PACKAGE


class Update(NamedTuple):
    """The inputs of an update rule.

    Attributes:
        learning_rate: scalar.
        step: scalar, the number of the update, counted from 1.
        gradient: tensor of the weight's shape, weight decay included.
        weight: the weight, or some of its rows.
    """

    learning_rate: tf.Tensor
    step: tf.Tensor
    gradient: tf.Tensor
    weight: tf.Tensor


class RowOptimizer(keras.optimizers.Optimizer, abc.ABC):
    """Applies an update rule to whole weights or to rows with a gradient.

    The gradient of rows read by `tf.gather` is an IndexedSlices, in which a
    row may repeat: its gradients add up. By default it is treated as the dense
    gradient that it stands for, which is 0 in every other row: momentum and
    weight decay still move these rows. A lazy optimizer leaves them and their
    state alone, so that an update costs only what its rows cost; each row is
    updated as if the steps without it had not taken place.

    Reference:
        https://docs.pytorch.org/docs/stable/optim.html

    Args:
        learning_rate: number or schedule, as for any Keras optimizer.
        weight_decay: L2 penalty: `weight_decay * weight` is added to each
            gradient, biases included.
        lazy: whether to leave rows without a gradient alone.
    """

    #: Names of the state variables that the rule keeps for each weight.
    state_names: tuple[str, ...]

    def __init__(
        self,
        learning_rate: float,
        weight_decay: float = 0.0,
        lazy: bool = False,
        **kwargs: Any,
    ) -> None:
        # Keras would apply a weight decay passed to it in its own way.
        super().__init__(learning_rate=learning_rate, **kwargs)
        self._penalty = weight_decay
        self.lazy = lazy
        # Of each weight, on each replica.
        self._compiled_updates: dict[Any, Callable[..., None]] = {}

    @abc.abstractmethod
    def rule(self, update: Update, *state: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Computes one update, elementwise.

        Args:
            update: the inputs of the rule.
            *state: the state that `state_names` names, tensors of the weight's
                shape; 0 at first.

        Returns:
            The new weight and the new state.
        """

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        self._state = [
            self.add_optimizer_variables(variables, name)
            for name in self.state_names
        ]

    def update_step(
        self,
        gradient: tf.Tensor | tf.IndexedSlices,
        variable: tf.Variable,
        learning_rate: Any,
    ) -> None:
        index = self._get_variable_index(variable)
        variables = [variable, *(state[index].value for state in self._state)]
        learning_rate = tf.cast(learning_rate, variable.dtype)
        step = tf.cast(self.iterations + 1, variable.dtype)

        def apply_rule(
            gradient: tf.Tensor,
            learning_rate: tf.Tensor,
            step: tf.Tensor,
            weight: tf.Tensor,
            *state: tf.Tensor,
        ) -> tuple[tf.Tensor, ...]:
            if self._penalty:
                gradient += self._penalty * weight
            return self.rule(
                Update(learning_rate, step, gradient, weight), *state
            )

        def update_all(
            gradient: tf.Tensor, learning_rate: tf.Tensor, step: tf.Tensor
        ) -> None:
            values = apply_rule(
                gradient,
                learning_rate,
                step,
                *map(tf.convert_to_tensor, variables),
            )
            for target, value in zip(variables, values, strict=True):
                target.assign(value)

        def update_rows(gradient: tf.IndexedSlices) -> None:
            rows = [tf.gather(value, gradient.indices) for value in variables]
            values = apply_rule(gradient.values, learning_rate, step, *rows)
            for target, value in zip(variables, values, strict=True):
                target.scatter_update(tf.IndexedSlices(value, gradient.indices))

        if self.lazy and isinstance(gradient, tf.IndexedSlices):
            update_rows(_add_up_repeated_rows(gradient))
            return
        update = update_all
        if not tf.executing_eagerly():
            # Compiled, it works in place without a temporary per operation.
            # The updates of a step share what is compiled, as compiling is
            # most of the time to its first execution.
            update = self._compiled_updates.setdefault(
                variable.ref(),
                tf.function(update_all, jit_compile=True, autograph=False),
            )
        update(tf.convert_to_tensor(gradient), learning_rate, step)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "weight_decay": self._penalty,
            "lazy": self.lazy,
        }


def _add_up_repeated_rows(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    indices, segments = tf.unique(gradient.indices)
    num_rows = tf.size(indices)
    values = tf.cond(
        num_rows == tf.size(segments),
        lambda: gradient.values,
        lambda: tf.math.unsorted_segment_sum(
            gradient.values, segments, num_rows
        ),
    )
    return tf.IndexedSlices(values, indices, gradient.dense_shape)


@keras.saving.register_keras_serializable(package=PACKAGE)
class Momentum(RowOptimizer):
    """Stochastic gradient descent with momentum.

        velocity = momentum * velocity + gradient
        weight = weight - learning_rate * velocity

    Reference:
        https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html

    Args:
        learning_rate: number or schedule, as for any Keras optimizer.
        momentum: decay rate of the velocity, in [0, 1).
        **kwargs: arguments of `RowOptimizer`.
    """

    state_names = ("velocity",)

    def __init__(
        self, learning_rate: float = 0.005, momentum: float = 0.9, **kwargs: Any
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.momentum = momentum

    def rule(self, update: Update, *state: tf.Tensor) -> tuple[tf.Tensor, ...]:
        (velocity,) = state
        velocity = self.momentum * velocity + update.gradient
        return update.weight - update.learning_rate * velocity, velocity

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum}


@keras.saving.register_keras_serializable(package=PACKAGE)
class Adam(RowOptimizer):
    """Adam with the constants of its paper.

        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient^2
        first_hat = first / (1 - 0.9^step)
        second_hat = second / (1 - 0.999^step)
        weight = weight - learning_rate * first_hat / (sqrt(second_hat) + 1e-8)

    Reference:
        https://docs.pytorch.org/docs/stable/generated/torch.optim.Adam.html
    """

    state_names = ("first_moment", "second_moment")

    def rule(self, update: Update, *state: tf.Tensor) -> tuple[tf.Tensor, ...]:
        first, second = state
        first = 0.9 * first + 0.1 * update.gradient
        second = 0.999 * second + 0.001 * update.gradient**2
        first_rate = update.learning_rate / (1 - 0.9**update.step)
        second_rate = tf.math.rsqrt(1 - 0.999**update.step)
        change = first_rate * first / (tf.sqrt(second) * second_rate + 1e-8)
        return update.weight - change, first, second


@keras.saving.register_keras_serializable(package=PACKAGE)
class Adagrad(RowOptimizer):
    """Adagrad.

        total = total + gradient^2
        weight = weight - learning_rate * gradient / (sqrt(total) + 1e-10)

    Reference:
        https://docs.pytorch.org/docs/stable/generated/torch.optim.Adagrad.html
    """

    state_names = ("total",)

    def rule(self, update: Update, *state: tf.Tensor) -> tuple[tf.Tensor, ...]:
        total = state[0] + update.gradient**2
        change = update.learning_rate * update.gradient
        change /= tf.sqrt(total) + 1e-10
        return update.weight - change, total


@keras.saving.register_keras_serializable(package=PACKAGE)
class RMSprop(RowOptimizer):
    """RMSprop.

        average = 0.99 * average + 0.01 * gradient^2
        weight = weight - learning_rate * gradient / (sqrt(average) + 1e-8)

    Reference:
        https://docs.pytorch.org/docs/stable/generated/torch.optim.RMSprop.html
    """

    state_names = ("average",)

    def rule(self, update: Update, *state: tf.Tensor) -> tuple[tf.Tensor, ...]:
        average = 0.99 * state[0] + 0.01 * update.gradient**2
        change = update.learning_rate * update.gradient
        change /= tf.sqrt(average) + 1e-8
        return update.weight - change, average


#: Name of the setting `optimizer` -> class.
OPTIMIZERS: dict[str, type[RowOptimizer]] = {
    "momentum": Momentum,
    "adam": Adam,
    "adagrad": Adagrad,
    "rmsprop": RMSprop,
}
