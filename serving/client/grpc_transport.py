"""A connection to a model over TensorFlow Serving's gRPC API.

Needs the packages grpcio and protobuf.
"""

import math
import re
from typing import Any

import grpc  # type: ignore[import-untyped]

from serving import protocol
from serving.client import predict_messages as messages
from serving.client.errors import ServingError
from serving.client.retries import Deadline
from serving.client.transport import Answer, Row
from serving.protocol import Code, VersionStatus

URL = re.compile(
    r"grpc://(?P<address>[^/?#@]+)"
    # A model may have slashes in its name.
    r"/(?P<name>[^/:?#]+(?:/(?!versions/|labels/)[^/:?#]+)*)"
    r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:?#]+))?"
)

_RETRIABLE = (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED)

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    # A retry is of no use before the channel has tried to connect again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)


class GrpcTransport:
    """Runs the signatures of one model over gRPC, on one channel.

    Args:
        url: the URL of the model, in the form of `URL`.

    Raises:
        ValueError: if `url` has another form.
    """

    def __init__(self, url: str):
        self._url = url
        match = URL.fullmatch(url)
        if match is None:
            raise ValueError(f"Not the URL of a model: {url!r}")
        self._name = match["name"]
        self._version = match["version"]
        self._label = match["label"]
        self._channel = grpc.insecure_channel(match["address"], _OPTIONS)
        self._predict = self._channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            messages.PredictRequest.SerializeToString,
            messages.PredictResponse.FromString,
        )
        self._get_model_status = self._channel.unary_unary(
            "/tensorflow.serving.ModelService/GetModelStatus",
            messages.GetModelStatusRequest.SerializeToString,
            messages.GetModelStatusResponse.FromString,
        )

    def predict(
        self, signature_name: str, row: Row, deadline: Deadline
    ) -> Answer:
        request = messages.PredictRequest()
        self._fill(request.model_spec)
        request.model_spec.signature_name = signature_name
        for name, values in row.items():
            _write_row(name, values, request.inputs.add(key=name).value)
        response = self._call(self._predict, request, deadline)
        return Answer(
            {
                output.key: self._read_row(output.key, output.value)
                for output in response.outputs
            },
            Code.OK,
        )

    def read_status(self, deadline: Deadline) -> list[VersionStatus]:
        request = messages.GetModelStatusRequest()
        self._fill(request.model_spec)
        response = self._call(self._get_model_status, request, deadline)
        return [
            VersionStatus(
                version.version,
                messages.STATES.get(version.state, "UNKNOWN"),
                Code(version.status.error_code),
                version.status.error_message,
            )
            for version in response.model_version_status
        ]

    def close(self) -> None:
        self._channel.close()

    def _fill(self, model_spec: Any) -> None:
        model_spec.name = self._name
        if self._version:
            model_spec.version.value = int(self._version)
        elif self._label:
            model_spec.version_label = self._label

    def _call(self, method: Any, request: Any, deadline: Deadline) -> Any:
        try:
            return method(request, timeout=max(deadline.remaining_seconds(), 0))
        except grpc.RpcError as error:
            code = Code(error.code().value[0])
            message = error.details() or code.name
            if code == Code.DEADLINE_EXCEEDED:
                message = (
                    f"Timed out after {deadline.seconds:g} seconds of waiting"
                    f" for an answer from {self._url}"
                )
            raise ServingError(
                message, code, is_retriable=code in _RETRIABLE
            ) from error

    def _read_row(self, name: str, tensor: Any) -> Any:
        """Returns the only row of an output, as nested lists."""
        shape = [dimension.size for dimension in tensor.tensor_shape.dim]
        field = messages.FIELD_OF_DTYPE.get(tensor.dtype)
        values = list(getattr(tensor, field)) if field else []
        if not field or shape[:1] != [1] or math.prod(shape) != len(values):
            raise ServingError(
                f"{self._url} did not answer with one row of {name!r}."
                f" Received: {str(tensor)[:200]}",
                Code.OK,
            )
        if tensor.dtype == messages.STRING:
            values = [value.decode("utf-8", "replace") for value in values]
        return _nest(values, shape[1:])


def _write_row(name: str, values: list[Any] | int, tensor: Any) -> None:
    """Writes an input as a tensor of one row."""
    tensor.tensor_shape.dim.add(size=1)
    if isinstance(values, int):
        tensor.dtype = messages.INT32
        tensor.int_val.append(values)
        return
    tensor.tensor_shape.dim.add(size=len(values))
    if name == protocol.RATINGS:
        tensor.dtype = messages.FLOAT
        tensor.float_val.extend(values)
    else:
        tensor.dtype = messages.STRING
        tensor.string_val.extend(value.encode() for value in values)


def _nest(values: list[Any], shape: list[int]) -> Any:
    """Reshapes a flat list to nested lists, and to a value for no shape."""
    if not shape:
        return values[0]
    size = math.prod(shape[1:])
    return [
        _nest(values[position * size : (position + 1) * size], shape[1:])
        for position in range(shape[0])
    ]
