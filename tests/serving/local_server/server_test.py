import json
import signal
import socket
import time

import grpc
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.local_server import model
from tests.serving.messages import predict_request, to_lists
from tests.serving.processes import run_command, run_server

pytestmark = pytest.mark.integration

ALIEN = {"item_ids": ["alien"], "ratings": [4]}
PREDICT = "/v1/models/recommender:predict"


def test_the_greeting_names_model_version_and_addresses(server):
    assert server.greetings == [
        "Serving model 'recommender' version 3 at"
        f" http://127.0.0.1:{server.port}/v1/models/recommender",
        f"Serving gRPC at {server.grpc_address}",
    ]


def accepts_connections(address):
    try:
        socket.create_connection(address, 30).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return False
    return True


@pytest.mark.extended
def test_a_request_in_flight_is_answered_before_the_server_stops(
    model_base_path,
):
    body = json.dumps({"instances": [ALIEN]}).encode()
    with run_server(model_base_path, "--host=localhost") as server:
        address = ("127.0.0.1", server.port)
        with socket.create_connection(address, 30) as connection:
            connection.sendall(
                f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n"
                f"Content-Length: {len(body)}\r\n"
                "Expect: 100-continue\r\n\r\n".encode()
            )
            assert connection.recv(100).startswith(b"HTTP/1.1 100")
            server.process.send_signal(signal.SIGTERM)
            # No new connections: the server has begun to stop.
            while accepts_connections(address):
                pass
            connection.sendall(body)
            with connection.makefile("rb") as answer:
                content = answer.read()
        assert server.process.wait(30) == 0
    assert content.startswith(b"HTTP/1.1 200")
    assert b'"brazil"' in content


@pytest.mark.slow
def test_a_call_in_flight_is_answered_before_the_server_stops(
    model_base_path, tmp_path
):
    file = tmp_path / "batching.txt"
    file.write_text("batch_timeout_micros { value: 1000000 }")
    with (
        run_server(
            model_base_path,
            "--enable_batching",
            f"--batching_parameters_file={file}",
        ) as server,
        grpc.insecure_channel(server.grpc_address) as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        # It waits a second for others.
        call = stub.Predict.future(predict_request(), wait_for_ready=True)
        grpc.channel_ready_future(channel).result(30)
        # What is answered after it was sent after it.
        body = {"instances": [{"item_ids": ["alien"], "ratings": [4]}]}
        assert server.ask("POST", PREDICT, body)[0].status == 200
        server.process.send_signal(signal.SIGTERM)
        assert to_lists(call.result(30))["predicted_ratings"] == [[4.5, 4, 3.5]]
        assert server.process.wait(30) == 0


@pytest.mark.slow
def test_a_server_without_requests_stops_at_once(model_base_path):
    with (
        run_server(model_base_path) as server,
        grpc.insecure_channel(server.grpc_address) as channel,
        socket.create_connection(("127.0.0.1", server.port), 30),
    ):
        grpc.channel_ready_future(channel).result(30)
        start = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0
        assert time.monotonic() - start < 10


@pytest.mark.slow
def test_a_grpc_port_in_use_is_reported(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        run = run_command(
            "serving.local_server",
            *("--model_base_path", tmp_path),
            *("--rest_api_port", 0, "--port", port),
        )
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.splitlines()[-1] == (
        f"error: cannot listen on 127.0.0.1:{port}: is the port in use?"
    )


def test_a_port_in_use_is_reported(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        run = run_command(
            "serving.local_server",
            *("--model_name", "m"),
            *("--model_base_path", tmp_path),
            *("--rest_api_port", port),
        )
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == (
        f"error: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--model_name=m --model_base_path=x --rest_api_prt=1",
            "unrecognized arguments: --rest_api_prt=1",
        ),
        (
            "--model_name=m",
            "give either --model_base_path or --model_config_file",
        ),
        (
            "--model-name=m --model-base-path=x --rest-api-port=65536",
            "argument --rest_api_port: must be a number from 0 to 65535."
            " Received: '65536'",
        ),
        (
            "--model_base_path=x --model_config_file=y",
            "give either --model_base_path or --model_config_file",
        ),
        (
            "--model_base_path=x --enable_batching=yes",
            "argument --enable_batching: must be true or false. Received:"
            " 'yes'",
        ),
        (
            "--model_base_path=x --batching_parameters_file=y",
            "--batching_parameters_file needs --enable_batching",
        ),
        (
            "--model_base_path=x --max_body_bytes=0",
            "argument --max_body_bytes: must be a whole number from 1."
            " Received: '0'",
        ),
    ],
)
def test_a_bad_flag_is_reported(flags, message):
    run = run_command("serving.local_server", *flags.split())
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == f"error: {message}. --help lists the flags.\n"


@pytest.mark.slow
def test_a_missing_directory_is_reported(tmp_path):
    run = run_command(
        "serving.local_server",
        *("--model_name", "m"),
        *("--model_base_path", tmp_path / "nowhere"),
        *("--rest_api_port", 0, "--port", 0),
    )
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.splitlines()[-1] == (
        f"error: {tmp_path}/nowhere is not a directory."
    )
    assert "Traceback" not in run.stderr


@pytest.mark.slow
def test_a_version_in_place_of_its_directory_is_reported(tmp_path):
    (tmp_path / "3").mkdir()
    (tmp_path / "3/saved_model.pb").touch()
    run = run_command(
        "serving.local_server",
        *("--model_name", "m"),
        *("--model_base_path", tmp_path / "3"),
        *("--rest_api_port", 0, "--port", 0),
    )
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == (
        f"error: {tmp_path}/3 is one version of a model. Name the directory"
        f" that holds it: {tmp_path}."
    )


@pytest.mark.slow
def test_a_directory_without_versions_is_reported(tmp_path):
    (tmp_path / "latest").mkdir()
    (tmp_path / "1").write_text("A file is not a version.")
    run = run_command(
        "serving.local_server",
        *("--model_name", "m"),
        *("--model_base_path", tmp_path),
        *("--rest_api_port", 0, "--port", 0),
    )
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.splitlines()[-1] == (
        f"error: {tmp_path} holds no version of a model. A version is a"
        f" directory whose name is a number, such as {tmp_path}/1."
    )


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 9])
def test_a_directory_that_is_no_saved_model_is_reported(tmp_path, content):
    if content is not None:
        (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(
        model.ModelLoadError, match="does not hold a SavedModel"
    ) as caught:
        model.ModelVersion(str(tmp_path))
    assert "\n" not in str(caught.value)
