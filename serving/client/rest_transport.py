"""A connection to a model over TensorFlow Serving's REST API.

Needs the standard library only.
"""

import http.client
import io
import json
import re
import socket
import urllib.parse
from typing import Any

from serving.client.errors import ServingError
from serving.client.retries import Deadline
from serving.client.transport import Answer, Row
from serving.protocol import Code, VersionStatus

URL = re.compile(
    r"(https?://[^/?#]+(?:/[^?#]*)?/v1/models/[^/:?#]+)"
    r"(?:/versions/[0-9]+|/labels/[^/:?#]+)?"
)

# Too many requests, and not available: the request was not looked at.
_RETRIABLE = (429, 503)


class RestTransport:
    """Talks to one model over REST; every call opens a connection of its own.

    Args:
        url: the model's, as `URL` has it.
    """

    def __init__(self, url: str):
        self._url = url

    def predict(
        self, signature_name: str, row: Row, deadline: Deadline
    ) -> Answer:
        request = {"signature_name": signature_name, "instances": [row]}
        status, document = self._exchange(
            "POST", ":predict", json.dumps(request).encode(), deadline
        )
        match document:
            case {"predictions": [dict(outputs)]}:
                return Answer(outputs, status)
        raise self._unexpected("one row of named predictions", document, status)

    def read_status(self, deadline: Deadline) -> list[VersionStatus]:
        status, document = self._exchange("GET", "", None, deadline)
        try:
            return [
                VersionStatus(
                    int(version["version"]),
                    str(version["state"]),
                    Code[version["status"]["error_code"]],
                    str(version["status"]["error_message"]),
                )
                for version in document["model_version_status"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise self._unexpected(
                "the status of versions", document, status
            ) from error

    def close(self) -> None:
        pass

    def _exchange(
        self, method: str, verb: str, body: bytes | None, deadline: Deadline
    ) -> tuple[int, Any]:
        """Sends a request and reads the JSON of the answer."""
        status, answer = self._send(method, verb, body, deadline)
        try:
            document = json.loads(answer)
        except ValueError as error:
            text = answer[:80].decode("utf-8", "replace")
            raise ServingError(
                f"{self._url} answered with HTTP status {status} and no JSON."
                f" Is it the URL of a model server? Received: {text!r}",
                status,
                is_retriable=status in _RETRIABLE,
            ) from error
        match document:
            case {"error": str(message)}:
                raise ServingError(
                    message, status, is_retriable=status in _RETRIABLE
                )
        return status, document

    def _send(
        self, method: str, verb: str, body: bytes | None, deadline: Deadline
    ) -> tuple[int, bytes]:
        url = urllib.parse.urlsplit(self._url + verb)
        connection_type = (
            http.client.HTTPSConnection
            if url.scheme == "https"
            else http.client.HTTPConnection
        )
        connection = connection_type(
            url.netloc.rpartition("@")[2], timeout=_timeout(deadline)
        )
        connection.response_class = _response_before(deadline)
        waiting_for = "a connection to"
        try:
            connection.connect()
            waiting_for = "an answer from"
            connection.sock.settimeout(_timeout(deadline))
            connection.request(
                method,
                urllib.parse.quote(url.path, safe="/:%"),
                body,
                {"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            return response.status, response.read()
        except TimeoutError as error:
            raise ServingError(
                f"Timed out after {deadline.seconds:g} seconds of waiting for"
                f" {waiting_for} {self._url}"
            ) from error
        except ConnectionRefusedError as error:
            raise ServingError(
                f"Nothing listens at {self._url}. Is the server running?",
                is_retriable=True,
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise ServingError(
                f"Cannot talk to {self._url}: {error or repr(error)}"
            ) from error
        finally:
            connection.close()

    def _unexpected(
        self, expected: str, document: Any, status: int
    ) -> ServingError:
        return ServingError(
            f"{self._url} did not answer with {expected}. Received:"
            f" {json.dumps(document)[:200]}",
            status,
        )


def _timeout(deadline: Deadline) -> float:
    # A timeout of 0 would mean not to wait at all.
    return max(deadline.remaining_seconds(), 1e-3)


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket until a deadline, however slowly bytes come in."""

    def __init__(self, sock: socket.socket, deadline: Deadline):
        self._socket = sock
        # The socket stays open as long as this file does.
        self._file = sock.makefile("rb", 0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._deadline.remaining_seconds() <= 0:
            raise TimeoutError
        self._socket.settimeout(_timeout(self._deadline))
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


def _response_before(deadline: Deadline) -> type[http.client.HTTPResponse]:
    """Makes a type of responses that are read until a deadline."""

    class Response(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any):
            super().__init__(sock, *args, **kwargs)
            self.fp.close()
            self.fp = io.BufferedReader(_DeadlineReader(sock, deadline))

    return Response
