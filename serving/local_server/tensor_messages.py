"""Tensors in protobuf messages, read and written as TensorFlow Serving does."""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NoReturn

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2

from serving.protocol import Code, RequestError

_DTYPES: dict[int, np.dtype] = {
    datatype: np.dtype(tf.as_dtype(datatype).as_numpy_dtype)
    for datatype in (
        types_pb2.DT_FLOAT,
        types_pb2.DT_DOUBLE,
        types_pb2.DT_HALF,
        types_pb2.DT_BFLOAT16,
        types_pb2.DT_INT8,
        types_pb2.DT_INT16,
        types_pb2.DT_INT32,
        types_pb2.DT_INT64,
        types_pb2.DT_UINT8,
        types_pb2.DT_UINT16,
        types_pb2.DT_UINT32,
        types_pb2.DT_UINT64,
        types_pb2.DT_BOOL,
        types_pb2.DT_STRING,
    )
}
_DATATYPES = {dtype: datatype for datatype, dtype in _DTYPES.items()}

# The field of a TensorProto that holds the values, where it is not that of
# the 32-bit integers.
_FIELDS = {
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_DOUBLE: "double_val",
    types_pb2.DT_HALF: "half_val",
    types_pb2.DT_BFLOAT16: "half_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_UINT32: "uint32_val",
    types_pb2.DT_UINT64: "uint64_val",
    types_pb2.DT_BOOL: "bool_val",
    types_pb2.DT_STRING: "string_val",
}

# NumPy's limit; TensorFlow's is 254.
_MAX_RANK = 64


def decode_inputs(
    request: predict_pb2.PredictRequest,
    expected: Mapping[str, meta_graph_pb2.TensorInfo],
    max_bytes: int,
) -> dict[str, np.ndarray]:
    """Reads the inputs of a request.

    Args:
        request: names and tensors.
        expected: the inputs that it must have, in the order of their names.
        max_bytes: the most memory that a tensor may take: a few bytes of a
            message can claim any shape.

    Raises:
        RequestError: if the request does not hold exactly these inputs.
    """
    if set(request.inputs) != expected.keys():
        _refuse_names(set(request.inputs), expected)
    tensors = {name: request.inputs[name] for name in expected}
    inputs = {
        name: _decode_tensor(name, tensor, max_bytes)
        for name, tensor in tensors.items()
    }
    for position, (name, tensor) in enumerate(tensors.items()):
        wanted, got = expected[name].dtype, tensor.dtype
        if wanted != got:
            _refuse(
                f"Expects arg[{position}] to be {_dtype_name(wanted)} but"
                f" {_dtype_name(got)} is provided"
            )
    return inputs


def _refuse_names(
    given: Set[str], expected: Mapping[str, meta_graph_pb2.TensorInfo]
) -> NoReturn:
    missing = expected.keys() - given
    if len(given) != len(expected):
        _refuse(
            f"input size does not match signature: {len(given)}!="
            f"{len(expected)} len({_names(given)}) != len({_names(expected)})."
            f" Sent extra: {_names(given - expected.keys())}. Missing but"
            f" required: {_names(missing)}."
        )
    name = min(missing)
    _refuse(
        f"Signature input alias: {name}(feed name: {expected[name].name}) not"
        " found in request and no default value provided. Inputs expected to be"
        f" in the request {_names(given)}, or default input alias set: "
    )


def check_output_filter(
    request: predict_pb2.PredictRequest, outputs: Sequence[str]
) -> Sequence[str]:
    """Returns the names of the outputs that a request asks for.

    Args:
        request: what it asks for.
        outputs: what there is, all of it if it does not say.

    Raises:
        RequestError: if it asks for an output twice, or for one that the
            signature does not have.
    """
    names = list(request.output_filter)
    for position, name in enumerate(names):
        if name not in outputs:
            _refuse(
                f"output tensor alias not found in signature: {name} Outputs"
                f" expected to be in the set {_names(outputs)}."
            )
        if name in names[:position]:
            _refuse(f"duplicate output tensor alias: {name}")
    return names or outputs


