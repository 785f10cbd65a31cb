"""TensorFlow Serving's answers to every kind of request that it refuses.

Raw HTTP and gRPC to a real process. What a request that is answered gets is in
rest_test.py and grpc_test.py, how versions come and go in versions_test.py.
"""

import http.client
import json
import re
import shutil
import socket
import time

import grpc
import pytest
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    regression_pb2,
)

from tests.serving.messages import half, predict_request
from tests.serving.processes import run_command, run_local_server

pytestmark = pytest.mark.integration

MODEL = "/v1/models/recommender"
PREDICT = f"{MODEL}:predict"
ALIEN = {"item_ids": ["alien"], "ratings": [4]}
INVALID = grpc.StatusCode.INVALID_ARGUMENT


def row(**tensors):
    return {"instances": [tensors]}


def quote(document):
    return json.dumps(document, indent=4)


# ---- REST: what is asked of which model ----

TARGETS = {
    "an unknown model's status": (
        "GET /v1/models/other",
        404,
        "Could not find any versions of model other",
    ),
    "an unknown version's status": (
        f"GET {MODEL}/versions/99",
        404,
        "Could not find version 99 of model recommender",
    ),
    "the query string belongs to the model's name": (
        f"GET {MODEL}?x=1",
        404,
        "Could not find any versions of model recommender?x=1",
    ),
    "an unknown model's metadata": (
        "GET /v1/models/other/metadata",
        404,
        "Servable not found for request: Latest(other)",
    ),
    "an unknown version's metadata": (
        f"GET {MODEL}/versions/99/metadata",
        404,
        "Servable not found for request: Specific(recommender, 99)",
    ),
    "an unknown label's metadata": (
        f"GET {MODEL}/labels/canary/metadata",
        400,
        "Unrecognized servable version label: canary",
    ),
    "no model": ("GET /v1/models", 400, "Missing model name in request."),
    "nothing that exists": (
        "GET /v1/nothing",
        400,
        "Malformed request: GET /v1/nothing",
    ),
    "nothing at all": ("GET /v1/", 400, "Malformed request: GET /v1/"),
    "a trailing slash": (
        f"GET {MODEL}/",
        400,
        f"Malformed request: GET {MODEL}/",
    ),
    "a verb with GET": (
        f"GET {PREDICT}",
        400,
        f"Malformed request: GET {PREDICT}",
    ),
    "a verb in capitals": (
        f"POST {MODEL}:Predict",
        400,
        f"Malformed request: POST {MODEL}:Predict",
    ),
    "a slash in the model's name": (
        "GET /v1/models/a/b",
        400,
        "Malformed request: GET /v1/models/a/b",
    ),
    "a colon in the model's name": (
        "POST /v1/models/a:b:predict",
        400,
        "Malformed request: POST /v1/models/a:b:predict",
    ),
    "a version that is no number": (
        f"GET {MODEL}/versions/x",
        400,
        f"Malformed request: GET {MODEL}/versions/x",
    ),
    "no verb with POST": (
        f"POST {MODEL}",
        400,
        f"Malformed request: POST {MODEL}",
    ),
    "a query string after the verb": (
        f"POST {PREDICT}?a=b",
        400,
        f"Malformed request: POST {PREDICT}?a=b",
    ),
    "a prediction of an unknown model": (
        "POST /v1/models/other:predict",
        404,
        "Servable not found for request: Latest(other)",
    ),
    "a prediction of an unknown version": (
        f"POST {MODEL}/versions/99:predict",
        404,
        "Servable not found for request: Specific(recommender, 99)",
    ),
    "a prediction of an unknown label": (
        f"POST {MODEL}/labels/canary:predict",
        400,
        "Unrecognized servable version label: canary",
    ),
    "a label of an unknown model": (
        "POST /v1/models/other/labels/canary:predict",
        400,
        "Unrecognized servable version label: canary",
    ),
    **{
        f"the method {method}": (
            f"{method} {PREDICT}",
            400,
            f"Malformed request: {method} {PREDICT}",
        )
        for method in ("PUT", "DELETE", "PATCH")
    },
}


@pytest.mark.parametrize(
    ("request_line", "status", "message"), TARGETS.values(), ids=TARGETS
)
def test_rest_refuses_the_target(ask_json, request_line, status, message):
    method, target = request_line.split()
    body = {"instances": [ALIEN]} if method == "POST" else None
    assert ask_json(method, target, body) == (status, {"error": message})


# ---- REST: requests that do not fit the signature ----


