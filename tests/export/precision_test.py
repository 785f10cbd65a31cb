import pytest
import tensorflow as tf

from export.precision import precision_in_use, tolerance_in


@pytest.mark.parametrize(
    ("precision", "num_bits"),
    [("tensor_float_32", 10), ("float16", 10), ("bfloat16", 7)],
)
def test_the_tolerance_is_a_few_roundings_of_what_products_take(
    precision, num_bits
):
    # Between numbers of `num_bits` after the leading one.
    assert tolerance_in(precision) == 8 * 2.0**-num_bits


def test_in_float32_the_order_of_sums_decides():
    assert tolerance_in("float32") == 1e-5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_cpu_multiplies_in_the_type_of_the_layers(dtype):
    assert tf.config.experimental.tensor_float_32_execution_enabled()
    assert precision_in_use(dtype) == dtype
