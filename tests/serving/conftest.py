"""A process that serves a model whose answers are known by hand."""

import grpc
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from tests.serving.processes import run_server
from tests.serving.small_model import write_model


@pytest.fixture(scope="session")
def model_base_path(tmp_path_factory):
    """A directory with version 3 of a model, and things to be ignored."""
    base_path = tmp_path_factory.mktemp("export")
    write_model(base_path / "3")
    (base_path / ".tmp-4").mkdir()
    (base_path / "5").write_text("A file is not a version.")
    return base_path


@pytest.fixture(scope="session")
def server(model_base_path):
    (model_base_path / "2").mkdir()  # An older version is not even looked at.
    with run_server(model_base_path) as running:
        yield running


@pytest.fixture
def ask(server):
    """Sends one request and returns the response and its body."""
    return server.ask


@pytest.fixture
def ask_json(server):
    """Sends one request and returns the status and the decoded answer."""
    return server.ask_json


@pytest.fixture
def channel(server):
    """A connection to the server's gRPC port."""
    with grpc.insecure_channel(server.grpc_address) as channel:
        yield channel


@pytest.fixture
def predictions(channel):
    """A stub of the server's PredictionService."""
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)
