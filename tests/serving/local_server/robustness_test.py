"""What clients do wrong by accident or on purpose, by the thousand."""

import contextlib
import gzip
import json
import random
import socket
import threading
import time
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from tests.serving.messages import predict_request, to_lists
from tests.serving.processes import run_server

pytestmark = pytest.mark.extended

PREDICT = "/v1/models/recommender:predict"
ALIEN = {"instances": [{"item_ids": ["alien"], "ratings": [4]}]}
BODY = json.dumps(ALIEN).encode()
MAX_BODY_BYTES = 2**20


@pytest.fixture(scope="module")
def server(model_base_path):
    """A server with small limits and a short temper."""
    with run_server(
        model_base_path,
        f"--max_body_bytes={MAX_BODY_BYTES}",
        "--max_concurrent_requests=20",
        "--rest_api_timeout_in_ms=1000",
        "--rest_api_enable_cors_support",
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def _the_server_still_answers(server):
    yield
    assert server.process.poll() is None
    assert server.ask_json("POST", PREDICT, ALIEN)[0] == 200
    with grpc.insecure_channel(server.grpc_address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        response = stub.Predict(predict_request(), timeout=30)
    assert to_lists(response)["num_known_items"] == [1]


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), 30)


def head(length, extra=""):
    return (
        f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
        f"{extra}\r\n"
    ).encode()


def send_and_read(server, content, timeout=30):
    """Sends bytes, says that no more come, and reads all that comes back."""
    with connect(server) as connection:
        connection.settimeout(timeout)
        with contextlib.suppress(OSError):
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(2**16):
                received += chunk
        return received


class Usage:
    """What a process holds."""

    def __init__(self, server):
        directory = Path("/proc", str(server.process.pid))
        self.num_fds = len(list((directory / "fd").iterdir()))
        self.num_threads = len(list((directory / "task").iterdir()))
        self.memory = server.memory()


# ---- Limits ----


def test_a_body_over_the_limit_is_refused(server):
    status, answer = server.ask_json("POST", PREDICT, b" " * (2**20 + 1))
    assert status == 429
    assert answer["error"] == (
        f"The body has more than the {2**20} bytes that this server allows."
    )


def test_a_body_at_the_limit_is_read(server):
    body = BODY + b" " * (MAX_BODY_BYTES - len(BODY))
    assert server.ask_json("POST", PREDICT, body)[0] == 200


def test_a_body_far_over_the_limit_is_refused_on_an_open_connection(server):
    before = Usage(server)
    content = head(2**26) + b" " * 2**26
    content += b"GET /v1/models/recommender HTTP/1.1\r\nHost: x\r\n\r\n"
    received = send_and_read(server, content)
    assert received.startswith(b"HTTP/1.1 429")
    assert b'"AVAILABLE"' in received
    assert Usage(server).memory - before.memory < 2**25


def test_a_gzip_bomb_is_refused(server):
    before = Usage(server)
    bomb = gzip.compress(bytes(2**28))
    status, answer = server.ask_json(
        "POST", PREDICT, bomb, {"Content-Encoding": "gzip"}
    )
    assert (status, answer["error"][:8]) == (429, "The body")
    assert Usage(server).memory - before.memory < 2**26