def in_row(message, key="", index=0, code="INVALID_ARGUMENT"):
    """What is said of a row that cannot be taken."""
    key = key and f" key: {key}"
    return (
        f"Failed to process element: {index}{key} of 'instances' list. Error:"
        f" {code}: {message}"
    )


BODIES = {
    "an empty body": (b"", "JSON Parse error: The document is empty"),
    "white space": (
        b" \n ",
        "JSON Parse error: The document is empty. at offset: 3",
    ),
    "a list": ([1], f"JSON Value: {quote([1])} Is not object"),
    "a signature name that is a number": (
        {"signature_name": 1},
        f"JSON Value: {quote({'signature_name': 1})} not formatted correctly."
        " 'signature_name' key must be a string value.",
    ),
    "an unknown signature": (
        {"signature_name": "decode", "instances": [ALIEN]},
        'Serving signature name: "decode" not found in signature def',
    ),
    "a signature without inputs": (
        {"signature_name": "__saved_model_init_op", "inputs": {}},
        "Failed to get input map for signature: __saved_model_init_op",
    ),
    "neither rows nor columns": ({}, "Missing 'inputs' or 'instances' key"),
    "rows and columns": (
        {"inputs": 1, "instances": 2},
        f"JSON Value: {quote({'inputs': 1, 'instances': 2})} Not formatted"
        " correctly expecting only one of 'inputs' or 'instances' keys to"
        " exist ",
    ),
    "rows that are no list": (
        {"instances": 1},
        f"JSON Value: {quote({'instances': 1})} Expecting 'instances' to be an"
        " list/array",
    ),
    "no rows": (
        {"instances": []},
        f"JSON Value: {quote({'instances': []})} No values in 'instances'"
        " array",
    ),
    "plain rows for several inputs": (
        {"instances": [["alien"]]},
        "instances is a plain list, but expecting list of objects as multiple"
        " input tensors required as per tensorinfo_map",
    ),
    "plain columns for several inputs": (
        {"inputs": ["alien"]},
        "inputs is a plain value/list, but expecting an object as multiple"
        " input tensors required as per tensorinfo_map",
    ),
    "a row without an input": (
        row(item_ids=["alien"]),
        "Failed to process element: 0 of 'instances' list. JSON object:"
        f" {quote({'item_ids': ['alien']})} keys must be equal to:"
        " item_ids,ratings",
    ),
    "a row with a stranger": (
        row(**ALIEN, x=1),
        in_row("JSON object: does not have named input: x", "x"),
    ),
    "a column without an input": (
        {"inputs": {"ratings": [[1]]}},
        "Missing named input: item_ids in 'inputs' object.",
    ),
    "a string for a number": (
        row(item_ids=["alien"], ratings=["abc"]),
        in_row(
            'JSON Value: "abc" Type: String is not of expected type: float',
            "ratings",
        ),
    ),
    "a string for a number by column": (
        {"inputs": {"item_ids": [["alien"]], "ratings": [["abc"]]}},
        'JSON Value: "abc" Type: String is not of expected type: float',
    ),
    "a truth value for a number": (
        half(instances=[True]),
        in_row("JSON Value: true Type: True is not of expected type: float"),
    ),
    "null for a number": (
        half(instances=[None]),
        in_row("JSON Value: null Type: Null is not of expected type: float"),
    ),
    "bytes for a number": (
        half(instances=[{"b64": "YQ=="}]),
        in_row(
            f"JSON Value: {quote({'b64': 'YQ=='})} Type: Object is not of"
            " expected type: float"
        ),
    ),
    "a fraction for an integer": (
        {"signature_name": "successor", "instances": [101.0]},
        in_row("JSON Value: 101.0 Type: Number is not of expected type: int64"),
    ),
    "rows of different length": (
        {"instances": [ALIEN, {"item_ids": ["a", "b"], "ratings": [1]}]},
        in_row("Expecting tensor size: 1 but got: 2", "item_ids", index=1),
    ),
    "rows of different depth": (
        half(instances=[[1, 2], [[1, 2]]]),
        in_row("Expecting shape [2] but got: [1,2]", index=1),
    ),
    "a ragged row": (
        row(item_ids=[["a", "b"], ["c"]], ratings=[1]),
        in_row(
            "Encountered list at unexpected size: 1 at level: 1 expected"
            " size: 2",
            "item_ids",
        ),
    ),
    "a ragged column": (
        half(inputs=[[1, 2], [3]]),
        "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
    ),
    "a list where a number should be": (
        half(inputs=[1, [2]]),
        "Encountered list at unexpected level: 1 expected < 1",
    ),
    "a number where a list should be": (
        half(inputs=[[1], 5]),
        "JSON Value: 5 found at incorrect level: 2 in the JSON DOM. Expected"
        " at level: 2",
    ),
    "a list among objects": (
        {"instances": [ALIEN, [1]]},
        "Expecting object but got list at item 1 of input list",
    ),
    "an object among lists": (
        half(instances=[1, {"x": 1}]),
        "Expecting value/list but got object at item 1 of input list",
    ),
    "bad base64": (
        {"signature_name": "echo", "instances": [{"b64": "?"}]},
        in_row("Unable to base64 decode"),
    ),
    "bad base64 by column": (
        {"signature_name": "echo", "inputs": [{"b64": "?"}]},
        "Unable to base64 decode",
    ),
    "a scalar output by row": (
        {"signature_name": "total", "instances": [1, 2]},
        "Tensor name: y has no shape information ",
    ),
    "outputs of different size by row": (
        {"signature_name": "uneven", "instances": [1, 2]},
        "Tensor name: whole has inconsistent batch size: 2 expecting: 1",
    ),
    "an output of half precision": (
        {"signature_name": "to_half", "instances": [1]},
        "Failed to write JSON value for tensor type: half",
    ),
    "an output of half precision by column": (
        {"signature_name": "to_bfloat16", "inputs": [1]},
        "Failed to write JSON value for tensor type: bfloat16",
    ),
    "a document too long to be quoted": (
        # The second goes beyond 256 bytes, the third would beyond characters.
        ["é" * 100] * 5,
        f'JSON Value: [\n    "{"é" * 100}",\n    "{"é" * 100}" Is not object',
    ),
}