def encode_outputs(
    outputs: Mapping[str, np.ndarray],
    response: predict_pb2.PredictResponse,
    as_content: bool,
) -> None:
    """Writes outputs into the answer to a request.

    Args:
        outputs: tensors by name.
        response: where to put them.
        as_content: whether numbers are written as one run of bytes instead of
            a list, which is faster to read.
    """
    for name, array in outputs.items():
        tensor = response.outputs[name]
        tensor.dtype = _DATATYPES[array.dtype]
        for size in array.shape:
            tensor.tensor_shape.dim.add(size=size)
        if as_content and tensor.dtype != types_pb2.DT_STRING:
            tensor.tensor_content = array.tobytes()
            continue
        values = array.ravel()
        field = _FIELDS.get(tensor.dtype, "int_val")
        if field == "half_val":
            values = values.view(np.uint16)
        getattr(tensor, field).extend(values.tolist())


def _decode_tensor(
    name: str, tensor: tensor_pb2.TensorProto, max_bytes: int
) -> np.ndarray:
    shape = [dimension.size for dimension in tensor.tensor_shape.dim]
    dtype = _DTYPES.get(tensor.dtype)
    if (
        dtype is None
        or tensor.tensor_shape.unknown_rank
        or len(shape) > _MAX_RANK
        or any(size < 0 for size in shape)
    ):
        _refuse(f"tensor parsing error: {name}")
    num_values = math.prod(shape)
    if num_values * dtype.itemsize > max_bytes:
        raise RequestError(
            Code.RESOURCE_EXHAUSTED,
            f"Tensor {name} of {num_values} values takes more than the"
            f" {max_bytes} bytes that this server allows.",
        )
    if tensor.tensor_content:
        values = _decode_content(name, tensor.tensor_content, dtype, num_values)
    else:
        values = _decode_list(tensor, dtype, num_values)
    return values.reshape(shape)


def _decode_content(
    name: str, content: bytes, dtype: np.dtype, num_values: int
) -> np.ndarray:
    if not dtype.hasobject:
        if len(content) != num_values * dtype.itemsize:
            _refuse(f"tensor parsing error: {name}")
        return np.frombuffer(content, dtype)
    # The lengths of all strings, then all strings.
    lengths: list[int] = []
    position = 0
    while len(lengths) < num_values:
        length = shift = 0
        while True:
            if position == len(content) or shift > 63:
                _refuse(f"tensor parsing error: {name}")
            byte = content[position]
            position += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        lengths.append(length)
    if position + sum(lengths) != len(content):
        _refuse(f"tensor parsing error: {name}")
    strings = np.empty(num_values, object)
    for index, length in enumerate(lengths):
        strings[index] = content[position : position + length]
        position += length
    return strings


def _decode_list(
    tensor: tensor_pb2.TensorProto, dtype: np.dtype, num_values: int
) -> np.ndarray:
    field = _FIELDS.get(tensor.dtype, "int_val")
    given = getattr(tensor, field)[:num_values]
    if field == "half_val":
        # As in C, what is too big for the type is cut off.
        bits = np.array(given, np.int64).astype(np.uint16)
        given_values = bits.view(dtype)
    elif field == "int_val":
        given_values = np.array(given, np.int64).astype(dtype)
    else:
        given_values = np.fromiter(given, dtype, len(given))
    if len(given) == num_values:
        return given_values
    # The last value stands for all that are left out, no value for zeros.
    last = given_values[-1:] if given else _zero(dtype)
    missing = np.repeat(last, num_values - len(given))
    return np.concatenate([given_values, missing])


def _zero(dtype: np.dtype) -> np.ndarray:
    return np.array([b""], object) if dtype.hasobject else np.zeros(1, dtype)


def _dtype_name(datatype: int) -> str:
    return types_pb2.DataType.Name(datatype).removeprefix("DT_").lower()


def _names(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _refuse(message: str) -> NoReturn:
    raise RequestError(Code.INVALID_ARGUMENT, message)
