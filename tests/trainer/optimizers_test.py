import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.optimizers import OPTIMIZERS

LEARNING_RATE = 0.1


def momentum_rule():
    velocity = 0.0

    def step(weight, gradient, learning_rate):
        nonlocal velocity
        velocity = 0.9 * velocity + gradient
        return weight - learning_rate * velocity

    return step


def adam_rule():
    first = second = 0.0
    time = 0

    def step(weight, gradient, learning_rate):
        nonlocal first, second, time
        time += 1
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        first_hat = first / (1 - 0.9**time)
        second_hat = second / (1 - 0.999**time)
        return weight - learning_rate * first_hat / (np.sqrt(second_hat) + 1e-8)

    return step


def adagrad_rule():
    total = 0.0

    def step(weight, gradient, learning_rate):
        nonlocal total
        total = total + gradient**2
        return weight - learning_rate * gradient / (np.sqrt(total) + 1e-10)

    return step


def rmsprop_rule():
    average = 0.0

    def step(weight, gradient, learning_rate):
        nonlocal average
        average = 0.99 * average + 0.01 * gradient**2
        return weight - learning_rate * gradient / (np.sqrt(average) + 1e-8)

    return step


#: The rules of https://docs.pytorch.org/docs/stable/optim.html, by hand.
RULES = {
    "momentum": momentum_rule,
    "adam": adam_rule,
    "adagrad": adagrad_rule,
    "rmsprop": rmsprop_rule,
}


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_an_optimizer_follows_pytorch_s_rule(name):
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(3, 2))
    variable = keras.Variable(weight, dtype="float32")
    optimizer = OPTIMIZERS[name](LEARNING_RATE)
    rule = RULES[name]()
    for step in range(5):
        # A schedule lowers the rate in between.
        learning_rate = LEARNING_RATE if step < 3 else LEARNING_RATE / 2
        optimizer.learning_rate = learning_rate
        gradient = rng.normal(size=weight.shape)
        optimizer.apply_gradients(
            [(tf.constant(gradient, tf.float32), variable)]
        )
        weight = rule(weight, gradient, learning_rate)
        np.testing.assert_allclose(
            variable.numpy(), weight, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_an_optimizer_survives_its_configuration(name):
    optimizer = OPTIMIZERS[name](LEARNING_RATE)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert copy.get_config() == optimizer.get_config()
