"""TensorFlow Serving's REST API as an ASGI application."""

import asyncio
import gzip
import io
import logging
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np

from serving.local_server.errors import RequestError, refuse
from serving.local_server.inference import (
    CLASSIFY,
    REGRESS,
    InferenceRunner,
    call_by_size,
    refuse_examples,
)
from serving.local_server.model import Arrays, ModelVersion, Signature
from serving.local_server.model_manager import ModelManager
from serving.local_server.monitoring import Metrics
from serving.local_server.rest import requests, responses
from serving.local_server.rest.requests import PredictRequest, Route, Tensor
from serving.protocol import Code

_LOGGER = logging.getLogger(__name__)

_JSON = "application/json"
_HTML = "text/html"
_TEXT = "text/plain"
_API_METHODS = {"GET", "POST", "HEAD", "PUT", "DELETE", "PATCH"}

_Receive = Callable[[], Awaitable[dict[str, Any]]]


class Response(NamedTuple):
    """An HTTP response: status, type and bytes of the body, more headers."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class RestApi:
    """Answers REST requests about the models of a server.

    An ASGI application without a framework, because TensorFlow Serving's
    routes fit none: the verb follows a colon, the query string belongs to the
    path, and no method is ever "not allowed".

    Args:
        manager: the models to serve.
        runner: runs the requests.
        metrics: counts the requests.
        prometheus_path: the path of the metrics, or None not to publish them.
        timeout_seconds: the most time of a request, from the first byte of its
            body to the last of its answer.
        max_body_bytes: the size of the largest body, also once decompressed;
            TensorFlow Serving has no limit.
        with_cors: whether web pages of other origins may read the answers.
    """

    def __init__(
        self,
        manager: ModelManager,
        runner: InferenceRunner,
        metrics: Metrics,
        *,
        prometheus_path: str | None,
        timeout_seconds: float,
        max_body_bytes: int,
        with_cors: bool,
    ):
        self._manager = manager
        self._runner = runner
        self._metrics = metrics
        self._prometheus_path = prometheus_path
        self._timeout_seconds = timeout_seconds
        self._max_body_bytes = max_body_bytes
        self._with_cors = with_cors

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: _Receive,
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        target = scope["raw_path"]
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        response = await self._respond(
            scope["method"],
            target.decode("ascii"),
            dict(scope["headers"]),
            receive,
        )
        headers = [
            (b"content-type", response.content_type.encode()),
            (b"content-length", str(len(response.body)).encode()),
            *response.headers,
        ]
        if self._with_cors:
            headers.append((b"access-control-allow-origin", b"*"))
        await send(
            {
                "type": "http.response.start",
                "status": response.status,
                "headers": headers,
            }
        )
        await send({"type": "http.response.body", "body": response.body})

    async def _respond(
        self,
        method: str,
        target: str,
        headers: Mapping[bytes, bytes],
        receive: _Receive,
    ) -> Response:
        if method == "OPTIONS":
            return self._answer_preflight(headers)
        if method not in _API_METHODS:
            return _error_page(501, "Not Implemented")
        if target.partition("?")[0] == self._prometheus_path:
            return self._answer_prometheus(target)
        if not target.lower().startswith("/v1/"):
            return _error_page(404, "Not Found")
        try:
            route = requests.parse_route(method, target)
            if method == "POST":
                answer = await self._answer_post(route, headers, receive)
            else:
                answer = self._answer_get(route)
        except RequestError as error:
            # Otherwise the server would wait for the rest of a late body.
            is_late = error.code == Code.DEADLINE_EXCEEDED
            return Response(
                error.http_status,
                _JSON,
                responses.format_error(error.message),
                ((b"connection", b"close"),) if is_late else (),
            )
        except Exception as error:
            _LOGGER.exception("%s %s failed.", method, target)
            return Response(500, _JSON, responses.format_error(repr(error)))
        return Response(200, _JSON, answer)

    def _answer_preflight(self, headers: Mapping[bytes, bytes]) -> Response:
        origin = headers.get(b"origin", b"")
        is_web = origin.startswith((b"http://", b"https://"))
        allowed = (
            (b"access-control-allow-methods", b"GET, POST"),
            (b"access-control-allow-headers", b"Content-Type"),
        )
        return Response(
            200 if is_web else 400,
            _JSON,
            b"",
            allowed if self._with_cors else (),
        )

    def _answer_prometheus(self, target: str) -> Response:
        if target != self._prometheus_path:
            text = (
                f"Unexpected path: {target}. Should be {self._prometheus_path}"
            )
            return Response(400, _TEXT, text.encode())
        return Response(200, _TEXT, self._metrics.page())

    def _answer_get(self, route: Route) -> bytes:
        if route.verb == "status":
            # TensorFlow Serving ignores the label, too.
            return responses.format_status(
                self._manager.statuses(route.model_name, route.version)
            )
        number, version = self._find(route)
        return responses.format_metadata(
            route.model_name, number, version.signature_defs_as_json()
        )

    async def _answer_post(
        self, route: Route, headers: Mapping[bytes, bytes], receive: _Receive
    ) -> bytes:
        with (
            self._metrics.measure(route.model_name, route.verb, "REST"),
            self._runner.admit(),
        ):
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    body = await self._read_body(headers, receive)
                    if route.verb == "predict":
                        return await self._predict(route, body)
                    return self._classify_or_regress(route, body)
            except TimeoutError as error:
                raise RequestError(
                    Code.DEADLINE_EXCEEDED,
                    "Timed out waiting for notification",
                ) from error

    async def _read_body(
        self, headers: Mapping[bytes, bytes], receive: _Receive
    ) -> bytes:
        body = bytearray()
        more_body = True
        while more_body:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestError(Code.CANCELLED, "The client went away.")
            body += message["body"]
            more_body = message["more_body"]
            self._check_size(len(body))
        if headers.get(b"content-encoding") != b"gzip":
            return bytes(body)
        content = await call_by_size(
            # Decompressed, the body may be a hundred times as large.
            100 * len(body),
            _decompress,
            body,
            self._max_body_bytes + 1,
        )
        self._check_size(len(content))
        return content

    def _check_size(self, num_bytes: int) -> None:
        if num_bytes > self._max_body_bytes:
            raise RequestError(
                Code.RESOURCE_EXHAUSTED,
                f"The body has more than the {self._max_body_bytes} bytes that"
                " this server allows.",
            )

    async def _predict(self, route: Route, body: bytes) -> bytes:
        request, version, signature, inputs = await call_by_size(
            len(body), self._parse, route, body
        )
        outputs = await self._runner.run(
            version, request.signature_name, inputs, sorted(signature.outputs)
        )
        return await call_by_size(
            sum(array.nbytes for array in outputs.values()),
            _format_outputs,
            request,
            signature,
            outputs,
        )

    def _parse(
        self, route: Route, body: bytes
    ) -> tuple[PredictRequest, ModelVersion, Signature, Arrays]:
        request = requests.parse_predict_request(body)
        _, version = self._find(route)
        name = request.signature_name
        signature = version.signature(name)
        if signature is None:
            refuse(
                f'Serving signature name: "{name}" not found in signature def'
            )
        tensors = request.parse_inputs(signature.inputs)
        inputs = {name: _to_array(tensor) for name, tensor in tensors.items()}
        return request, version, signature, inputs

    def _classify_or_regress(self, route: Route, body: bytes) -> NoReturn:
        signature_name = requests.parse_examples_request(body)
        _, version = self._find(route)
        method_name = CLASSIFY if route.verb == "classify" else REGRESS
        refuse_examples(version, method_name, signature_name)

    def _find(self, route: Route) -> tuple[int, ModelVersion]:
        return self._manager.find(route.model_name, route.version, route.label)


def _decompress(body: bytes, max_bytes: int) -> bytes:
    """Decompresses a body, at most `max_bytes` of it."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            return file.read(max_bytes)
    except (OSError, EOFError, zlib.error):
        # TensorFlow Serving treats a broken body as an empty one.
        return b""


_NUMPY_NAMES = {
    "float": "float32",
    "double": "float64",
    "string": "object",
}


def _to_array(tensor: Tensor) -> np.ndarray:
    # Numbers beyond float32 become infinite, without a warning.
    with np.errstate(over="ignore"):
        return np.array(
            tensor.values, _NUMPY_NAMES.get(tensor.dtype, tensor.dtype)
        )


def _format_outputs(
    request: PredictRequest, signature: Signature, outputs: Arrays
) -> bytes:
    return responses.format_outputs(
        {
            name: Tensor(signature.outputs[name], array.tolist())
            for name, array in outputs.items()
        },
        by_row=request.is_by_row,
    )


def _error_page(status: int, reason: str) -> Response:
    page = (
        f"<html><head><title>{status} {reason}</title></head>"
        f"<body><h1>{reason}</h1></body></html>\n"
    )
    return Response(status, _HTML, page.encode())
