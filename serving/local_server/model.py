"""A SavedModel in memory."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging
from google.protobuf import json_format  # type: ignore[import-untyped]
from google.protobuf.message import (  # type: ignore[import-untyped]
    DecodeError,
)
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.local_server import tensor_messages
from serving.protocol import RECOMMEND, Code, RequestError

# Nobody differentiates what is served, and TensorFlow warns of each function
# that it could not be.
logging.get_absl_logger().addFilter(
    lambda record: "unsaved custom gradients" not in str(record.msg)
)

# Tensors by name. Strings are arrays of `bytes` objects.
Arrays = Mapping[str, np.ndarray]

_WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
_MAX_WARMUP_RECORDS = 1000
# A file on the own disk: what it holds may be large.
_MAX_WARMUP_BYTES = 2**31 - 1


class ModelLoadError(ValueError):
    """A model that cannot be found or loaded.

    Args:
        message: why.
        code: the canonical code of the failure.
    """

    def __init__(self, message: str, code: Code = Code.NOT_FOUND):
        super().__init__(message)
        self.code = code


class Signature(NamedTuple):
    """The types of a signature's tensors, by name."""

    inputs: dict[str, str]
    outputs: dict[str, str]


class ModelVersion:
    """One loaded version of a model.

    It has answered the warm-up requests that the SavedModel brings along.

    Args:
        path: the directory of the SavedModel.

    Raises:
        ModelLoadError: if it does not hold a SavedModel that can be loaded
            and that answers its warm-up requests.
    """

    def __init__(self, path: str):
        try:
            self.signature_defs = _read_signature_defs(path)
            # The functions do not keep alive what they use.
            self._saved_model = tf.saved_model.load(path)
        except Exception as error:
            # The loader trips over broken files in many ways.
            reason = str(error).partition("\n")[0]
            raise ModelLoadError(
                f"{path} does not hold a SavedModel that can be loaded:"
                f" {reason}",
                Code(getattr(error, "error_code", Code.UNKNOWN)),
            ) from error
        self._signatures = dict(self._saved_model.signatures)
        self._dtypes = {
            name: Signature(
                _dtype_names(each.inputs), _dtype_names(each.outputs)
            )
            for name, each in self.signature_defs.items()
        }
        # In order, and quicker to look up than in the messages.
        self._inputs = {
            name: dict(sorted(each.inputs.items()))
            for name, each in self.signature_defs.items()
        }
        self._warm_up(os.path.join(path, _WARMUP_FILE))

    def signature(self, name: str) -> Signature | None:
        """Returns the types of a signature, or None if there is none."""
        return self._dtypes.get(name)

    def run(
        self, signature_name: str, inputs: Arrays, output_names: Sequence[str]
    ) -> Arrays:
        """Runs a signature on all of its inputs.

        Raises:
            RequestError: if the model refuses or fails.
        """
        infos = self._inputs[signature_name]
        try:
            outputs = self._signatures[signature_name](
                **{
                    # An array without rows does not tell its type.
                    name: tf.constant(array, infos[name].dtype)
                    for name, array in inputs.items()
                }
            )
            return {name: _to_array(outputs[name]) for name in output_names}
        except tf.errors.OpError as error:
            raise RequestError(
                Code(error.error_code), _without_python_frames(error.message)
            ) from error

    def decode(
        self, request: predict_pb2.PredictRequest, max_bytes: int
    ) -> tuple[str, Arrays, Sequence[str]]:
        """Reads a PredictRequest.

        Returns:
            The name of the signature, its inputs and the outputs wanted.

        Raises:
            RequestError: if the request does not fit the signature.
        """
        name = request.model_spec.signature_name or RECOMMEND
        if name not in self._signatures:
            raise RequestError(
                Code.FAILED_PRECONDITION,
                f'Serving signature key "{name}" not found.',
            )
        inputs = tensor_messages.decode_inputs(
            request, self._inputs[name], max_bytes
        )
        output_names = tensor_messages.check_output_filter(
            request, sorted(self._dtypes[name].outputs)
        )
        return name, inputs, output_names

    def signature_defs_as_json(self) -> dict[str, Any]:
        """Returns every SignatureDef in protobuf's JSON mapping."""
        return {
            name: json_format.MessageToDict(
                signature_def,
                always_print_fields_with_no_presence=True,
                preserving_proto_field_name=True,
            )
            for name, signature_def in sorted(self.signature_defs.items())
        }

    def _warm_up(self, path: str) -> None:
        """Runs the recorded requests, as TensorFlow Serving does."""
        num_requests = 0
        try:
            for request in _read_warmup_requests(path):
                num_requests += 1
                self.run(*self.decode(request, _MAX_WARMUP_BYTES))
        except ModelLoadError:
            raise
        except Exception as error:
            # Whatever it is, clients would meet it too.
            raise ModelLoadError(
                f"{path}: warm-up request {num_requests} fails: {error}",
                getattr(error, "code", Code.UNKNOWN),
            ) from error


def _read_warmup_requests(path: str) -> Iterator[predict_pb2.PredictRequest]:
    if not tf.io.gfile.exists(path):
        return
    records = tf.data.TFRecordDataset(path).as_numpy_iterator()
    try:
        for position, record in enumerate(records):
            if position == _MAX_WARMUP_RECORDS:
                raise ModelLoadError(
                    f"{path} holds more than {_MAX_WARMUP_RECORDS} records.",
                    Code.INVALID_ARGUMENT,
                )
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if log.WhichOneof("log_type") != "predict_log":
                raise ModelLoadError(
                    f"{path}: record {position + 1} is no predict request.",
                    Code.UNIMPLEMENTED,
                )
            yield log.predict_log.request
    except (DecodeError, tf.errors.OpError) as error:
        raise ModelLoadError(
            f"{path} does not hold warm-up requests:"
            f" {str(error).partition(chr(10))[0]}",
            Code.DATA_LOSS,
        ) from error


def _read_signature_defs(
    path: str,
) -> Mapping[str, meta_graph_pb2.SignatureDef]:
    with tf.io.gfile.GFile(os.path.join(path, "saved_model.pb"), "rb") as file:
        saved_model = saved_model_pb2.SavedModel.FromString(file.read())
    for meta_graph in saved_model.meta_graphs:
        if tf.saved_model.SERVING in meta_graph.meta_info_def.tags:
            # Not the map itself, which keeps all of the graph alive.
            return {
                name: meta_graph_pb2.SignatureDef.FromString(
                    signature_def.SerializeToString()
                )
                for name, signature_def in meta_graph.signature_def.items()
            }
    raise ValueError("no graph is tagged 'serve'.")


def _dtype_names(
    tensors: Mapping[str, meta_graph_pb2.TensorInfo],
) -> dict[str, str]:
    return {
        name: types_pb2.DataType.Name(info.dtype).removeprefix("DT_").lower()
        for name, info in tensors.items()
    }


def _to_array(tensor: tf.Tensor) -> np.ndarray:
    if tensor.dtype == tf.string:
        # One string alone would become an array of a fixed number of bytes.
        return np.array(tensor.numpy(), object)
    return np.asarray(tensor)


def _without_python_frames(message: str) -> str:
    """Leaves of a message what TensorFlow's C++ part says."""
    message = re.sub(
        r"^Graph execution error:.*<stack traces unavailable>\n",
        "",
        message,
        flags=re.DOTALL,
    )
    return re.sub(r"^\{\{function_node [^}]*\}\} | \[Op:[^\]]*\]$", "", message)
