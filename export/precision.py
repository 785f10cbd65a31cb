"""How far rounding may move what a model answers."""

import tensorflow as tf

#: Type that dense products take their factors in -> its unit roundoff, the
#: largest relative error of a factor. Sums are float32 in all of them.
_ROUNDOFFS = {
    "float32": 2.0**-24,
    "tensor_float_32": 2.0**-11,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
}

#: Roundoffs of its factors by which an answer may be off. Networks of up to
#: twelve products with random weights were off by at most four.
_NUM_ROUNDOFFS = 16

#: What sums of some thousand products in float32 may be apart if another
#: kernel adds them up in another order.
_ORDER_OF_SUMS = 1e-5

#: GPUs from this compute capability on, Ampere, multiply float32 in TF32.
_FIRST_WITH_TF32 = (8, 0)


def tolerance_in(precision: str) -> float:
    """Returns how far two computations of one answer may be apart.

    Args:
        precision: what `precision_in_use` returns.

    Returns:
        The distance, relative to the numbers at hand.
    """
    return max(_ORDER_OF_SUMS, _NUM_ROUNDOFFS * _ROUNDOFFS[precision])


def precision_in_use(compute_dtype: str = "float32") -> str:
    """Returns the type that this machine takes the factors of products in.

    Reference:
        https://www.tensorflow.org/api_docs/python/tf/config/experimental/enable_tensor_float_32_execution

    Args:
        compute_dtype: the type that a model's layers compute in.
    """
    if (
        compute_dtype == "float32"
        and tf.config.experimental.tensor_float_32_execution_enabled()
        and any(map(_has_tf32, tf.config.list_physical_devices("GPU")))
    ):
        return "tensor_float_32"
    return compute_dtype


def _has_tf32(gpu: tf.config.PhysicalDevice) -> bool:
    details = tf.config.experimental.get_device_details(gpu)
    capability: tuple[int, int] = details.get("compute_capability", (0, 0))
    return capability >= _FIRST_WITH_TF32
