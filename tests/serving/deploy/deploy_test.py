"""Reads the files of serving/deploy as the programs they are for do."""

import json
import re
import shlex

import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.local_server import config_files
from serving.local_server.rest import requests
from tests.serving.processes import REPOSITORY

DEPLOY = REPOSITORY / "serving/deploy"
MODELS = ["models", "canary", "promotion", "rollback"]


def read_model_config(name):
    """The only model of a configuration, by TensorFlow Serving's message."""
    config = text_format.Parse(
        (DEPLOY / f"config/{name}.config").read_text(),
        model_server_config_pb2.ModelServerConfig(),
    )
    (model,) = config.model_config_list.config
    return model


def labels_and_versions(name):
    model = read_model_config(name)
    return (
        dict(model.version_labels),
        list(model.model_version_policy.specific.versions),
    )


@pytest.mark.parametrize("name", MODELS)
def test_a_model_configuration_serves_the_mounted_model(name):
    model = read_model_config(name)
    assert (model.name, model.base_path) == (
        "recommender",
        "/models/recommender",
    )
    # The local server reads the same.
    path = str(DEPLOY / f"config/{name}.config")
    (read,) = config_files.read_models(path)
    assert read.version_labels == dict(model.version_labels)


def test_a_canary_goes_forth_and_back_without_losing_a_label():
    assert labels_and_versions("models") == ({}, [])
    assert labels_and_versions("canary") == (
        {"stable": 1, "canary": 2},
        [1, 2],
    )
    assert labels_and_versions("promotion") == (
        {"stable": 2, "canary": 2},
        [1, 2],
    )
    assert labels_and_versions("rollback") == ({"stable": 1, "canary": 1}, [1])


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_batching_never_pads_with_other_users_ratings(device):
    path = DEPLOY / f"config/batching-{device}.config"
    parameters = config_files.read_batching_parameters(str(path))
    assert parameters.max_batch_size > 1
    settings = re.sub("#.*", "", path.read_text())
    assert "pad_variable_length_inputs" not in settings


def test_metrics_are_where_prometheus_is_told_to_look():
    path = config_files.read_prometheus_path(
        str(DEPLOY / "config/monitoring.config")
    )
    (deployment, _, _) = read_manifests()
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == path
    assert annotations["prometheus.io/port"] == "8501"


def read_manifests():
    text = (DEPLOY / "kubernetes/serving.yaml").read_text()
    return list(yaml.safe_load_all(text))


def commands():
    """The flags that each file starts the server with."""
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    yield json.loads(
        re.search(r"^CMD (\[.*\])", dockerfile, re.DOTALL | re.MULTILINE)[
            1
        ].replace("\\\n", "")
    )
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    yield from (service["command"] for service in services.values())
    yield container()["args"]


def container():
    (container,) = read_manifests()[0]["spec"]["template"]["spec"]["containers"]
    return container


def test_all_ways_to_start_the_server_give_it_the_same_flags():
    def without_device(flags):
        return [re.sub(r"-[cg]pu\.config", ".config", flag) for flag in flags]

    first, *others = map(without_device, commands())
    assert len(others) == 3
    for flags in others:
        assert flags == first


def test_every_file_that_a_flag_names_is_there():
    # Made in the Dockerfile, of the one or the other.
    made = {"/config/batching.config"}
    for flags in commands():
        for flag in flags:
            for path in set(re.findall("/config/.*", flag)) - made:
                assert (DEPLOY / path.lstrip("/")).exists()


def test_the_release_is_pinned_and_the_same_everywhere():
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    release = re.search(r"^ARG TAG=([0-9.]+)$", dockerfile, re.MULTILINE)[1]
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    tags = {
        name: service["build"]["args"] for name, service in services.items()
    }
    assert tags == {
        "cpu": {"TAG": release, "DEVICE": "cpu"},
        "gpu": {"TAG": f"{release}-gpu", "DEVICE": "gpu"},
    }
    assert container()["image"].endswith(f":{release}")
    assert f":{release}" in (DEPLOY / "README.md").read_text()


def test_a_machine_serves_itself_only():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_probes_ask_what_the_protocol_knows():
    ports = {
        port["name"]: port["containerPort"] for port in container()["ports"]
    }
    for probe, verb in (
        ("startupProbe", "status"),
        ("livenessProbe", "status"),
        ("readinessProbe", "metadata"),
    ):
        request = container()[probe]["httpGet"]
        route = requests.parse_route("GET", request["path"])
        assert (route.model_name, route.verb) == ("recommender", verb)
        assert ports[request["port"]] == 8501


def test_the_service_finds_the_pods():
    deployment, service, budget = read_manifests()
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["selector"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert budget["spec"]["minAvailable"] < deployment["spec"]["replicas"]
    names = {port["name"] for port in container()["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == names


def readme_commands():
    """The commands of the README, each as one line."""
    text = (DEPLOY / "README.md").read_text()
    blocks = re.findall(r"(?:^    .*\n|^\n)+", text, re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip()]


def test_the_upload_to_vertex_ai_fits_together():
    (upload,) = [
        line
        for line in readme_commands()
        if line.startswith("gcloud ai models upload")
        and "--model-id=recommender " in line
    ]
    flags = dict(
        flag.removeprefix("--").split("=", 1)
        for flag in shlex.split(upload)[4:]
    )
    server_flags = dict(
        flag.removeprefix("--").split("=", 1)
        for flag in flags["container-args"].split(",")
    )
    assert server_flags["model_base_path"] == "$(AIP_STORAGE_URI)"
    assert server_flags["rest_api_port"] == flags["container-ports"]
    predict = requests.parse_route("POST", flags["container-predict-route"])
    health = requests.parse_route("GET", flags["container-health-route"])
    assert (predict.verb, health.verb) == ("predict", "status")
    name = server_flags["model_name"]
    assert predict.model_name == health.model_name == name
    # The directory of a version would not do.
    assert not re.search(r"/[0-9]+/?$", flags["artifact-uri"])


def test_the_files_that_the_readme_names_are_there():
    text = (DEPLOY / "README.md").read_text()
    names = re.findall(
        r"(?:config|kubernetes|vertex_ai)/[\w./-]+\.(?:config|yaml|json)", text
    )
    assert len(set(names)) >= 9
    for name in set(names) - {"config/batching.config"}:
        assert (DEPLOY / name).exists(), name


def test_the_instances_are_a_request_that_a_model_reads():
    body = (DEPLOY / "vertex_ai/instances.json").read_bytes()
    assert len(body) < 1.5e6
    request = requests.parse_predict_request(body)
    inputs = request.parse_inputs({"item_ids": "string", "ratings": "float"})
    assert inputs["ratings"].values == [[5.0, 3.5], [4.0, 0.0]]


def test_the_batch_prediction_reads_records_and_writes_lines():
    job = json.loads(
        (DEPLOY / "vertex_ai/batch_prediction_job.json").read_text()
    )
    assert job["inputConfig"]["instancesFormat"] == "tf-record"
    assert job["outputConfig"]["predictionsFormat"] == "jsonl"
    (model,) = re.findall(r"models/(.*)", job["model"])
    assert f"--model-id={model}" in (DEPLOY / "README.md").read_text()
