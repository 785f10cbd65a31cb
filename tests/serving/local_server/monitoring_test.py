import asyncio
import re

import grpc
import pytest

from serving.local_server.errors import RequestError
from serving.local_server.monitoring import Metrics
from serving.protocol import Code
from tests.serving.messages import predict_request
from tests.serving.processes import run_server

pytestmark = pytest.mark.extended

PREDICT = "/v1/models/recommender:predict"
COUNT = ":tensorflow:serving:request_count"
LATENCY = ":tensorflow:serving:request_latency"
LABELS = 'model_name="recommender",API="{}",entrypoint="{}"'


@pytest.fixture(scope="module")
def server(model_base_path, tmp_path_factory):
    """A server that shows its metrics."""
    config = tmp_path_factory.mktemp("config") / "monitoring.txt"
    config.write_text('prometheus_config { enable: true path: "/metrics" }')
    flag = f"--monitoring_config_file={config}"
    with run_server(model_base_path, flag) as running:
        yield running


def read_metrics(server):
    response, content = server.ask("GET", "/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain"
    lines = content.decode().splitlines()
    return {
        series: float(value)
        for series, _, value in (line.rpartition(" ") for line in lines)
        if not series.startswith("#")
    }


def test_requests_of_both_protocols_are_counted(server, predictions):
    alien = {"instances": [{"item_ids": ["alien"], "ratings": [4]}]}
    for _ in range(3):
        server.ask("POST", PREDICT, alien)
    server.ask("POST", PREDICT, {"instances": []})
    server.ask("POST", "/v1/models/no%22body%5C:predict", alien)
    for _ in range(2):
        predictions.Predict(predict_request())
    with pytest.raises(grpc.RpcError):
        predictions.Predict(predict_request("decode"))
    server.ask("GET", "/v1/models/recommender")
    server.ask("GET", "/v1/models/recommender/metadata")

    metrics = read_metrics(server)
    counts = {
        series.removeprefix(COUNT): value
        for series, value in metrics.items()
        if series.startswith(COUNT + "{")
    }
    assert counts == {
        '{model_name="recommender",status="OK"}': 5,
        '{model_name="recommender",status="INVALID_ARGUMENT"}': 1,
        '{model_name="recommender",status="FAILED_PRECONDITION"}': 1,
        r'{model_name="no\"body\\",status="NOT_FOUND"}': 1,
    }
    rest = LABELS.format("predict", "REST")
    assert metrics[f"{LATENCY}_count{{{rest}}}"] == 3
    assert metrics[f'{LATENCY}_bucket{{{rest},le="+Inf"}}'] == 3
    # In microseconds: no answer takes less than 100 of them.
    assert metrics[f"{LATENCY}_sum{{{rest}}}"] > 300
    assert metrics[f'{LATENCY}_bucket{{{rest},le="10"}}'] == 0
    rpc = LABELS.format("Predict", "GRPC")
    assert metrics[f"{LATENCY}_count{{{rpc}}}"] == 2


def test_the_page_is_what_prometheus_reads(server):
    _, content = server.ask("GET", "/metrics")
    text = content.decode()
    assert text.endswith("\n")
    for line in text.splitlines():
        assert re.fullmatch(
            r"# TYPE :tensorflow:serving:\w+ (counter|histogram)"
            r'|:tensorflow:serving:\w+\{(\w+="([^"\\]|\\.)*",?)*\} [-+.0-9e]+',
            line,
        ), line


def test_the_page_takes_no_query(server):
    response, content = server.ask("GET", "/metrics?name=x")
    assert response.status == 400
    assert response.headers["Content-Type"] == "text/plain"
    assert content == b"Unexpected path: /metrics?name=x. Should be /metrics"


def test_buckets_add_up():
    metrics = Metrics()
    for _ in range(4):
        with metrics.measure("m", "predict", "REST"):
            pass
    buckets = [
        int(line.rpartition(b" ")[2])
        for line in metrics.page().splitlines()
        if b"_bucket{" in line
    ]
    assert len(buckets) == 34
    assert buckets == sorted(buckets)
    assert buckets[-1] == 4


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RequestError(Code.NOT_FOUND, ""), b"NOT_FOUND"),
        (ValueError(), b"INTERNAL"),
        (asyncio.CancelledError(), b"CANCELLED"),
    ],
)
def test_failures_are_counted_and_have_no_latency(error, status):
    metrics = Metrics()
    with (
        pytest.raises(type(error)),
        metrics.measure("m", "predict", "REST"),
    ):
        raise error
    assert b'{model_name="m",status="%s"} 1' % status in metrics.page()
    assert b"_bucket" not in metrics.page()


def test_made_up_names_do_not_fill_the_memory():
    metrics = Metrics()
    for number in range(3000):
        with (
            pytest.raises(ValueError, match="x"),
            metrics.measure(str(number), "predict", "REST"),
        ):
            raise ValueError("x")
    lines = metrics.page().splitlines()
    assert sum(line.startswith(COUNT.encode()) for line in lines) == 1000
