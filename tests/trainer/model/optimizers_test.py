import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.model.optimizers import OPTIMIZERS

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


def rows_as(kind):
    """Gives the same gradient, of rows 1 and 3 of four, in several forms."""
    return {
        "dense": tf.constant([[0.0] * 2, [3.0] * 2, [0.0] * 2, [4.0] * 2]),
        "rows": tf.IndexedSlices(
            tf.constant([[4.0] * 2, [3.0] * 2]),
            tf.constant([3, 1], tf.int64),
            tf.constant([4, 2], tf.int64),
        ),
        "repeated rows": tf.IndexedSlices(
            tf.constant([[1.0] * 2, [4.0] * 2, [2.0] * 2]),
            tf.constant([1, 3, 1], tf.int64),
            tf.constant([4, 2], tf.int64),
        ),
    }[kind]


def train_on_rows(name, kinds, compiled, **arguments):
    variable = keras.Variable(np.ones((4, 2)), dtype="float32")
    optimizer = OPTIMIZERS[name](LEARNING_RATE, **arguments)
    optimizer.build([variable])

    def step(kind):
        optimizer.apply_gradients([(rows_as(kind), variable)])

    for kind in kinds:
        (tf.function(step) if compiled else step)(kind)
    return variable.numpy()


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("kind", ["rows", "repeated rows"])
@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_a_gradient_of_rows_counts_as_the_dense_one(name, kind, compiled):
    np.testing.assert_allclose(
        train_on_rows(name, [kind] * 3, compiled, weight_decay=0.1),
        train_on_rows(name, ["dense"] * 3, compiled, weight_decay=0.1),
        rtol=1e-6,
    )


@pytest.mark.parametrize("kind", ["rows", "repeated rows"])
@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_a_lazy_optimizer_moves_the_rows_of_the_gradient_alone(name, kind):
    arguments = {"compiled": True, "weight_decay": 0.1}
    lazy = train_on_rows(name, [kind] * 3, lazy=True, **arguments)
    dense = train_on_rows(name, ["dense"] * 3, **arguments)
    np.testing.assert_allclose(lazy[[1, 3]], dense[[1, 3]], rtol=1e-6)
    np.testing.assert_array_equal(lazy[[0, 2]], 1.0)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_weight_decay_is_added_to_the_gradient(name):
    variable = keras.Variable([[2.0, -3.0]], dtype="float32")
    optimizer = OPTIMIZERS[name](LEARNING_RATE, weight_decay=0.5)
    optimizer.apply_gradients([(tf.constant([[1.0, 1.0]]), variable)])
    expected = RULES[name]()(
        np.array([[2.0, -3.0]]), np.array([[2.0, -0.5]]), LEARNING_RATE
    )
    np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_weights_of_one_shape_follow_the_rule_each_on_its_own(name):
    """They share one compiled update, not their values or their state."""
    starts = [np.float32([1, 2]), np.float32([3, 4])]
    gradients = [np.float32([0.5, -1]), np.float32([2, 0.1])]

    def train(chosen):
        variables = [keras.Variable(starts[index]) for index in chosen]
        optimizer = OPTIMIZERS[name](LEARNING_RATE)
        optimizer.build(variables)

        @tf.function
        def step():
            optimizer.apply([tf.constant(gradients[index]) for index in chosen])

        for _ in range(3):
            step()
        return [variable.numpy() for variable in variables]

    together = train([0, 1])
    for index in (0, 1):
        (alone,) = train([index])
        np.testing.assert_array_equal(together[index], alone)
