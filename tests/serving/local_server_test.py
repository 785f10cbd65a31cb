import concurrent.futures
import gzip
import http.client
import json
import signal
import socket
import statistics
import time

import pytest
import tensorflow as tf

from serving import model
from tests.serving.processes import run_command, run_server

ALIEN = {"item_ids": ["alien"], "ratings": [4]}
PREDICT = "/v1/models/recommender:predict"


@pytest.fixture
def ask(server):
    """Sends one request and returns the response and its body."""

    def send(method, target, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, 30)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        connection.request(method, target, body, headers or {})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response, content

    return send


@pytest.fixture
def ask_json(ask):
    """Sends one request and returns the status and the decoded answer."""

    def send(method, target, body=None, headers=None):
        response, content = ask(method, target, body, headers)
        assert response.headers["Content-Type"] == "application/json"
        return response.status, json.loads(content)

    return send


def test_the_greeting_names_model_version_and_address(server):
    assert server.greeting == (
        "Serving model 'recommender' version 3 at"
        f" http://127.0.0.1:{server.port}/v1/models/recommender"
    )


# ---- Status and metadata ----


@pytest.mark.parametrize("suffix", ["", "/versions/3", "/labels/unknown"])
def test_the_status_is_that_of_the_newest_version(ask_json, suffix):
    assert ask_json("GET", f"/v1/models/recommender{suffix}") == (
        200,
        {
            "model_version_status": [
                {
                    "version": "3",
                    "state": "AVAILABLE",
                    "status": {"error_code": "OK", "error_message": ""},
                }
            ]
        },
    )


@pytest.mark.parametrize("suffix", ["", "/versions/3"])
def test_the_metadata_holds_every_signature(ask_json, suffix):
    status, answer = ask_json("GET", f"/v1/models/recommender{suffix}/metadata")
    assert status == 200
    assert answer["model_spec"] == {
        "name": "recommender",
        "signature_name": "",
        "version": "3",
    }
    signature_defs = answer["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "predict", "__saved_model_init_op"} <= set(
        signature_defs
    )
    half = signature_defs["half"]
    assert half["method_name"] == "tensorflow/serving/predict"
    assert half["defaults"] == {}
    assert half["inputs"]["x"] == {
        "dtype": "DT_FLOAT",
        "name": "half_x:0",
        "tensor_shape": {
            "dim": [{"size": "-1", "name": ""}],
            "unknown_rank": False,
        },
    }


# ---- Predictions ----


def test_rows_are_answered_by_row(ask_json):
    rows = [
        {"item_ids": ["alien", "nobody"], "ratings": [4, 1]},
        {"item_ids": ["été à 東京", "cube"], "ratings": [5, 2.5]},
    ]
    assert ask_json("POST", PREDICT, {"instances": rows}) == (
        200,
        {
            "predictions": [
                {
                    "item_ids": ["brazil", "été à 東京", "cube"],
                    "predicted_ratings": [4.5, 4.0, 3.5],
                    "num_known_items": 1,
                },
                {
                    "item_ids": ["alien", "brazil", ""],
                    "predicted_ratings": [4.75, 4.25, 0.0],
                    "num_known_items": 2,
                },
            ]
        },
    )


def test_columns_are_answered_by_column(ask_json):
    columns = {
        "item_ids": [["alien"]],
        "ratings": [[4]],
        "candidate_item_ids": [["cube", "nobody"]],
    }
    request = {"signature_name": "predict", "inputs": columns}
    assert ask_json("POST", PREDICT, request) == (
        200,
        {
            "outputs": {
                "predicted_ratings": [[3.5, 4.0]],
                "candidate_known": [[True, False]],
                "num_known_items": [1],
            }
        },
    )


def test_an_empty_history_is_a_history(ask_json):
    rows = [{"item_ids": [], "ratings": []}]
    _, answer = ask_json("POST", PREDICT, {"instances": rows})
    assert answer["predictions"][0]["item_ids"][0] == "alien"


@pytest.mark.parametrize(
    "target",
    [
        "/v1/models/recommender/versions/3:predict",
        "/v1/models/recommender/versions/003:predict",
        "/V1/MODELS/recommender:predict",
        "/v1/models/%72ecommender:predict",
    ],
)
def test_the_model_has_several_urls(ask_json, target):
    status, _ = ask_json("POST", target, {"instances": [ALIEN]})
    assert status == 200


