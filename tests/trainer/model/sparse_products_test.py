import numpy as np
import pytest
import tensorflow as tf

from trainer.model.sparse_products import (
    differentiable_entries,
    multiply_sparse,
    sparse_matmul,
)

# Rows without entries at both ends, columns out of order, one that is empty.
INDICES = np.array([[1, 4], [1, 0], [2, 2], [4, 0], [4, 3]])
VALUES = np.array([5.0, -1.0, 0.0, 2.0, 3.0], np.float32)
SHAPE = (6, 5)
NOTHING = (np.zeros((0, 2), np.int64), np.zeros(0, np.float32))


def to_dense(indices, values):
    dense = np.zeros(SHAPE, np.float32)
    dense[tuple(indices.T)] = values
    return dense


def random_matrix(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize(
    ("indices", "values"), [(INDICES, VALUES), NOTHING], ids=["some", "none"]
)
def test_a_sparse_product_and_its_gradient_are_the_dense_ones(
    indices, values, compiled
):
    kernel = tf.constant(random_matrix(5, 3))
    upstream = random_matrix(6, 3)

    def differentiate(kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            products = sparse_matmul(
                tf.SparseTensor(indices, values, SHAPE), kernel
            )
        return products, tape.gradient(products, kernel, upstream)

    def multiply(kernel):
        return multiply_sparse(tf.SparseTensor(indices, values, SHAPE), kernel)

    if compiled:
        differentiate = tf.function(differentiate)
        multiply = tf.function(multiply)
    products, gradient = differentiate(kernel)
    dense = to_dense(indices, values)
    np.testing.assert_allclose(products, dense @ kernel, rtol=1e-6)
    np.testing.assert_array_equal(multiply(kernel), products)
    np.testing.assert_allclose(gradient, dense.T @ upstream, rtol=1e-6)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("indices", [INDICES, NOTHING[0]], ids=["some", "none"])
def test_the_gradient_of_entries_is_that_of_a_loss_about_no_others(
    indices, compiled
):
    inputs = tf.constant(random_matrix(6, 3))
    kernel = tf.constant(random_matrix(5, 3))
    entries = (inputs @ tf.transpose(kernel)).numpy()[tuple(indices.T)]
    upstream = VALUES[: len(indices)]

    def differentiate(inputs, kernel):
        with tf.GradientTape() as tape:
            tape.watch([inputs, kernel])
            outputs = differentiable_entries(
                tf.constant(entries), tf.constant(indices), inputs, kernel
            )
        return outputs, tape.gradient(outputs, [inputs, kernel], upstream)

    if compiled:
        differentiate = tf.function(differentiate)
    outputs, gradients = differentiate(inputs, kernel)
    np.testing.assert_array_equal(outputs, entries)
    dense = to_dense(indices, upstream)
    np.testing.assert_allclose(gradients[0], dense @ kernel, rtol=1e-6)
    np.testing.assert_allclose(gradients[1], dense.T @ inputs, rtol=1e-6)


@pytest.mark.parametrize("shape", [(0, 5), (6, 0), (0, 0)])
def test_a_matrix_may_be_empty(shape):
    kernel = tf.zeros((shape[1], 3))
    inputs = tf.zeros((shape[0], 3))
    matrix = tf.SparseTensor(*NOTHING, shape)
    with tf.GradientTape() as tape:
        tape.watch([inputs, kernel])
        products = sparse_matmul(matrix, kernel)
        entries = differentiable_entries(
            tf.zeros(0), NOTHING[0], inputs, kernel
        )
        total = tf.reduce_sum(products) + tf.reduce_sum(entries)
    np.testing.assert_array_equal(products, np.zeros((shape[0], 3)))
    np.testing.assert_array_equal(multiply_sparse(matrix, kernel), products)
    gradients = tape.gradient(total, [inputs, kernel])
    assert [g.shape[0] for g in gradients] == [*shape]
