import asyncio
import concurrent.futures
import gzip
import http.client
import json
import socket
import statistics
import time

import pytest

from serving.local_server.config_files import ModelConfig
from serving.local_server.inference import InferenceRunner
from serving.local_server.model_manager import ModelManager
from serving.local_server.monitoring import Metrics
from serving.local_server.rest.api import RestApi
from tests.serving.messages import half

pytestmark = pytest.mark.integration

ALIEN = {"item_ids": ["alien"], "ratings": [4]}
PREDICT = "/v1/models/recommender:predict"


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


HALF_OF_3 = {"outputs": [1.5]}
TAKEN = {
    "rows of a single input by name": (
        half(instances=[{"x": 3}, {"x": 1.0}]),
        {"predictions": [1.5, 0.5]},
    ),
    "a single input by name": (half(inputs={"x": [3]}), HALF_OF_3),
    "a column that the signature does not have": (
        half(inputs={"x": [3], "z": ["?"]}),
        HALF_OF_3,
    ),
    "keys that mean nothing": (half(inputs=[3], ballast=[{}, None]), HALF_OF_3),
    "keys in another order": (
        b'{"inputs": [3], "signature_name": "half"}',
        HALF_OF_3,
    ),
    "the first of equal keys": (
        b'{"signature_name": "half", "inputs": [3], "inputs": [1],'
        b' "signature_name": "decode"}',
        HALF_OF_3,
    ),
    "a byte order mark": (
        b'\xef\xbb\xbf{"signature_name": "half", "inputs": [3]}',
        HALF_OF_3,
    ),
    "anything after the closing brace": (
        b'{"signature_name": "half", "inputs": [3]} } /* \xff',
        HALF_OF_3,
    ),
    "a scalar where a list belongs": (half(inputs=3), {"outputs": 1.5}),
    "a list more than there should be": (
        half(inputs=[[3, 1]]),
        {"outputs": [[1.5, 0.5]]},
    ),
    "nothing, by column": (half(inputs=[]), {"outputs": []}),
    "empty rows": (half(instances=[[], []]), {"predictions": [[], []]}),
}


@pytest.mark.parametrize(("body", "answer"), TAKEN.values(), ids=TAKEN)
def test_what_tensorflow_serving_takes_is_taken(ask_json, body, answer):
    assert ask_json("POST", PREDICT, body) == (200, answer)


def test_no_signature_and_an_empty_name_mean_the_default(ask_json):
    rows = {"instances": [ALIEN]}
    answer = ask_json("POST", PREDICT, rows)
    assert answer[0] == 200
    for name in ("", "serving_default"):
        body = {**rows, "signature_name": name}
        assert ask_json("POST", PREDICT, body) == answer


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
    numbers = [1, 6, 0.2, 2 / 3, 2e6, 2**25, 1e-9, -0.0]
    _, content = ask("POST", PREDICT, half(instances=numbers))
    assert content.split(b"[")[1].replace(b",", b"").split()[:-2] == (
        b"0.5 3.0 0.1 0.333333343 1e+06 16777216.0 5e-10 -0.0".split()
    )


def test_numbers_that_json_lacks_are_bare_tokens(ask):
    body = (
        b'{"signature_name": "half",'
        b' "inputs": [NaN, Infinity, -Infinity, Inf, -Inf, 1e300]}'
    )
    _, content = ask("POST", PREDICT, body)
    assert content.endswith(
        b"[NaN, Infinity, -Infinity, Infinity, -Infinity, Infinity]\n}"
    )


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


@pytest.mark.parametrize(
    "body",
    [
        b'{"signature_name": "echo", "instances": [{"b64": "/8Op"}]}',
        b'{"signature_name": "echo", "instances": ["\xff\xc3\xa9"]}',
    ],
    ids=["in base64", "as they are"],
)
def test_bytes_that_are_no_utf8_are_written_as_they_are(ask, body):
    response, content = ask("POST", PREDICT, body)
    assert response.status == 200
    assert b'"text": "\xff\xc3\xa9"' in content
    assert b'"text_bytes": {"b64": "/8Op"}' in content


def test_a_scalar_output_works_in_columns(ask_json):
    columns = {"signature_name": "total", "inputs": [1, 2]}
    assert ask_json("POST", PREDICT, columns) == (200, {"outputs": 3.0})


def test_a_compressed_body_is_read(ask_json):
    body = gzip.compress(json.dumps({"instances": [ALIEN]}).encode())
    gzipped = {"Content-Encoding": "gzip"}
    status, _ = ask_json("POST", PREDICT, body, gzipped)
    assert status == 200
    for broken in (body[:-9], b"{}"):
        assert ask_json("POST", PREDICT, broken, gzipped) == (
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


def test_a_body_of_20_megabytes_gets_an_answer_of_46(ask):
    megabyte = "x" * 10**6
    body = {"signature_name": "echo", "instances": [megabyte] * 20}
    response, content = ask("POST", PREDICT, body)
    assert response.status == 200
    assert content.count(megabyte.encode()) == 20
    assert len(content) > 46 * 10**6


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


def test_an_answer_that_takes_too_long_is_given_up(model_base_path):
    class SlowRunner(InferenceRunner):
        async def run(self, *_):
            await asyncio.sleep(30)

    manager = ModelManager([ModelConfig("recommender", str(model_base_path))])
    manager.start()
    metrics = Metrics()
    rest_api = RestApi(
        manager,
        SlowRunner(None, max_concurrent_requests=1),
        metrics,
        prometheus_path=None,
        timeout_seconds=0.05,
        max_body_bytes=1000,
        with_cors=False,
    )
    sent = []

    async def receive():
        body = json.dumps({"instances": [ALIEN]}).encode()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "method": "POST",
        "raw_path": PREDICT.encode(),
        "query_string": b"",
        "headers": [],
    }
    # The second finds the place of the first free.
    for _ in range(2):
        sent.clear()
        asyncio.run(rest_api(scope, receive, send))
        assert sent[0]["status"] == 504
        assert b"Timed out" in sent[1]["body"]
    manager.stop()
    assert b'status="DEADLINE_EXCEEDED"} 2' in metrics.page()