def test_a_single_output_stands_alone_in_tensorflow_servings_format(ask):
    request = {"signature_name": "half", "instances": [1, 0.2, 2e6, 1e-9]}
    _, content = ask("POST", PREDICT, request)
    assert content.split(b"[")[1].split() == (
        [b"0.5,", b"0.1,", b"1e+06,", b"5e-10", b"]", b"}"]
    )


def test_numbers_that_json_lacks_are_bare_tokens(ask):
    body = b'{"signature_name": "half", "inputs": [NaN, -Infinity, 1e300]}'
    _, content = ask("POST", PREDICT, body)
    assert b"[NaN, -Infinity, Infinity]" in content


def test_integers_keep_all_their_digits(ask_json):
    request = {"signature_name": "successor", "instances": [2**62]}
    assert ask_json("POST", PREDICT, request) == (
        200,
        {"predictions": [2**62 + 1]},
    )


def test_strings_and_bytes_come_back(ask_json):
    request = {"signature_name": "echo", "instances": ["é", {"b64": "YQ=="}]}
    assert ask_json("POST", PREDICT, request) == (
        200,
        {
            "predictions": [
                {"text": "é", "text_bytes": {"b64": "w6k="}},
                {"text": "a", "text_bytes": {"b64": "YQ=="}},
            ]
        },
    )


def test_a_scalar_output_works_in_columns_only(ask_json):
    columns = {"signature_name": "total", "inputs": [1, 2]}
    assert ask_json("POST", PREDICT, columns) == (200, {"outputs": 3.0})
    rows = {"signature_name": "total", "instances": [1, 2]}
    assert ask_json("POST", PREDICT, rows) == (
        400,
        {"error": "Tensor name: y has no shape information "},
    )


def test_a_compressed_body_is_read(ask_json):
    body = gzip.compress(json.dumps({"instances": [ALIEN]}).encode())
    gzipped = {"Content-Encoding": "gzip"}
    status, _ = ask_json("POST", PREDICT, body, gzipped)
    assert status == 200
    assert ask_json("POST", PREDICT, body[:-9], gzipped) == (
        400,
        {"error": "JSON Parse error: The document is empty"},
    )


def test_a_chunked_body_is_read(ask):
    text = json.dumps({"instances": [ALIEN]}).encode()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in text) + b"0\r\n\r\n"
    response, _ = ask("POST", PREDICT, chunks, {"Transfer-Encoding": "chunked"})
    assert response.status == 200


def test_a_body_of_many_users_is_answered(ask_json):
    rows = [
        {"item_ids": ["alien"] * 50, "ratings": [i % 5] * 50}
        for i in range(2000)
    ]
    _, answer = ask_json("POST", PREDICT, {"instances": rows})
    first_ratings = [
        row["predicted_ratings"][0] for row in answer["predictions"]
    ]
    # 50 ratings of one item have the mean of one.
    assert first_ratings == [i % 5 + 0.5 for i in range(2000)]


def test_threads_get_the_answers_to_their_own_questions(ask_json):
    def predict(rating):
        rows = [{"item_ids": ["alien"], "ratings": [rating]}]
        _, answer = ask_json("POST", PREDICT, {"instances": rows})
        return answer["predictions"][0]["predicted_ratings"][0]

    ratings = [i / 64 for i in range(200)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(predict, ratings))
    assert answers == [rating + 0.5 for rating in ratings]


# ---- Refusals ----


@pytest.mark.parametrize(
    ("method", "target", "status", "message"),
    [
        (
            "GET",
            "/v1/models/other",
            404,
            "Could not find any versions of model other",
        ),
        (
            "GET",
            "/v1/models/recommender?x=1",
            404,
            "Could not find any versions of model recommender?x=1",
        ),
        (
            "GET",
            "/v1/models/recommender/versions/99",
            404,
            "Could not find version 99 of model recommender",
        ),
        (
            "GET",
            "/v1/models/other/metadata",
            404,
            "Servable not found for request: Latest(other)",
        ),
        (
            "GET",
            "/v1/models/recommender/versions/99/metadata",
            404,
            "Servable not found for request: Specific(recommender, 99)",
        ),
        (
            "GET",
            "/v1/models/recommender/labels/canary/metadata",
            400,
            "Unrecognized servable version label: canary",
        ),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/nothing", 400, "Malformed request: GET /v1/nothing"),
        ("GET", PREDICT, 400, f"Malformed request: GET {PREDICT}"),
        ("PUT", PREDICT, 400, f"Malformed request: PUT {PREDICT}"),
        ("DELETE", PREDICT, 400, f"Malformed request: DELETE {PREDICT}"),
        ("PATCH", PREDICT, 400, f"Malformed request: PATCH {PREDICT}"),
        (
            "POST",
            f"{PREDICT}?a=b",
            400,
            f"Malformed request: POST {PREDICT}?a=b",
        ),
    ],
)
def test_targets_that_are_not_there(ask_json, method, target, status, message):
    assert ask_json(method, target) == (status, {"error": message})