@pytest.mark.parametrize(("body", "message"), BODIES.values(), ids=BODIES)
def test_rest_refuses_the_body(ask_json, body, message):
    assert ask_json("POST", PREDICT, body) == (400, {"error": message})


# The words and the byte offset of rapidjson.
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"instances": ?}', "Invalid value. at offset: 14"),
        ('{"é": [nope]}'.encode(), "Invalid value. at offset: 9"),
        (b'{"inputs": +1}', "Invalid value. at offset: 11"),
        (b'{"inputs": .5}', "Invalid value. at offset: 11"),
        (
            b'{"inputs": 01}',
            "Missing a comma or '}' after an object member. at offset: 12",
        ),
        (
            b'{"inputs": [1 /* one */]}',
            "Missing a comma or ']' after an array element. at offset: 14",
        ),
        (b"{// all\n}", "Missing a name for object member. at offset: 1"),
        (
            b'{"inputs": 1e400}',
            "Number too big to be stored in double. at offset: 11",
        ),
    ],
)
def test_rest_tells_where_json_is_broken(ask_json, body, message):
    assert ask_json("POST", PREDICT, body) == (
        400,
        {"error": f"JSON Parse error: {message}"},
    )


OTHER = "/v1/models/other:predict"
NO_STRING = {"signature_name": 1, "instances": 1}
ORDER = {
    "JSON, then the name's type": (
        (OTHER, b'{"signature_name": 1, ?'),
        (400, "JSON Parse error: Missing a name for object member."),
    ),
    "the name's type, then the model": (
        (OTHER, NO_STRING),
        (400, f"JSON Value: {quote(NO_STRING)} not formatted correctly."),
    ),
    "the model, then the signature": (
        (OTHER, {"signature_name": "decode", "instances": 1}),
        (404, "Servable not found for request: Latest(other)"),
    ),
    "the version, then the signature": (
        (f"{MODEL}/versions/99:predict", {"signature_name": "decode"}),
        (404, "Servable not found for request: Specific(recommender, 99)"),
    ),
    "the label, then the signature": (
        (f"{MODEL}/labels/canary:predict", {"signature_name": "decode"}),
        (400, "Unrecognized servable version label: canary"),
    ),
    "the signature, then the rows": (
        (PREDICT, {"signature_name": "decode", "instances": 1}),
        (400, 'Serving signature name: "decode" not found'),
    ),
}


@pytest.mark.parametrize(("request_", "answer"), ORDER.values(), ids=ORDER)
def test_rest_tells_of_the_first_mistake_only(ask_json, request_, answer):
    target, body = request_
    status, message = ask_json("POST", target, body)
    assert status == answer[0]
    assert message["error"].startswith(answer[1])


