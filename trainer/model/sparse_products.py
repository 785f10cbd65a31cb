"""Fast products of a sparse matrix of ratings and a dense kernel.

Only about one entry in a hundred is a rating. TensorFlow's CSR kernels skip
the others in a tenth of the time of its product of a SparseTensor and a matrix,
but work in float32 only and have no gradient that suits ratings.
"""

from typing import Any

import tensorflow as tf

#: Kernels on a GPU read shapes from the memory of the host. On the GPU, as
#: TensorFlow would place it, arithmetic with them costs a copy back.
_HOST = "CPU:0"


def multiply_sparse(matrix: tf.SparseTensor, kernel: tf.Tensor) -> tf.Tensor:
    """Computes `matrix @ kernel` without a gradient.

    A SavedModel can hold this product but not `sparse_matmul`.

    Args:
        matrix: `(rows, inner)`, float32, its indices in order of the rows.
        kernel: `(inner, columns)`, float32.

    Returns:
        `(rows, columns)`, float32.
    """
    num_rows, _ = _unstack_shape(matrix)
    return _multiply(_to_csr(matrix), kernel, num_rows)


def sparse_matmul(matrix: tf.SparseTensor, kernel: tf.Tensor) -> tf.Tensor:
    """Computes `matrix @ kernel` with a gradient with respect to the kernel.

    Args:
        matrix: `(rows, inner)`, float32, its indices in order of the rows.
        kernel: `(inner, columns)`, float32.

    Returns:
        `(rows, columns)`, float32.
    """

    @tf.custom_gradient
    def multiply(kernel: tf.Tensor) -> Any:
        csr = _to_csr(matrix)
        num_rows, num_columns = _unstack_shape(matrix)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return _multiply(_transpose(csr), upstream, num_columns)

        return _multiply(csr, kernel, num_rows), gradient

    return multiply(kernel)


def differentiable_entries(
    entries: tf.Tensor, indices: tf.Tensor, inputs: tf.Tensor, kernel: tf.Tensor
) -> tf.Tensor:
    """Attaches their gradient to given entries of `inputs @ kernel.T`.

    Args:
        entries: `(num_entries,)`, the values of the entries.
        indices: `(num_entries, 2)`, int64, row and column of each, in order of
            the rows.
        inputs: `(rows, units)`.
        kernel: `(columns, units)`, float32.

    Returns:
        `entries`, differentiable with respect to inputs and kernel.
    """
    num_rows, num_columns = (tf.shape(m, tf.int64)[0] for m in (inputs, kernel))

    @tf.custom_gradient
    def identity(inputs: tf.Tensor, kernel: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            upstream = tf.cast(upstream, tf.float32)
            csr = _to_csr(
                tf.SparseTensor(indices, upstream, [num_rows, num_columns])
            )
            return (
                tf.cast(_multiply(csr, kernel, num_rows), inputs.dtype),
                _multiply(
                    _transpose(csr), tf.cast(inputs, tf.float32), num_columns
                ),
            )

        return tf.identity(entries), gradient

    return identity(inputs, kernel)


def _to_csr(matrix: tf.SparseTensor) -> tf.Tensor:
    """Converts a matrix, which gets a row and a column if it has none.

    TensorFlow's product divides by the number of rows: without any, the process
    dies. A `tf.cond` would copy its condition from a GPU for each product, and
    a SavedModel cannot hold one on a CSR matrix.
    """
    with tf.device(_HOST):
        shape = tf.maximum(matrix.dense_shape, 1)
    return tf.raw_ops.SparseTensorToCSRSparseMatrix(
        indices=matrix.indices, values=matrix.values, dense_shape=shape
    )


def _unstack_shape(matrix: tf.SparseTensor) -> list[tf.Tensor]:
    with tf.device(_HOST):
        return list(tf.unstack(matrix.dense_shape))


def _transpose(csr: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.SparseMatrixTranspose(input=csr, type=tf.float32)


def _multiply(
    csr: tf.Tensor, matrix: tf.Tensor, num_rows: tf.Tensor
) -> tf.Tensor:
    """Multiplies a matrix that `_to_csr` may have padded, and takes it off."""
    num_added = tf.maximum(1 - tf.shape(matrix)[0], 0)
    # Neither copies anything where there is nothing to add or take off.
    padded = tf.pad(matrix, [[0, num_added], [0, 0]])
    return tf.raw_ops.SparseMatrixMatMul(a=csr, b=padded)[:num_rows]