def test_a_grpc_message_over_the_limit_is_refused(server):
    request = predict_request("half", {"x": [1.0] * (MAX_BODY_BYTES // 4)})
    with (
        grpc.insecure_channel(server.grpc_address) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(
            request
        )
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_too_many_requests_at_once_are_refused(server):
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(connect(server))
            connection.sendall(head(100, "Expect: 100-continue\r\n"))
            # It is under way.
            assert connection.recv(100).startswith(b"HTTP/1.1 100")
        status, answer = server.ask_json("POST", PREDICT, ALIEN)
        assert status == 429
        assert answer["error"] == (
            "20 requests are under way, as many as this server takes."
        )
        # Whether it lives can still be asked.
        assert server.ask("GET", "/v1/models/recommender")[0].status == 200
        with (
            grpc.insecure_channel(server.grpc_address) as channel,
            pytest.raises(grpc.RpcError) as caught,
        ):
            prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(
                predict_request()
            )
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_body_that_does_not_come_in_time_is_given_up(server):
    start = time.monotonic()
    with connect(server) as connection:
        connection.sendall(head(100) + b"{")
        with connection.makefile("rb") as file:
            answer = file.read()
    assert answer.startswith(b"HTTP/1.1 504")
    assert answer.endswith(b'"Timed out waiting for notification"\n}')
    assert 0.9 < time.monotonic() - start < 10


def test_a_body_in_drops_is_given_up(server):
    with connect(server) as connection:
        connection.sendall(head(1000))
        start = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - start < 10:
                connection.sendall(b" ")
                time.sleep(0.05)
    assert time.monotonic() - start < 5


def test_web_pages_may_read_the_answers_if_allowed(server):
    origin = {"Origin": "https://example.org"}
    response, _ = server.ask("OPTIONS", PREDICT, headers=origin)
    assert response.status == 200
    assert response.headers["Access-Control-Allow-Methods"] == "GET, POST"
    assert response.headers["Access-Control-Allow-Headers"] == "Content-Type"
    for method in ("GET", "OPTIONS"):
        response, _ = server.ask(method, "/v1/models/recommender", None, origin)
        assert response.headers["Access-Control-Allow-Origin"] == "*"


# ---- By the thousand ----

TOKENS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b'"instances"',
    b'"inputs"',
    b'"signature_name"',
    b'"item_ids"',
    b'"ratings"',
    b'"x"',
    b'"predict"',
    b'"echo"',
    b'"half"',
    b'"successor"',
    b'"total"',
    b'"alien"',
    b'"b64"',
    b'"\\ud800"',
    b'"\\u0000"',
    b'"\xff"',
    b"null",
    b"true",
    b"Inf",
    b"-NaN",
    b"1e309",
    b"-1",
    b"0.5",
    b"99999999999999999999",
    b" ",
]


def random_body(generator):
    choice = generator.randrange(4)
    if choice == 0:
        tokens = generator.choices(TOKENS, k=generator.randrange(40))
        return b"".join(tokens)
    if choice == 1:
        return generator.randbytes(generator.randrange(200))
    body = bytearray(BODY)
    if choice == 2:
        return bytes(body[: generator.randrange(len(body))])
    for _ in range(generator.randrange(1, 4)):
        position = generator.randrange(len(body))
        body[position : position + generator.randrange(3)] = generator.choice(
            TOKENS
        )
    return bytes(body)


def random_request(generator):
    method = generator.choice(
        ["POST"] * 8 + ["GET", "PUT", "OPTIONS", "BREW", "\xe9"]
    )
    target = generator.choice(
        [PREDICT] * 8
        + [
            "/v1/models/recommender",
            "/v1/models/recommender/metadata",
            "/v1/models/recommender:classify",
            "/v1/models/%ff:predict",
            "/v1/models/%:predict",
            "//",
            "*",
            "http://x/v1/models/recommender",
            "/v1/" + "x" * generator.choice([10, 70_000]),
        ]
    )
    body = random_body(generator)
    length = generator.choice([len(body)] * 8 + [0, len(body) + 5, -1, 10**20])
    extra = generator.choice(
        [""] * 8
        + [
            "Content-Encoding: gzip\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Expect: 100-continue\r\n",
            "Connection: close\r\n",
            "X: \0\r\n",
            "Broken\r\n",
            "X: " + "y" * 70_000 + "\r\n",
        ]
    )
    content = (
        f"{method} {target} HTTP/1.1\r\nHost: x\r\n"
        f"Content-Length: {length}\r\n{extra}\r\n"
    ).encode("latin-1") + body
    if generator.random() < 0.1:
        content = content[: generator.randrange(len(content))]
    return content


def random_message(generator):
    message = bytearray(predict_request().SerializeToString())
    choice = generator.randrange(3)
    if choice == 0:
        return generator.randbytes(generator.randrange(100))
    if choice == 1:
        return bytes(message[: generator.randrange(len(message))])
    for _ in range(generator.randrange(1, 6)):
        message[generator.randrange(len(message))] = generator.randrange(256)
    return bytes(message)


def test_malformed_http_is_refused_by_the_thousand_without_a_leak(server):
    generator = random.Random(2017)

    def send_many(count):
        statuses = set()
        for _ in range(count):
            received = send_and_read(server, random_request(generator))
            if received:
                assert received.startswith(b"HTTP/1.1 ")
                statuses.add(int(received[9:12]))
        return statuses

    send_many(500)
    before = Usage(server)
    statuses = send_many(2000)
    after = Usage(server)
    assert statuses <= {100, 200, 400, 404, 429, 499, 501, 504}
    assert {200, 400, 404, 501} <= statuses
    assert after.num_fds <= before.num_fds + 5
    assert after.num_threads <= before.num_threads + 10
    assert after.memory - before.memory < 30e6


def test_malformed_grpc_is_refused_by_the_thousand_without_a_leak(server):
    generator = random.Random(2017)
    with grpc.insecure_channel(server.grpc_address) as channel:
        predict = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict"
        )

        def send_many(count):
            codes = set()
            for _ in range(count):
                try:
                    predict(random_message(generator), timeout=30)
                    codes.add("OK")
                except grpc.RpcError as error:
                    codes.add(error.code().name)
            return codes

        send_many(500)
        before = Usage(server)
        codes = send_many(2000)
        after = Usage(server)
    # What is no message at all is INTERNAL, by gRPC itself.
    assert codes <= {
        "OK",
        "INVALID_ARGUMENT",
        "FAILED_PRECONDITION",
        "NOT_FOUND",
        "RESOURCE_EXHAUSTED",
        "INTERNAL",
        "UNKNOWN",
    }
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND"} <= codes
    assert after.num_fds <= before.num_fds + 5
    assert after.num_threads <= before.num_threads + 10
    assert after.memory - before.memory < 30e6


def test_noise_on_the_grpc_port_is_refused(server):
    generator = random.Random(2017)
    host, _, port = server.grpc_address.rpartition(":")
    for _ in range(200):
        with (
            socket.create_connection((host, int(port)), 30) as connection,
            contextlib.suppress(OSError),
        ):
            connection.sendall(generator.randbytes(300))


def test_cut_off_and_idle_connections_are_given_back(server):
    before = Usage(server)
    answers = []

    def ask_on():
        while len(answers) < 50:
            answers.append(server.ask_json("POST", PREDICT, ALIEN)[0])

    with contextlib.ExitStack() as stack:
        for number in range(300):
            connection = stack.enter_context(connect(server))
            connection.sendall(head(len(BODY))[: number % 80])
        # 300 idle clients do not keep another from its answers.
        thread = threading.Thread(target=ask_on)
        thread.start()
        thread.join(30)
    assert answers == [200] * 50
    for _ in range(300):
        with connect(server) as connection:
            connection.sendall(head(len(BODY)) + BODY)
            # Closed before the answer.
    deadline = time.monotonic() + 10
    while Usage(server).num_fds > before.num_fds + 5:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert Usage(server).num_threads <= before.num_threads + 10
    assert Usage(server).memory - before.memory < 30e6


def test_grpc_calls_that_are_given_up_do_no_harm(server):
    with grpc.insecure_channel(server.grpc_address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for number in range(300):
            call = stub.Predict.future(predict_request(), timeout=0.001)
            if number % 2:
                call.cancel()
            else:
                with contextlib.suppress(grpc.RpcError):
                    call.result()