# TensorFlow's name of a type, and a signature that takes it.
@pytest.mark.parametrize(
    ("dtype", "signature_name"),
    [
        ("half", "half_precision"),
        ("bfloat16", "bfloat16"),
        ("uint16", "uint16"),
        ("complex64", "complex64"),
    ],
)
def test_rest_cannot_feed_some_types(ask_json, dtype, signature_name):
    def refusal(**tensors):
        body = {"signature_name": signature_name, **tensors}
        return ask_json("POST", PREDICT, body)

    message = f"Conversion of JSON Value: 1 to type: {dtype}"
    assert refusal(inputs=[1]) == (501, {"error": message})
    in_rows = in_row(message, code="UNIMPLEMENTED")
    assert refusal(instances=[1]) == (400, {"error": in_rows})


@pytest.mark.parametrize(
    ("signature_name", "value", "status", "message"),
    [
        ("offset", 4, 400, "indices[0] = 4 is not in [0, 4)"),
        ("file", "/", 400, "/; Is a directory"),
        ("file", "/nowhere", 404, "/nowhere; No such file or directory"),
    ],
    ids=["INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND"],
)
def test_rest_answers_with_the_code_of_the_models_own_refusal(
    ask_json, signature_name, value, status, message
):
    body = {"signature_name": signature_name, "instances": [value]}
    answer_status, answer = ask_json("POST", PREDICT, body)
    assert answer_status == status
    assert re.fullmatch(
        re.escape(message) + r"\n\t \[\[.*\{\{node \S+\}\}\]\]",
        answer["error"],
    )


def test_rest_runs_nothing_that_is_to_be_compiled(ask_json):
    body = {"signature_name": "compiled", "instances": [1.0]}
    status, answer = ask_json("POST", PREDICT, body)
    assert status == 500
    assert answer["error"].startswith("XLA compilation disabled")


# ---- REST: classify and regress ----

NO_EXAMPLES = "key 'examples' is expected and was not found"
CLASSIFICATIONS = {
    "no examples": (
        {"instances": []},
        f"JSON Value: {quote({'instances': []})} When method is classify,"
        f" {NO_EXAMPLES}",
    ),
    "examples that are no list": (
        {"examples": 1},
        f"JSON Value: {quote({'examples': 1})} Expecting 'examples' value to"
        " be an list/array",
    ),
    "an empty list": (
        {"examples": []},
        f"JSON Value: {quote({'examples': []})} 'examples' value is an empty"
        " array",
    ),
    "an unknown signature": (
        {"examples": [{}], "signature_name": "decode"},
        "No signature was found with the name: decode",
    ),
    "several inputs": ({"examples": [{}]}, "Expected one input Tensor."),
}


@pytest.mark.parametrize("verb", ["classify", "regress"])
@pytest.mark.parametrize(
    ("body", "message"), CLASSIFICATIONS.values(), ids=CLASSIFICATIONS
)
def test_rest_does_not_classify(ask_json, verb, body, message):
    answer = ask_json("POST", f"{MODEL}:{verb}", body)
    assert answer == (400, {"error": message})


# ---- REST: the rest of HTTP ----


@pytest.mark.parametrize("verb", ["predict", "classify", "regress"])
def test_rest_refuses_versions_beyond_int64_without_a_word(ask, verb):
    target = f"{MODEL}/versions/{2**63}:{verb}"
    response, content = ask("POST", target, {"instances": [ALIEN]})
    assert (response.status, content) == (400, b"")


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1", 404),
        ("POST", "/v2/models/recommender:predict", 404),
        ("TRACE", PREDICT, 501),
        ("BREW", PREDICT, 501),
    ],
)
def test_rest_refuses_what_is_no_part_of_it_in_html(
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
        ({"Origin": "http://example.org"}, 200),
        ({"Origin": "null"}, 400),
        ({}, 400),
    ],
)
def test_rest_answers_options_by_the_origin(ask, headers, status):
    response, content = ask("OPTIONS", PREDICT, headers=headers)
    assert (response.status, content) == (status, b"")
    assert response.headers["Content-Type"] == "application/json"
    assert "Access-Control-Allow-Origin" not in response.headers


def test_rest_has_no_metrics_without_a_monitoring_config(ask):
    response, _ = ask("GET", "/monitoring/prometheus/metrics")
    assert response.status == 404


def test_rest_never_reads_the_content_type(ask):
    headers = {"Content-Type": "image/png"}
    response, _ = ask("POST", PREDICT, {"instances": [ALIEN]}, headers)
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json"


