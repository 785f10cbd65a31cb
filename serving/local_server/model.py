"""One version of a model: its files, checked, and the SavedModel, loaded."""

import hashlib
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
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.local_server import tensor_messages
from serving.local_server.errors import ModelLoadError, RequestError
from serving.protocol import RECOMMEND, Code

# A served model is not differentiated: TensorFlow's warnings about functions
# without gradients would only alarm.
logging.get_absl_logger().addFilter(
    lambda record: "unsaved custom gradients" not in str(record.msg)
)

# Tensors by name. Strings are arrays of `bytes` objects.
Arrays = Mapping[str, np.ndarray]

_WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
_MAX_WARMUP_RECORDS = 1000
# Unlike a client's request, a file on disk is trusted with its size.
_MAX_WARMUP_BYTES = 2**31 - 1

# In the format of `sha256sum`: every file of the version but this one.
_DIGESTS_FILE = "assets.extra/SHA256SUMS"
_BLOCK_BYTES = 2**20


class Signature(NamedTuple):
    """The types of a signature's tensors, by name, as in `Tensor.dtype`."""

    inputs: dict[str, str]
    outputs: dict[str, str]


class ModelVersion:
    """A version of a model, loaded and warmed up.

    Args:
        path: the directory of the SavedModel.

    Attributes:
        signature_defs: the SignatureDefs by name.

    Raises:
        ModelLoadError: if the SavedModel cannot be loaded, or does not answer
            the warm-up requests among its files.
    """

    def __init__(self, path: str):
        try:
            self.signature_defs = _read_signature_defs(path)
            # Kept, because its functions do not keep its variables alive.
            self._saved_model = tf.saved_model.load(path)
        except Exception as error:
            # The loader raises nearly anything on a broken file.
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
        # Sorted as tensors are numbered in errors; a dict is faster to look up
        # in than a message.
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
        """Runs a signature.

        Args:
            signature_name: a signature of the model.
            inputs: all inputs of the signature, `(batch_size, ...)` each.
            output_names: the outputs to return.

        Returns:
            The outputs by name, `(batch_size, ...)` each.

        Raises:
            RequestError: if the model refuses or fails.
        """
        infos = self._inputs[signature_name]
        try:
            outputs = self._signatures[signature_name](
                **{
                    # The type of an array without rows is not to be inferred.
                    name: tf.constant(array, infos[name].dtype)
                    for name, array in inputs.items()
                }
            )
            return {name: _to_array(outputs[name]) for name in output_names}
        except tf.errors.OpError as error:
            raise RequestError(
                Code(error.error_code), _without_python_frames(error.message)
            ) from error

    def parse(
        self, request: predict_pb2.PredictRequest, max_bytes: int
    ) -> tuple[str, Arrays, Sequence[str]]:
        """Parses a PredictRequest.

        Args:
            request: the message.
            max_bytes: the most memory that one tensor may take.

        Returns:
            The name of the signature, its inputs by name, and the names of
            the outputs to return.

        Raises:
            RequestError: if the request does not fit the signature.
        """
        name = request.model_spec.signature_name or RECOMMEND
        if name not in self._signatures:
            raise RequestError(
                Code.FAILED_PRECONDITION,
                f'Serving signature key "{name}" not found.',
            )
        inputs = tensor_messages.parse_inputs(
            request, self._inputs[name], max_bytes
        )
        output_names = tensor_messages.parse_output_filter(
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
        """Runs the warm-up requests, as TensorFlow Serving does."""
        num_requests = 0
        try:
            for request in _read_warmup_requests(path):
                num_requests += 1
                self.run(*self.parse(request, _MAX_WARMUP_BYTES))
        except ModelLoadError:
            raise
        except Exception as error:
            # Clients would meet the same failure.
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
            # Copies, because the map itself would keep the whole graph alive.
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
        name: tensor_messages.dtype_name(info.dtype)
        for name, info in tensors.items()
    }


def _to_array(tensor: tf.Tensor) -> np.ndarray:
    if tensor.dtype == tf.string:
        # NumPy would make a scalar string an array of fixed-width bytes.
        return np.array(tensor.numpy(), object)
    return np.asarray(tensor)


def _without_python_frames(message: str) -> str:
    """Strips what Python adds to the message of TensorFlow's C++ runtime."""
    message = re.sub(
        r"^Graph execution error:.*<stack traces unavailable>\n",
        "",
        message,
        flags=re.DOTALL,
    )
    return re.sub(r"^\{\{function_node [^}]*\}\} | \[Op:[^\]]*\]$", "", message)


# ---- Digests ----


def check_digests(path: str) -> None:
    """Checks that a version holds exactly the files that were published.

    Args:
        path: the directory of the version, with its list of SHA-256 digests.

    Raises:
        ModelLoadError: if a file is missing, changed or not in the list, or
            there is no list.
    """
    try:
        with tf.io.gfile.GFile(os.path.join(path, _DIGESTS_FILE)) as file:
            lines = file.read().splitlines()
        expected = {}
        for line in lines:
            digest, _, name = line.partition("  ")
            expected[name] = digest
        actual = {
            name: _sha256(os.path.join(path, name))
            for name in _list_files(path)
            if name != _DIGESTS_FILE
        }
    except (OSError, UnicodeDecodeError, tf.errors.OpError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelLoadError(
            f"{path} cannot be checked: {reason}", Code.DATA_LOSS
        ) from error
    for name in sorted(expected.keys() | actual.keys()):
        if expected.get(name) != actual.get(name):
            raise ModelLoadError(
                f"{path}: {name} is not what {_DIGESTS_FILE} says.",
                Code.DATA_LOSS,
            )


def _list_files(directory: str) -> list[str]:
    return [
        os.path.relpath(os.path.join(parent, name), directory)
        for parent, _, names in tf.io.gfile.walk(directory)
        for name in names
    ]


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
