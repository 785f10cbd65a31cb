"""Servers that give prepared answers."""

import contextlib
import http.server
import json
import re
import socket
import threading
from concurrent import futures

import grpc
from tensorflow_serving.apis import prediction_service_pb2_grpc

MODEL = "/v1/models/m"


def find_closed_port():
    """Returns a port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def canned_server(*answers):
    """Yields the URL of a model over REST, and a log of its requests.

    Each of the answers, a body and a status, is given once, the last one
    again and again.
    """
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers["Content-Length"])
            self.answer(json.loads(self.rfile.read(length)))

        def do_GET(self):
            self.answer(None)

        def answer(self, request):
            requests.append((self.path, request))
            body, status = answers[min(len(requests), len(answers)) - 1]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{MODEL}", requests
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def scripted_server(*connections):
    """Yields the URL of a model over REST, and a list of the requests read.

    Each of `connections` is a list of what to send: one item after each
    request, b"" for nothing. After the last one the server hangs up, and
    accepts the next connection.
    """
    requests = []

    def read_request(file):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = file.readline()
            if not line:
                return False
            head += line
        (length,) = re.findall(rb"Content-Length: (\d+)", head)
        requests.append(json.loads(file.read(int(length))))
        return True

    def serve(listener):
        for answers in connections:
            connection, _ = listener.accept()
            with (
                connection,
                connection.makefile("rb") as file,
                # The client may hang up first.
                contextlib.suppress(ConnectionError),
            ):
                for answer in answers:
                    if not read_request(file):
                        break
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        try:
            yield (
                f"http://127.0.0.1:{listener.getsockname()[1]}{MODEL}",
                requests,
            )
        finally:
            thread.join(30)
            assert not thread.is_alive(), "a connection was not made"


@contextlib.contextmanager
def canned_grpc_server(*answers):
    """Yields the URL of a model over gRPC, and a log of its requests.

    The answers, PredictResponses or pairs of a status and its details, are
    given as by `canned_server`.
    """
    requests = []

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):  # noqa: N802
            requests.append(request)
            answer = answers[min(len(requests), len(answers)) - 1]
            if isinstance(answer, tuple):
                context.abort(*answer)
            return answer

    executor = futures.ThreadPoolExecutor(1)
    server = grpc.server(executor)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Service(), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}/m", requests
    finally:
        server.stop(None).wait()
        executor.shutdown()
