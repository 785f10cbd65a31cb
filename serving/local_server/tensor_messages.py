"""Parses and writes tensors in protobuf messages as TensorFlow Serving does."""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NoReturn

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2

from serving.local_server.errors import RequestError, refuse
from serving.protocol import Code

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

# The field of a TensorProto that holds the values, where it is not `int_val`.
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


def parse_inputs(
    request: predict_pb2.PredictRequest,
    expected: Mapping[str, meta_graph_pb2.TensorInfo],
    max_bytes: int,
) -> dict[str, np.ndarray]:
    """Parses the inputs of a request.

    Args:
        request: the message.
        expected: the inputs of the signature, in the order of their names.
        max_bytes: the most memory that one tensor may take: a few bytes of a
            message can claim any shape.

    Returns:
        The inputs by name; strings are arrays of `bytes` objects.

    Raises:
        RequestError: if the request does not hold exactly these inputs.
    """
    if set(request.inputs) != expected.keys():
        _refuse_names(set(request.inputs), expected)
    tensors = {name: request.inputs[name] for name in expected}
    inputs = {
        name: _parse_tensor(name, tensor, max_bytes)
        for name, tensor in tensors.items()
    }
    for position, (name, tensor) in enumerate(tensors.items()):
        dtype, given = expected[name].dtype, tensor.dtype
        if dtype != given:
            refuse(
                f"Expects arg[{position}] to be {dtype_name(dtype)} but"
                f" {dtype_name(given)} is provided"
            )
    return inputs


def _refuse_names(
    given: Set[str], expected: Mapping[str, meta_graph_pb2.TensorInfo]
) -> NoReturn:
    missing = expected.keys() - given
    if len(given) != len(expected):
        refuse(
            f"input size does not match signature: {len(given)}!="
            f"{len(expected)} len({_names(given)}) != len({_names(expected)})."
            f" Sent extra: {_names(given - expected.keys())}. Missing but"
            f" required: {_names(missing)}."
        )
    name = min(missing)
    refuse(
        f"Signature input alias: {name}(feed name: {expected[name].name}) not"
        " found in request and no default value provided. Inputs expected to be"
        f" in the request {_names(given)}, or default input alias set: "
    )


def parse_output_filter(
    request: predict_pb2.PredictRequest, outputs: Sequence[str]
) -> Sequence[str]:
    """Returns the names of the outputs that a request asks for.

    Args:
        request: the message.
        outputs: the outputs of the signature; without a filter, all of them
            are returned.

    Raises:
        RequestError: if the filter repeats a name, or names an output that the
            signature does not have.
    """
    names = list(request.output_filter)
    for position, name in enumerate(names):
        if name not in outputs:
            refuse(
                f"output tensor alias not found in signature: {name} Outputs"
                f" expected to be in the set {_names(outputs)}."
            )
        if name in names[:position]:
            refuse(f"duplicate output tensor alias: {name}")
    return names or outputs


def write_outputs(
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


def _parse_tensor(
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
        refuse(f"tensor parsing error: {name}")
    num_values = math.prod(shape)
    if num_values * dtype.itemsize > max_bytes:
        raise RequestError(
            Code.RESOURCE_EXHAUSTED,
            f"Tensor {name} of {num_values} values takes more than the"
            f" {max_bytes} bytes that this server allows.",
        )
    if tensor.tensor_content:
        values = _parse_content(name, tensor.tensor_content, dtype, num_values)
    else:
        values = _parse_list(tensor, dtype, num_values)
    return values.reshape(shape)


def _parse_content(
    name: str, content: bytes, dtype: np.dtype, num_values: int
) -> np.ndarray:
    if not dtype.hasobject:
        if len(content) != num_values * dtype.itemsize:
            refuse(f"tensor parsing error: {name}")
        return np.frombuffer(content, dtype)
    # The varint lengths of all strings, then the strings.
    lengths: list[int] = []
    position = 0
    while len(lengths) < num_values:
        length = shift = 0
        while True:
            if position == len(content) or shift > 63:
                refuse(f"tensor parsing error: {name}")
            byte = content[position]
            position += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        lengths.append(length)
    if position + sum(lengths) != len(content):
        refuse(f"tensor parsing error: {name}")
    strings = np.empty(num_values, object)
    for index, length in enumerate(lengths):
        strings[index] = content[position : position + length]
        position += length
    return strings


def _parse_list(
    tensor: tensor_pb2.TensorProto, dtype: np.dtype, num_values: int
) -> np.ndarray:
    field = _FIELDS.get(tensor.dtype, "int_val")
    given = getattr(tensor, field)[:num_values]
    if field == "half_val":
        # Cut to 16 bits, as the C++ cast does.
        bits = np.array(given, np.int64).astype(np.uint16)
        given_values = bits.view(dtype)
    elif field == "int_val":
        given_values = np.array(given, np.int64).astype(dtype)
    else:
        given_values = np.fromiter(given, dtype, len(given))
    if len(given) == num_values:
        return given_values
    # The last value is repeated for the missing ones; without any they are 0.
    last = given_values[-1:] if given else _zero(dtype)
    missing = np.repeat(last, num_values - len(given))
    return np.concatenate([given_values, missing])


def _zero(dtype: np.dtype) -> np.ndarray:
    return np.array([b""], object) if dtype.hasobject else np.zeros(1, dtype)


def dtype_name(datatype: int) -> str:
    """Returns TensorFlow's name of a DataType, such as "float"."""
    return types_pb2.DataType.Name(datatype).removeprefix("DT_").lower()


def _names(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