def test_rest_never_compresses_an_answer(ask):
    headers = {"Accept-Encoding": "gzip"}
    response, _ = ask("GET", MODEL, headers=headers)
    assert "Content-Encoding" not in response.headers


def test_rest_keeps_the_connection_after_every_refusal(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, 30)
    connection.connect()
    own_port = connection.sock.getsockname()[1]
    for method in ("GET", "TRACE", "POST", "OPTIONS", "PUT"):
        connection.request(method, "/v1/nothing", b"{" * 2000)
        connection.getresponse().read()
        assert connection.sock.getsockname()[1] == own_port
    connection.close()


@pytest.mark.slow
def test_rest_waits_half_a_minute_for_a_request(server):
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        start = time.monotonic()
        connection.sendall(
            f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n"
            "Content-Length: 9\r\n\r\n".encode()
        )
        with connection.makefile("rb") as answer:
            assert answer.readline().startswith(b"HTTP/1.1 504 ")
        assert 29 < time.monotonic() - start < 40


# ---- REST: versions, labels and metrics ----

MODELS = """
model_config_list {{
  config {{
    name: "recommender" base_path: "{base_path}"
    model_version_policy {{ all {{}} }}
    version_labels {{ key: "stable" value: 7 }}
    version_labels {{ key: "the new" value: 10 }}
  }}
  config {{
    name: "two" base_path: "{base_path}"
    model_version_policy {{ latest {{ num_versions: 2 }} }}
  }}
  config {{
    name: "chosen" base_path: "{base_path}"
    model_version_policy {{ specific {{ versions: 7 versions: 9 }} }}
  }}
}}
"""


@pytest.fixture(scope="module")
def busy_server(model_base_path, tmp_path_factory):
    """A server of several models and versions that batches and counts."""
    directory = tmp_path_factory.mktemp("busy")
    base_path = directory / "export"
    for name in ("7", "0009", "10"):
        shutil.copytree(model_base_path / "3", base_path / name)
    for name in ("11.bak", ".tmp-12", "v13"):
        (base_path / name).mkdir()
    (base_path / "14").write_text("A file is not a version.")
    models = directory / "models.txt"
    models.write_text(MODELS.format(base_path=base_path))
    monitoring = directory / "monitoring.txt"
    monitoring.write_text("prometheus_config { enable: true }")
    with run_local_server(
        f"--model_config_file={models}",
        f"--monitoring_config_file={monitoring}",
        "--allow_version_labels_for_unavailable_models",
        "--enable_batching",
    ) as running:
        yield running


