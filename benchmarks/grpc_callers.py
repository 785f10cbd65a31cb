"""Load generator for gRPC that leaves the processors to the server.

gRPC's own client takes a tenth of a millisecond of a core per call, on the same
two cores as the server to be measured. These callers send serialized messages
and parse no more of an answer than its frames.

Sources: RFC 9113 (HTTP/2), RFC 7541 (HPACK) and
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

import itertools
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 4, 6, 8
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_INITIAL_WINDOW_SIZE = 4
_DEFAULT_WINDOW = 2**16 - 1
_LARGEST_WINDOW = 2**31 - 1
_MAX_FRAME_SIZE = 2**14
# Of a message: whether it is compressed, and its length.
_PREFIX = struct.Struct(">BI")

_CALLERS_PER_CONNECTION = 64
_ACKNOWLEDGED_BYTES = 2**20
_TIMEOUT_SECONDS = 60


class Answers(NamedTuple):
    """Latencies in seconds, elapsed time, and CPU time of the callers."""

    seconds: list[float]
    elapsed: float
    cpu_seconds: float


class Callers:
    """Concurrent callers of one method.

    Args:
        address: `host:port`, without encryption.
        method: the path of a unary method, such as "/package.Service/Method".
        messages: serialized requests, sent in turn, each in one frame.
        num_callers: the number of calls in flight.
        check: called with one in a hundred answers.

    Raises:
        ValueError: if a message does not fit into a frame.
    """

    def __init__(
        self,
        address: str,
        method: str,
        messages: Sequence[bytes],
        num_callers: int,
        check: Callable[[bytes], None],
    ):
        longest = max(map(len, messages))
        if longest + _PREFIX.size > _MAX_FRAME_SIZE:
            raise ValueError(
                f"a message of {longest} bytes does not fit into a frame of"
                f" {_MAX_FRAME_SIZE}"
            )
        self._messages = itertools.cycle(messages)
        self._num_callers = num_callers
        self._check = check
        self._connections = [
            _Connection(address, method)
            for _ in range(0, num_callers, _CALLERS_PER_CONNECTION)
        ]

    def close(self) -> None:
        """Closes the connections."""
        for connection in self._connections:
            connection.socket.close()

    def call(self, seconds: float) -> Answers:
        """Makes each caller call, and call again after each answer.

        Args:
            seconds: the time after which no caller calls again.

        Raises:
            RuntimeError: if a call fails, or no answer comes for a minute.
        """
        start, cpu_start = time.perf_counter(), time.process_time()
        latencies: list[float] = []
        with selectors.DefaultSelector() as selector:
            for each in self._connections:
                selector.register(each.socket, selectors.EVENT_READ, each)
            connections = itertools.cycle(self._connections)
            for _ in range(self._num_callers):
                next(connections).send(next(self._messages))
            num_waiting = self._num_callers
            while num_waiting:
                ready = selector.select(_TIMEOUT_SECONDS)
                if not ready:
                    raise RuntimeError(
                        f"no answer for {_TIMEOUT_SECONDS} seconds"
                    )
                for key, _ in ready:
                    for latency, answer in key.data.receive():
                        latencies.append(latency)
                        if len(latencies) % 100 == 1:
                            self._check(answer)
                        if time.perf_counter() - start < seconds:
                            key.data.send(next(self._messages))
                        else:
                            num_waiting -= 1
        return Answers(
            latencies,
            time.perf_counter() - start,
            time.process_time() - cpu_start,
        )


class _Call:
    def __init__(self, message: bytes) -> None:
        self.message = message
        self.start = time.perf_counter()
        self.answer = bytearray()


class _Connection:
    """A connection, and the calls that share it."""

    def __init__(self, address: str, method: str):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._headers = _make_headers(address, method)
        self._calls: dict[int, _Call] = {}
        self._next_stream = 1
        self._pending: deque[_Call] = deque()
        # The bytes that the server accepts, on all streams together.
        self._window = _DEFAULT_WINDOW
        self._received = b""
        # The bytes received that the server was not told of yet.
        self._unacknowledged = 0
        # The server may send answers of any length.
        self.socket.sendall(
            _PREFACE
            + _frame(
                _SETTINGS,
                0,
                0,
                struct.pack(">HI", _INITIAL_WINDOW_SIZE, _LARGEST_WINDOW),
            )
            + _window_update(_LARGEST_WINDOW - _DEFAULT_WINDOW)
        )

    def send(self, message: bytes) -> None:
        """Begins a call, which waits while the server accepts no more bytes."""
        self._pending.append(_Call(message))
        self._send_pending()

    def receive(self) -> Iterator[tuple[float, bytes]]:
        """Receives once, and yields seconds and message of each answer."""
        received = self.socket.recv(2**18)
        if not received:
            raise RuntimeError("the server closed the connection")
        data = self._received + received
        position = 0
        while len(data) - position >= 9:
            length = int.from_bytes(data[position : position + 3])
            kind, flags, stream = struct.unpack_from(">BBI", data, position + 3)
            end = position + 9 + length
            if end > len(data):
                break
            payload = data[position + 9 : end]
            position = end
            if kind == _DATA:
                self._calls[stream].answer += payload
                self._acknowledge(length)
            elif kind == _HEADERS:
                if flags & _END_STREAM:
                    yield self._end_call(stream, payload)
            else:
                self._handle_control_frame(kind, flags, payload)
        self._received = data[position:]

    def _end_call(self, stream: int, trailers: bytes) -> tuple[float, bytes]:
        call = self._calls.pop(stream)
        # An error has no answer; its message is in the trailers.
        if not call.answer:
            raise RuntimeError(f"a call failed: {trailers!r}")
        return time.perf_counter() - call.start, bytes(
            call.answer[_PREFIX.size :]
        )

    def _acknowledge(self, num_bytes: int) -> None:
        self._unacknowledged += num_bytes
        if self._unacknowledged > _ACKNOWLEDGED_BYTES:
            self.socket.sendall(_window_update(self._unacknowledged))
            self._unacknowledged = 0

    def _handle_control_frame(
        self, kind: int, flags: int, payload: bytes
    ) -> None:
        if kind == _WINDOW_UPDATE:
            # The window of a single stream never fills: it has one message.
            self._window += int.from_bytes(payload)
            self._send_pending()
        elif kind in (_SETTINGS, _PING):
            if not flags & _ACK:
                echo = payload if kind == _PING else b""
                self.socket.sendall(_frame(kind, _ACK, 0, echo))
        else:
            raise RuntimeError(f"a frame of kind {kind}: {payload!r}")

    def _send_pending(self) -> None:
        while self._pending:
            message = self._pending[0].message
            data = _PREFIX.pack(0, len(message)) + message
            if len(data) > self._window:
                return
            self._window -= len(data)
            stream = self._next_stream
            self._next_stream += 2
            self._calls[stream] = self._pending.popleft()
            self.socket.sendall(
                _frame(_HEADERS, _END_HEADERS, stream, self._headers)
                + _frame(_DATA, _END_STREAM, stream, data)
            )


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        len(payload).to_bytes(3)
        + struct.pack(">BBI", kind, flags, stream)
        + payload
    )


def _window_update(num_bytes: int) -> bytes:
    """Makes a frame that lets the server send so many more bytes."""
    return _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", num_bytes))


def _make_headers(address: str, method: str) -> bytes:
    # Literal names and values, except for those in HPACK's static table.
    post, http, literal = b"\x83", b"\x86", b"\0"
    headers = {
        ":path": method,
        ":authority": address,
        "content-type": "application/grpc",
        "te": "trailers",
    }
    return (
        post
        + http
        + b"".join(
            literal
            + len(name).to_bytes()
            + name.encode()
            + len(value).to_bytes()
            + value.encode()
            for name, value in headers.items()
        )
    )
