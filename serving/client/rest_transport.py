"""A connection to a model over TensorFlow Serving's REST API.

Needs the standard library only.
"""

import contextlib
import http.client
import io
import json
import os
import re
import select
import socket
import urllib.parse
import weakref
from collections.abc import Iterator
from typing import Any

from serving.client.errors import ServingError
from serving.client.retries import Deadline
from serving.client.transport import Answer, Row
from serving.protocol import Code, VersionStatus

URL = re.compile(
    r"(https?://[^/?#]+(?:/[^?#]*)?/v1/models/[^/:?#]+)"
    r"(?:/versions/[0-9]+|/labels/[^/:?#]+)?"
)

# Too Many Requests and Service Unavailable: the request was not processed.
_RETRIABLE = (429, 503)

# How a connection that the other side has closed fails.
_CLOSED = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)


class RestTransport:
    """Runs the signatures of one model over REST, on kept connections.

    Args:
        url: the URL of the model, in the form of `URL`.
    """

    def __init__(self, url: str):
        self._url = url
        self._connections = _ConnectionPool(urllib.parse.urlsplit(url))

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
        self._connections.close()

    def _exchange(
        self, method: str, verb: str, body: bytes | None, deadline: Deadline
    ) -> tuple[int, Any]:
        """Sends a request and parses the JSON of the answer."""
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
        target = urllib.parse.quote(
            urllib.parse.urlsplit(self._url + verb).path, safe="/:%"
        )
        waiting_for = "a connection to"
        was_kept = False
        try:
            with self._connections.borrow() as connection:
                if connection.sock is None:
                    connection.timeout = _timeout(deadline)
                    connection.connect()
                else:
                    was_kept = True
                waiting_for = "an answer from"
                connection.sock.settimeout(_timeout(deadline))
                connection.response_class = _response_before(deadline)
                connection.request(
                    method, target, body, {"Content-Type": "application/json"}
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
                f"Cannot talk to {self._url}: {error or repr(error)}",
                # A server may close an idle connection at any moment.
                is_retriable=was_kept and isinstance(error, _CLOSED),
            ) from error

    def _unexpected(
        self, expected: str, document: Any, status: int
    ) -> ServingError:
        return ServingError(
            f"{self._url} did not answer with {expected}. Received:"
            f" {json.dumps(document)[:200]}",
            status,
        )


class _ConnectionPool:
    """Idle connections to one server. Threads may share it.

    Args:
        url: a URL of the server.
    """

    def __init__(self, url: urllib.parse.SplitResult):
        self._connection_type = (
            http.client.HTTPSConnection
            if url.scheme == "https"
            else http.client.HTTPConnection
        )
        self._netloc = url.netloc.rpartition("@")[2]
        # Threads share it: `append` and `pop` are atomic.
        self._idle: list[http.client.HTTPConnection] = []
        self._process_id = os.getpid()
        # Also where nobody calls `close`.
        weakref.finalize(self, _close_all, self._idle)

    @contextlib.contextmanager
    def borrow(self) -> Iterator[http.client.HTTPConnection]:
        """Yields a connection: an idle one, or a new one to be connected.

        It is kept afterwards, unless the block fails or the server closed it.
        """
        connection = self._take()
        try:
            yield connection
        except BaseException:
            # The rest of this answer must not be read as the next one.
            connection.close()
            raise
        if connection.sock is not None:
            self._idle.append(connection)

    def close(self) -> None:
        """Closes the idle connections."""
        _close_all(self._idle)

    def _take(self) -> http.client.HTTPConnection:
        if self._process_id != os.getpid():
            # After a fork these are the parent's connections, too.
            self.close()
            self._process_id = os.getpid()
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._connection_type(self._netloc)
            if not _is_readable(connection.sock):
                return connection
            # The server closed it, or sent something unasked.
            connection.close()


def _close_all(connections: list[http.client.HTTPConnection]) -> None:
    while connections:
        connections.pop().close()


def _is_readable(sock: socket.socket) -> bool:
    """Whether a socket has data or was closed by the other side."""
    if hasattr(select, "poll"):
        # Unlike `select`, it takes file descriptors beyond 1024.
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([sock], [], [], 0)[0])


def _timeout(deadline: Deadline) -> float:
    # A timeout of 0 would make the socket non-blocking.
    return max(deadline.remaining_seconds(), 1e-3)


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket until a deadline, however slowly bytes arrive."""

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