@pytest.mark.parametrize(
    ("target", "status", "message"),
    [
        (
            "/v1/models/other:predict",
            404,
            "Servable not found for request: Latest(other)",
        ),
        (
            "/v1/models/other/labels/canary:predict",
            400,
            "Unrecognized servable version label: canary",
        ),
        (
            "/v1/models/recommender/versions/99:predict",
            404,
            "Servable not found for request: Specific(recommender, 99)",
        ),
        (
            "/v1/models/recommender/labels/canary:predict",
            400,
            "Unrecognized servable version label: canary",
        ),
        (
            "/v1/models/recommender:classify",
            400,
            "No signature of model recommender is for classify; all are for"
            " predict.",
        ),
    ],
)
def test_models_that_cannot_be_asked(ask_json, target, status, message):
    answer = ask_json("POST", target, {"instances": [ALIEN]})
    assert answer == (status, {"error": message})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"signature_name": "decode", "instances": [ALIEN]},
            'Serving signature name: "decode" not found in signature def',
        ),
        (
            {"signature_name": "__saved_model_init_op", "inputs": {}},
            "Failed to get input map for signature: __saved_model_init_op",
        ),
        ({}, "Missing 'inputs' or 'instances' key"),
        (
            {"instances": [{**ALIEN, "ratings": ["abc"]}]},
            "Failed to process element: 0 key: ratings of 'instances' list."
            ' Error: INVALID_ARGUMENT: JSON Value: "abc" Type: String is not'
            " of expected type: float",
        ),
        (
            {"instances": [ALIEN, {"item_ids": ["a", "b"], "ratings": [1]}]},
            "Failed to process element: 1 key: item_ids of 'instances' list."
            " Error: INVALID_ARGUMENT: Expecting tensor size: 1 but got: 2",
        ),
        (
            {"signature_name": "successor", "instances": [1.0]},
            "Failed to process element: 0 of 'instances' list. Error:"
            " INVALID_ARGUMENT: JSON Value: 1.0 Type: Number is not of expected"
            " type: int64",
        ),
    ],
)
def test_requests_that_do_not_fit_the_signature(ask_json, body, message):
    assert ask_json("POST", PREDICT, body) == (400, {"error": message})


def test_what_the_model_refuses_is_told_in_its_own_words(ask_json):
    rows = [{"item_ids": ["alien"], "ratings": [1, 2]}]
    status, answer = ask_json("POST", PREDICT, {"instances": rows})
    assert status == 400
    assert answer["error"].startswith(
        "assertion failed: [`ratings` must have the shape of `item_ids`.]"
    )
    assert answer["error"].endswith("]]")
    assert "[[{{node " in answer["error"]


def test_a_scalar_for_a_list_is_refused_by_the_model(ask_json):
    columns = {"item_ids": "alien", "ratings": 1}
    status, answer = ask_json("POST", PREDICT, {"inputs": columns})
    assert status == 400
    assert "is not compatible with expected shape [?,?]" in answer["error"]


def test_broken_json_is_refused_before_an_unknown_model(ask_json):
    status, answer = ask_json("POST", "/v1/models/other:predict", b'{"a": ?')
    assert status == 400
    assert answer["error"].startswith("JSON Parse error: ")
    assert answer["error"].endswith(" at offset: 6")


def test_an_unknown_model_is_refused_before_a_malformed_tensor(ask_json):
    status, _ = ask_json("POST", "/v1/models/other:predict", {"inputs": None})
    assert status == 404


def test_nesting_beyond_tensorflow_does_not_end_the_server(ask_json):
    nested = b"[" * 300 + b"]" * 300
    body = b'{"signature_name": "half", "inputs": ' + nested + b"}"
    assert ask_json("POST", PREDICT, body) == (
        400,
        {"error": "Too many dimensions in tensor"},
    )


def test_the_bytes_of_an_error_are_tensorflow_servings(ask):
    response, content = ask("POST", PREDICT, {})
    assert content == (
        b"{\n    \"error\": \"Missing 'inputs' or 'instances' key\"\n}"
    )
    assert response.headers["Content-Length"] == str(len(content))


def test_a_version_beyond_int64_is_refused_without_a_word(ask):
    response, content = ask("GET", f"/v1/models/recommender/versions/{2**63}")
    assert (response.status, content) == (400, b"")


