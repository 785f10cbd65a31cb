"""Callers of a gRPC method that leave the processors to the server.

gRPC's own client takes a tenth of a millisecond of a core for a call, on a
machine of two cores whose server is to be measured. These callers send prepared
messages and look no closer at what comes back than at its frames.

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

_CALLERS_ON_A_CONNECTION = 64
_CONFIRMED_AT_ONCE = 2**20
_TIMEOUT_SECONDS = 60


class Answers(NamedTuple):
    """The seconds of each call, of all together, and of the callers' work."""

    seconds: list[float]
    elapsed: float
    cpu_seconds: float


class Callers:
    """Callers of one method.

    Args:
        address: `host:port`, without encryption.
        method: the path of a unary method, such as "/package.Service/Method".
        messages: serialized requests, sent in turn, each in one frame.
        num_callers: how many there are.
        check: looks at one in a hundred of the answers.

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
            for _ in range(0, num_callers, _CALLERS_ON_A_CONNECTION)
        ]

    def close(self) -> None:
        """Hangs up."""
        for connection in self._connections:
            connection.socket.close()

    def call(self, seconds: float) -> Answers:
        """Lets each caller call once, and again whenever he has an answer.

        Args:
            seconds: after that time nobody calls again.

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
    """The calls that share a connection."""

    def __init__(self, address: str, method: str):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._headers = _encode_headers(address, method)
        self._calls: dict[int, _Call] = {}
        self._next_stream = 1
        self._unsent: deque[_Call] = deque()
        # How much the server takes, on all streams together.
        self._window = _DEFAULT_WINDOW
        self._received = b""
        # How much of the answers the server is not told yet that it was read.
        self._unconfirmed = 0
        # An answer may be as long as it likes.
        self.socket.sendall(
            _PREFACE
            + _frame(
                _SETTINGS,
                0,
                0,
                struct.pack(">HI", _INITIAL_WINDOW_SIZE, _LARGEST_WINDOW),
            )
            + _permit(_LARGEST_WINDOW - _DEFAULT_WINDOW)
        )

    def send(self, message: bytes) -> None:
        """Begins a call, which waits for its turn if the server is behind."""
        self._unsent.append(_Call(message))
        self._send_what_is_taken()

    def receive(self) -> Iterator[tuple[float, bytes]]:
        """Reads what is there: seconds and message of each answer."""
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
                self._confirm(length)
            elif kind == _HEADERS:
                if flags & _END_STREAM:
                    yield self._end_call(stream, payload)
            else:
                self._obey(kind, flags, payload)
        self._received = data[position:]

    def _end_call(self, stream: int, trailers: bytes) -> tuple[float, bytes]:
        call = self._calls.pop(stream)
        # An error has its message in the trailers, in the place of an answer.
        if not call.answer:
            raise RuntimeError(f"a call failed: {trailers!r}")
        return time.perf_counter() - call.start, bytes(
            call.answer[_PREFIX.size :]
        )

    def _confirm(self, num_bytes: int) -> None:
        self._unconfirmed += num_bytes
        if self._unconfirmed > _CONFIRMED_AT_ONCE:
            self.socket.sendall(_permit(self._unconfirmed))
            self._unconfirmed = 0

    def _obey(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == _WINDOW_UPDATE:
            # Those of a single stream do not matter: it has a single message.
            self._window += int.from_bytes(payload)
            self._send_what_is_taken()
        elif kind in (_SETTINGS, _PING):
            if not flags & _ACK:
                echo = payload if kind == _PING else b""
                self.socket.sendall(_frame(kind, _ACK, 0, echo))
        else:
            raise RuntimeError(f"a frame of kind {kind}: {payload!r}")

    def _send_what_is_taken(self) -> None:
        while self._unsent:
            message = self._unsent[0].message
            data = _PREFIX.pack(0, len(message)) + message
            if len(data) > self._window:
                return
            self._window -= len(data)
            stream = self._next_stream
            self._next_stream += 2
            self._calls[stream] = self._unsent.popleft()
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


def _permit(num_bytes: int) -> bytes:
    """Makes a frame that lets the server send so much more."""
    return _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", num_bytes))


def _encode_headers(address: str, method: str) -> bytes:
    # Names and values as they are, but for what HPACK has a number for.
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
