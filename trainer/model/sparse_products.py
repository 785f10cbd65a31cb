"""Fast products of a sparse matrix of ratings and a dense kernel.

Only about one entry in a hundred is a rating. TensorFlow's CSR kernels skip
the others in a tenth of the time of its product of a SparseTensor and a matrix,
but work in float32 only and have no gradient that suits ratings.
"""

from typing import Any

import tensorflow as tf


def multiply_sparse(matrix: tf.SparseTensor, kernel: tf.Tensor) -> tf.Tensor:
    """Computes `matrix @ kernel` without a gradient.

    A SavedModel can hold this product but not `sparse_matmul`.

    Args:
        matrix: `(rows, inner)`, float32, its indices in order of the rows.
        kernel: `(inner, columns)`, float32.

    Returns:
        `(rows, columns)`, float32.
    """
    num_rows, num_inner = tf.unstack(matrix.dense_shape)
    # The kernel crashes on a matrix without rows, as in `_matmul`; but a
    # SavedModel cannot hold a `tf.cond` on a CSR matrix.
    csr = _to_csr(
        tf.SparseTensor(
            matrix.indices,
            matrix.values,
            tf.stack([tf.maximum(num_rows, 1), num_inner]),
        )
    )
    return tf.raw_ops.SparseMatrixMatMul(a=csr, b=kernel)[:num_rows]


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
        num_rows, num_columns = tf.unstack(matrix.dense_shape)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return _matmul(_transpose(csr), upstream, num_columns)

        return _matmul(csr, kernel, num_rows), gradient

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
                tf.cast(_matmul(csr, kernel, num_rows), inputs.dtype),
                _matmul(
                    _transpose(csr), tf.cast(inputs, tf.float32), num_columns
                ),
            )

        return tf.identity(entries), gradient

    return identity(inputs, kernel)


def _to_csr(matrix: tf.SparseTensor) -> tf.Tensor:
    return tf.raw_ops.SparseTensorToCSRSparseMatrix(
        indices=matrix.indices,
        values=matrix.values,
        dense_shape=matrix.dense_shape,
    )


def _transpose(csr: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.SparseMatrixTranspose(input=csr, type=tf.float32)


def _matmul(
    csr: tf.Tensor, matrix: tf.Tensor, num_rows: tf.Tensor
) -> tf.Tensor:
    # The kernel divides by the number of rows: without any, the process dies.
    return tf.cond(
        num_rows > 0,
        lambda: tf.raw_ops.SparseMatrixMatMul(a=csr, b=matrix),
        lambda: tf.zeros([0, tf.shape(matrix)[1]]),
    )