@pytest.mark.parametrize(
    ("target", "versions"),
    [
        (MODEL, ["10", "9", "7"]),
        (f"{MODEL}/labels/stable", ["10", "9", "7"]),
        (f"{MODEL}/labels/nowhere", ["10", "9", "7"]),
        (f"{MODEL}/versions/9", ["9"]),
        ("/v1/models/two", ["10", "9"]),
        ("/v1/models/chosen", ["9", "7"]),
    ],
)
def test_rest_lists_the_newest_version_first_and_ignores_labels(
    busy_server, target, versions
):
    status, answer = busy_server.ask_json("GET", target)
    assert status == 200
    assert answer["model_version_status"] == [
        {
            "version": version,
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
        for version in versions
    ]


@pytest.mark.parametrize(
    ("target", "version"),
    [
        (MODEL, "10"),
        (f"{MODEL}/versions/0009", "9"),
        (f"{MODEL}/labels/stable", "7"),
        (f"{MODEL}/labels/the%20new", "10"),
        ("/V1/Models/recommender/Labels/stable", "7"),
        ("/v1/MODELS/%63hosen/VERSIONS/7", "7"),
    ],
)
def test_rest_finds_the_version(busy_server, target, version):
    status, answer = busy_server.ask_json("GET", f"{target}/metadata")
    assert (status, answer["model_spec"]["version"]) == (200, version)
    body = half(instances=[3])
    assert busy_server.ask_json("POST", f"{target}:predict", body) == (
        200,
        {"predictions": [1.5]},
    )


def test_rest_has_metrics_where_prometheus_looks_for_them(busy_server):
    target = "/v1/models/made-up:predict"
    assert busy_server.ask("POST", target, half(inputs=[1]))[0].status == 404
    target = "/v1/models/two:predict"
    assert busy_server.ask("POST", target, half(inputs=[1]))[0].status == 200
    response, content = busy_server.ask("GET", "/monitoring/prometheus/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain"
    lines = content.decode().splitlines()
    counts = ":tensorflow:serving:request_count{model_name="
    assert f'{counts}"made-up",status="NOT_FOUND"}} 1' in lines
    assert f'{counts}"two",status="OK"}} 1' in lines
    latencies = [line for line in lines if "request_latency_count" in line]
    assert (
        ':tensorflow:serving:request_latency_count{model_name="two",'
        'API="predict",entrypoint="REST"} 1'
    ) in latencies
    assert not any("made-up" in line for line in latencies)


# ---- Batching ----

BATCHES = {
    "a scalar": (
        half(inputs=1),
        "Batching Run() input tensors must have at least one dimension",
    ),
    "inputs of different size": (
        {"inputs": {"item_ids": [["alien"]], "ratings": [[1], [2]]}},
        "Batching Run() input tensors must have equal 0th-dimension size",
    ),
    "more rows than go into a batch": (
        half(instances=[1] * 1001),
        "Task size 1001 is larger than maximum input batch size 1000",
    ),
    "a scalar output": (
        {"signature_name": "total", "inputs": [1, 2]},
        "Batched output tensor has 0 dimensions",
    ),
    "an output of another length": (
        {"signature_name": "uneven", "inputs": [1, 2]},
        "Batched output tensor's 0th dimension does not equal the sum of the"
        " 0th dimension sizes of the input tensors",
    ),
}


@pytest.mark.parametrize(("body", "message"), BATCHES.values(), ids=BATCHES)
def test_batching_refuses_what_does_not_fit(busy_server, body, message):
    answer = busy_server.ask_json("POST", PREDICT, body)
    assert answer == (400, {"error": message})


def test_batching_does_not_let_an_empty_request_hang(busy_server):
    """Unlike TensorFlow Serving, where it waits for the next request."""
    answer = busy_server.ask_json("POST", PREDICT, half(inputs=[]))
    assert answer == (200, {"outputs": []})


def test_batching_does_not_pad_with_somebody_elses_numbers(tmp_path):
    """Unlike TensorFlow Serving, whose answers are then silently wrong."""
    file = tmp_path / "batching.txt"
    file.write_text("pad_variable_length_inputs: true")
    run = run_command(
        "serving.local_server",
        *("--model_base_path", tmp_path, "--enable_batching"),
        *("--batching_parameters_file", file),
    )
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith(
        f"error: {file}: `pad_variable_length_inputs` must not be set"
    )


# ---- gRPC ----

PREDICTIONS = {
    "no model_spec": (
        predict_pb2.PredictRequest(),
        INVALID,
        "Missing ModelSpec",
    ),
    "no name": (
        predict_request(name=""),
        INVALID,
        "ModelSpec has no name specified.",
    ),
    "an unknown model": (
        predict_request(name="other"),
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Latest(other)",
    ),
    "an unknown version": (
        predict_request(version=99),
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Specific(recommender, 99)",
    ),
    "an unknown label": (
        predict_request(version_label="canary"),
        INVALID,
        "Unrecognized servable version label: canary",
    ),
    "an unknown signature": (
        predict_request("decode"),
        grpc.StatusCode.FAILED_PRECONDITION,
        'Serving signature key "decode" not found.',
    ),
    "a missing input": (
        predict_request(inputs={"item_ids": [["alien"]]}),
        INVALID,
        "input size does not match signature: 1!=2 len({item_ids}) !="
        " len({item_ids,ratings}). Sent extra: {}. Missing but required:"
        " {ratings}.",
    ),
    "an input too many": (
        predict_request("half", {"x": [1.0], "z": [1.0]}),
        INVALID,
        "input size does not match signature: 2!=1 len({x,z}) != len({x})."
        " Sent extra: {z}. Missing but required: {}.",
    ),
    "a misnamed input": (
        predict_request(inputs={"item_ids": [["alien"]], "x": [[4.0]]}),
        INVALID,
        "Signature input alias: ratings(feed name: serving_default_ratings:0)"
        " not found in request and no default value provided. Inputs expected"
        " to be in the request {item_ids,x}, or default input alias set: ",
    ),
    "the wrong type": (
        predict_request("successor", {"x": [1]}),
        INVALID,
        "Expects arg[0] to be int64 but int32 is provided",
    ),
    "an unknown output": (
        predict_request("half", {"x": [1.0]}, ["z"]),
        INVALID,
        "output tensor alias not found in signature: z Outputs expected to be"
        " in the set {y}.",
    ),
    "an output twice": (
        predict_request("half", {"x": [1.0]}, ["y", "y"]),
        INVALID,
        "duplicate output tensor alias: y",
    ),
}


@pytest.mark.parametrize(
    ("request_", "code", "message"), PREDICTIONS.values(), ids=PREDICTIONS
)
def test_grpc_refuses_the_prediction(predictions, request_, code, message):
    with pytest.raises(grpc.RpcError) as caught:
        predictions.Predict(request_)
    assert (caught.value.code(), caught.value.details()) == (code, message)


def broken(**fields):
    request = predict_request("half", {"x": [1.0, 2.0]})
    tensor = request.inputs["x"]
    for name, value in fields.items():
        if name == "sizes":
            del tensor.tensor_shape.dim[:]
            for size in value:
                tensor.tensor_shape.dim.add(size=size)
        elif name == "unknown_rank":
            tensor.tensor_shape.unknown_rank = value
        else:
            setattr(tensor, name, value)
    return request


@pytest.mark.parametrize(
    "request_",
    [
        broken(tensor_content=b"123"),
        broken(tensor_content=b"0" * 12),
        broken(sizes=[-1]),
        broken(sizes=[1] * 65),
        broken(unknown_rank=True),
        broken(dtype=0),
        broken(dtype=101),
        broken(dtype=20),
        broken(dtype=7, tensor_content=b"\x05\x05short"),
        broken(dtype=7, tensor_content=b"\xff" * 20),
    ],
    ids=[
        "too few bytes",
        "too many bytes",
        "a negative size",
        "too many dimensions",
        "no shape",
        "no type",
        "a reference type",
        "a resource",
        "strings shorter than they say",
        "a string without an end",
    ],
)
def test_grpc_refuses_what_is_no_tensor(predictions, request_):
    with pytest.raises(grpc.RpcError) as caught:
        predictions.Predict(request_)
    assert caught.value.code() is INVALID
    assert caught.value.details() == "tensor parsing error: x"


def test_grpc_refuses_a_tensor_beyond_all_memory(predictions):
    with pytest.raises(grpc.RpcError) as caught:
        predictions.Predict(broken(sizes=[2**40]))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "takes more than" in caught.value.details()


def test_grpc_tells_what_the_model_refuses_in_its_own_words(predictions):
    inputs = {"item_ids": [["alien"]], "ratings": [[1.0, 2.0]]}
    with pytest.raises(grpc.RpcError) as caught:
        predictions.Predict(predict_request(inputs=inputs))
    assert caught.value.code() is INVALID
    assert caught.value.details().startswith(
        "assertion failed: [`ratings` must have the shape of `item_ids`.]"
    )


def test_grpc_runs_nothing_that_is_to_be_compiled(predictions):
    request = predict_request("compiled", {"x": [1.0]})
    with pytest.raises(grpc.RpcError) as caught:
        predictions.Predict(request)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert caught.value.details().startswith("XLA compilation disabled")


def test_grpc_cuts_messages_off_after_1024_characters(predictions):
    with pytest.raises(grpc.RpcError) as caught:
        predictions.Predict(predict_request("x" * 2000))
    message = 'Serving signature key "' + "x" * 1001
    assert caught.value.details() == message + "...TRUNCATED"


def spec(**fields):
    return predict_request(**fields).model_spec


METADATA = {
    "no model_spec": ({}, INVALID, "Missing ModelSpec"),
    "no field": (
        {"model_spec": spec()},
        INVALID,
        "GetModelMetadataRequest must specify at least one metadata_field",
    ),
    "an unknown field": (
        {"model_spec": spec(), "metadata_field": ["x"]},
        INVALID,
        "Metadata field %s is not supportedx",
    ),
    "an unknown model": (
        {"model_spec": spec(name="other"), "metadata_field": ["signature_def"]},
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Latest(other)",
    ),
    "an unknown version": (
        {"model_spec": spec(version=99), "metadata_field": ["signature_def"]},
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Specific(recommender, 99)",
    ),
    "an unknown label": (
        {
            "model_spec": spec(version_label="canary"),
            "metadata_field": ["signature_def"],
        },
        INVALID,
        "Unrecognized servable version label: canary",
    ),
}


@pytest.mark.parametrize(
    ("fields", "code", "message"), METADATA.values(), ids=METADATA
)
def test_grpc_refuses_the_metadata(predictions, fields, code, message):
    request = get_model_metadata_pb2.GetModelMetadataRequest(**fields)
    with pytest.raises(grpc.RpcError) as caught:
        predictions.GetModelMetadata(request)
    assert (caught.value.code(), caught.value.details()) == (code, message)


STATUSES = {
    "no model_spec": ({}, INVALID, "Missing ModelSpec"),
    "an unknown model": (
        {"model_spec": spec(name="other")},
        grpc.StatusCode.NOT_FOUND,
        "Could not find any versions of model other",
    ),
    "an unknown version": (
        {"model_spec": spec(version=99)},
        grpc.StatusCode.NOT_FOUND,
        "Could not find version 99 of model recommender",
    ),
}


@pytest.mark.parametrize(
    ("fields", "code", "message"), STATUSES.values(), ids=STATUSES
)
def test_grpc_refuses_the_status(channel, fields, code, message):
    service = model_service_pb2_grpc.ModelServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        service.GetModelStatus(
            get_model_status_pb2.GetModelStatusRequest(**fields)
        )
    assert (caught.value.code(), caught.value.details()) == (code, message)


def test_grpc_reloads_nothing_but_a_list_of_models(channel):
    service = model_service_pb2_grpc.ModelServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        service.HandleReloadConfigRequest(
            model_management_pb2.ReloadConfigRequest()
        )
    assert caught.value.code() is INVALID
    assert caught.value.details() == (
        "ServerModelConfig type not supported by HandleReloadConfigRequest."
        " Only ModelConfigList is currently supported"
    )


EXAMPLE_APIS = {
    "Classify, no name": (
        classification_pb2.ClassificationRequest(model_spec=spec(name="")),
        INVALID,
        "ModelSpec has no name specified.",
    ),
    "Classify, an unknown signature": (
        classification_pb2.ClassificationRequest(
            model_spec=spec(signature_name="decode")
        ),
        INVALID,
        "No signature was found with the name: decode",
    ),
    "Classify, several inputs": (
        classification_pb2.ClassificationRequest(model_spec=spec()),
        INVALID,
        "Expected one input Tensor.",
    ),
    "Classify, no inputs": (
        classification_pb2.ClassificationRequest(
            model_spec=spec(signature_name="half")
        ),
        grpc.StatusCode.FAILED_PRECONDITION,
        "No classification inputs found in SignatureDef: ",
    ),
    "Classify, all there": (
        classification_pb2.ClassificationRequest(
            model_spec=spec(signature_name="scores")
        ),
        grpc.StatusCode.UNIMPLEMENTED,
        "This server has no classification",
    ),
    "Regress, several outputs": (
        regression_pb2.RegressionRequest(
            model_spec=spec(signature_name="echo")
        ),
        INVALID,
        "Expected one output Tensor.",
    ),
    "Regress, no inputs": (
        regression_pb2.RegressionRequest(
            model_spec=spec(signature_name="half")
        ),
        grpc.StatusCode.FAILED_PRECONDITION,
        "No regression inputs found in SignatureDef: ",
    ),
    "MultiInference, no tasks": (
        inference_pb2.MultiInferenceRequest(),
        INVALID,
        "ModelSpec has no name specified.",
    ),
    "MultiInference, another method": (
        inference_pb2.MultiInferenceRequest(
            tasks=[{"model_spec": spec(), "method_name": "x"}]
        ),
        grpc.StatusCode.UNIMPLEMENTED,
        "Unsupported signature method_name: x",
    ),
    "MultiInference, several inputs": (
        inference_pb2.MultiInferenceRequest(
            tasks=[
                {
                    "model_spec": spec(),
                    "method_name": "tensorflow/serving/classify",
                }
            ]
        ),
        INVALID,
        "Expected one input Tensor.",
    ),
}


@pytest.mark.parametrize(
    ("name", "request_", "code", "message"),
    [(name, *row) for name, row in EXAMPLE_APIS.items()],
    ids=EXAMPLE_APIS,
)
def test_grpc_has_no_classification_and_regression(
    predictions, name, request_, code, message
):
    with pytest.raises(grpc.RpcError) as caught:
        getattr(predictions, name.partition(",")[0])(request_)
    assert caught.value.code() is code
    assert caught.value.details().startswith(message)


def test_grpc_has_no_health_service_unless_asked_for(channel):
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    with pytest.raises(grpc.RpcError) as caught:
        check(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_grpc_has_no_reflection(channel):
    list_services = channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    )
    with pytest.raises(grpc.RpcError) as caught:
        list(list_services(iter([b""])))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
