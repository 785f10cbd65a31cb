"""The REST API as an ASGI application."""

import asyncio
import gzip
import logging
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from serving import protocol
from serving.model import Models
from serving.protocol import Code, RequestError

_LOGGER = logging.getLogger(__name__)

_JSON = "application/json"
_HTML = "text/html"
_API_METHODS = {"GET", "POST", "HEAD", "PUT", "DELETE", "PATCH"}


class Response(NamedTuple):
    """What goes back to the client."""

    status: int
    content_type: str
    body: bytes


class RestApi:
    """Answers REST requests about the models of a server.

    It is an ASGI application without a framework, because the protocol's
    routes are unlike any framework's: the verb follows a colon, the query
    string belongs to the path, no method is ever "not allowed".

    Args:
        models: the models to serve.
    """

    def __init__(self, models: Models):
        self._models = models

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        body = bytearray()
        more_body = True
        while more_body:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more_body = message["more_body"]
        target = scope["raw_path"]
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        # A thread, so that a slow model does not keep others waiting.
        response = await asyncio.to_thread(
            self.respond,
            scope["method"],
            target.decode("ascii"),
            dict(scope["headers"]),
            bytes(body),
        )
        await send(
            {
                "type": "http.response.start",
                "status": response.status,
                "headers": [
                    (b"content-type", response.content_type.encode()),
                    (b"content-length", str(len(response.body)).encode()),
                ],
            }
        )
        await send({"type": "http.response.body", "body": response.body})

    def respond(
        self,
        method: str,
        target: str,
        headers: Mapping[bytes, bytes],
        body: bytes,
    ) -> Response:
        """Answers one request.

        Args:
            method: the HTTP method.
            target: the path with its query string, as received.
            headers: names are in lower case.
            body: as received.
        """
        if method == "OPTIONS":
            origin = headers.get(b"origin", b"")
            is_web = origin.startswith((b"http://", b"https://"))
            return Response(200 if is_web else 400, _JSON, b"")
        if method not in _API_METHODS:
            return _error_page(501, "Not Implemented")
        if not target.lower().startswith("/v1/"):
            return _error_page(404, "Not Found")
        try:
            answer = self._answer(method, target, _decompress(headers, body))
        except RequestError as error:
            return Response(
                error.http_status, _JSON, protocol.encode_error(error.message)
            )
        except Exception as error:
            _LOGGER.exception("%s %s failed.", method, target)
            return Response(500, _JSON, protocol.encode_error(repr(error)))
        return Response(200, _JSON, answer)

    def _answer(self, method: str, target: str, body: bytes) -> bytes:
        route = protocol.parse_route(method, target)
        name, version, label = route.model_name, route.version, route.label
        if route.verb == "status":
            # The label is ignored, as TensorFlow Serving does.
            return protocol.encode_status(
                self._models.served_versions(name, version)
            )
        if route.verb == "metadata":
            number, model = self._models.find(name, version, label)
            return protocol.encode_metadata(
                name, number, model.signature_defs()
            )
        if route.verb != "predict":
            raise RequestError(
                Code.INVALID_ARGUMENT,
                f"No signature of model {name} is for {route.verb}; all are for"
                " predict.",
            )
        request = protocol.parse_predict_request(body)
        _, model = self._models.find(name, version, label)
        dtypes = model.input_dtypes(request.signature_name)
        inputs = request.decode_inputs(dtypes)
        outputs = model.run(request.signature_name, inputs)
        return request.encode_outputs(outputs)


def _decompress(headers: Mapping[bytes, bytes], body: bytes) -> bytes:
    if headers.get(b"content-encoding") != b"gzip":
        return body
    try:
        return gzip.decompress(body)
    except (OSError, EOFError, zlib.error):
        # TensorFlow Serving takes a broken body for an empty one.
        return b""


def _error_page(status: int, reason: str) -> Response:
    page = (
        f"<html><head><title>{status} {reason}</title></head>"
        f"<body><h1>{reason}</h1></body></html>\n"
    )
    return Response(status, _HTML, page.encode())