def test_head_is_malformed_and_has_no_body(ask):
    response, content = ask("HEAD", "/v1/models/recommender")
    assert (response.status, content) == (400, b"")


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/v2/models/recommender:predict", 404),
        ("TRACE", PREDICT, 501),
        ("BREW", PREDICT, 501),
    ],
)
def test_what_is_no_part_of_the_api_is_refused_in_html(
    ask, method, target, status
):
    response, content = ask(method, target)
    assert response.status == status
    assert response.headers["Content-Type"] == "text/html"
    assert content.startswith(b"<html>")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://example.org"}, 200),
        ({"Origin": "null"}, 400),
        ({}, 400),
    ],
)
def test_options_depends_on_the_origin(ask, headers, status):
    response, content = ask("OPTIONS", PREDICT, headers=headers)
    assert (response.status, content) == (status, b"")


def test_the_connection_stays_open_after_errors(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, 30)
    connection.connect()
    own_port = connection.sock.getsockname()[1]
    statuses = []
    for body in ("{", json.dumps({"instances": [ALIEN]}), "[]"):
        connection.request("POST", PREDICT, body)
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
        assert connection.sock.getsockname()[1] == own_port
    connection.close()
    assert statuses == [400, 200, 400]


def test_no_answer_waits_for_an_acknowledgement(server):
    # With Nagle's algorithm on, most take 40 ms; otherwise about 2 ms.
    connection = http.client.HTTPConnection("127.0.0.1", server.port, 30)
    durations = []
    for _ in range(50):
        start = time.perf_counter()
        connection.request("GET", "/v1/models/recommender")
        connection.getresponse().read()
        durations.append(time.perf_counter() - start)
    connection.close()
    assert statistics.median(durations) < 0.03


def test_a_request_that_breaks_off_does_not_harm_the_others(server, ask_json):
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n"
            "Content-Length: 100\r\n\r\n{".encode()
        )
    status, _ = ask_json("POST", PREDICT, {"instances": [ALIEN]})
    assert status == 200


# ---- Start and stop ----


def accepts_connections(address):
    try:
        socket.create_connection(address, 30).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_request_in_flight_is_answered_before_the_server_stops(
    model_base_path,
):
    body = json.dumps({"instances": [ALIEN]}).encode()
    with run_server(model_base_path, "--rest-api-host=localhost") as server:
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
            "--model_base_path=x",
            "the following arguments are required: --model_name",
        ),
        (
            "--model-name=m --model-base-path=x --rest-api-port=65536",
            "argument --rest_api_port: must be a number from 0 to 65535."
            " Received: '65536'",
        ),
    ],
)
def test_a_bad_flag_is_reported(flags, message):
    run = run_command("serving.local_server", *flags.split())
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == f"error: {message}. --help lists the flags.\n"


def test_a_missing_directory_is_reported(tmp_path):
    run = run_command(
        "serving.local_server",
        *("--model_name", "m"),
        *("--model_base_path", tmp_path / "nowhere"),
        *("--rest_api_port", 0),
    )
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.splitlines()[-1] == (
        f"error: --model_base_path: {tmp_path}/nowhere is not a directory."
    )
    assert "Traceback" not in run.stderr


def test_a_directory_without_versions_is_reported(tmp_path):
    (tmp_path / "latest").mkdir()
    (tmp_path / "1").write_text("A file is not a version.")
    with pytest.raises(model.ModelLoadError, match="holds no version"):
        model.find_newest_version(str(tmp_path))


def test_a_directory_that_cannot_be_listed_is_reported(tmp_path, monkeypatch):
    def refuse(path):
        raise tf.errors.PermissionDeniedError(None, None, f"{path}; denied")

    # A mode of the directory would not stop the superuser.
    monkeypatch.setattr(tf.io.gfile, "listdir", refuse)
    with pytest.raises(
        model.ModelLoadError, match=r"cannot be listed: .*denied"
    ):
        model.find_newest_version(str(tmp_path))


def test_the_newest_version_is_the_greatest_number(tmp_path):
    for name in ("9", "0010", "7.bak"):
        (tmp_path / name).mkdir()
    newest = model.find_newest_version(str(tmp_path))
    assert newest == (10, str(tmp_path / "0010"))


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 9])
def test_a_directory_that_is_no_saved_model_is_reported(tmp_path, content):
    if content is not None:
        (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(
        model.ModelLoadError, match="does not hold a SavedModel"
    ) as caught:
        model.ModelVersion(str(tmp_path))
    assert "\n" not in str(caught.value)
