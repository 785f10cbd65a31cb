import concurrent.futures
import contextlib
import os
import shutil
import subprocess
import threading
import time

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from serving.local_server import model_manager
from serving.local_server.config_files import ModelConfig, VersionPolicy
from serving.local_server.errors import ModelLoadError, RequestError
from serving.local_server.model import ModelVersion
from serving.local_server.model_manager import ModelManager
from serving.protocol import Code
from tests.serving.messages import predict_request, to_lists
from tests.serving.processes import (
    run_command,
    run_local_server,
    run_server,
)
from tests.serving.small_model import write_model

pytestmark = pytest.mark.integration

MODEL = "/v1/models/recommender"
PREDICT = f"{MODEL}:predict"
ROWS = {"instances": [{"item_ids": ["alien"], "ratings": [4]}]}


@pytest.fixture(scope="module")
def bonuses(tmp_path_factory):
    """Models that differ in what they predict, by how much."""
    directory = tmp_path_factory.mktemp("bonuses")
    for bonus in (1, 2):
        write_model(directory / str(bonus), bonus)
    return directory


@pytest.fixture
def publish(bonuses, tmp_path):
    """Puts a version into place, in one step."""

    def publish_version(number, bonus=1, base_path=tmp_path / "model"):
        base_path.mkdir(exist_ok=True)
        draft = base_path / f".tmp-{number}"
        shutil.copytree(bonuses / str(bonus), draft)
        draft.rename(base_path / str(number))
        return base_path

    return publish_version


@pytest.fixture
def start():
    """Starts a `ModelManager` that polls its directories all the time."""
    with contextlib.ExitStack() as stack:

        def start_manager(*configs, **options):
            manager = ModelManager(
                [
                    each
                    if isinstance(each, ModelConfig)
                    else ModelConfig("m", str(each))
                    for each in configs
                ],
                **{"poll_wait_seconds": 0.02, **options},
            )
            manager.start()
            stack.callback(manager.stop)
            return manager

        yield start_manager


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in 30 s"
        time.sleep(0.02)


def states(manager, name="m"):
    return {each.version: each.state for each in manager.statuses(name, None)}


def best_rating(model):
    inputs = {
        "item_ids": tf.constant([["alien"]]).numpy(),
        "ratings": tf.constant([[4.0]]).numpy(),
    }
    outputs = model.run("serving_default", inputs, ["predicted_ratings"])
    return outputs["predicted_ratings"][0, 0]


# ---- Versions on disk ----


def test_a_version_is_a_directory_whose_name_is_a_number(tmp_path):
    for name in ("9", "0010", "7.bak", ".tmp-8"):
        (tmp_path / name).mkdir()
    (tmp_path / "11").write_text("A file is not a version.")
    assert model_manager.list_versions(str(tmp_path)) == {
        9: str(tmp_path / "9"),
        10: str(tmp_path / "0010"),
    }


def test_a_directory_that_cannot_be_listed_is_reported(tmp_path, monkeypatch):
    def refuse(path):
        raise tf.errors.PermissionDeniedError(None, None, f"{path}; denied")

    # A mode of the directory would not stop the superuser.
    monkeypatch.setattr(tf.io.gfile, "listdir", refuse)
    with pytest.raises(ModelLoadError, match=r"cannot be listed: .*denied"):
        model_manager.list_versions(str(tmp_path))


# ---- What is loaded and retired ----


def test_a_new_version_takes_over_and_the_old_one_has_ended(publish, start):
    manager = start(publish(1))
    assert states(manager) == {1: "AVAILABLE"}
    publish(2, bonus=2)
    wait_until(lambda: states(manager) == {2: "AVAILABLE", 1: "END"})
    number, model = manager.find("m", None, None)
    assert (number, best_rating(model)) == (2, 6.5)
    with pytest.raises(RequestError, match=r"Specific\(m, 1\)"):
        manager.find("m", 1, None)
    (status,) = manager.statuses("m", 1)
    assert (status.error_code, status.error_message) == (Code.OK, "")


def test_a_version_in_use_stays_usable_once_retired(publish, start):
    manager = start(publish(1))
    _, model = manager.find("m", None, None)
    publish(2, bonus=2)
    wait_until(lambda: states(manager)[1] == "END")
    assert best_rating(model) == 5.5


def test_an_older_version_comes_back_when_the_newer_is_removed(publish, start):
    base_path = publish(1)
    publish(2, bonus=2)
    manager = start(base_path)
    assert states(manager) == {2: "AVAILABLE"}
    (base_path / "2").rename(base_path / ".withdrawn")
    wait_until(lambda: states(manager) == {2: "END", 1: "AVAILABLE"})


@pytest.mark.parametrize("leave_directory", [True, False])
def test_the_last_version_serves_on_without_its_files(
    publish, start, leave_directory
):
    base_path = publish(1)
    manager = start(base_path)
    shutil.rmtree(base_path / "1" if leave_directory else base_path)
    time.sleep(0.2)
    assert states(manager) == {1: "AVAILABLE"}
    publish(2)
    wait_until(lambda: states(manager) == {2: "AVAILABLE", 1: "END"})


def test_a_policy_serves_several_versions(publish, start):
    base_path = publish(1)
    publish(2, bonus=2)
    policy = VersionPolicy(num_newest=2)
    manager = start(ModelConfig("m", str(base_path), policy))
    assert manager.served() == {"m": [1, 2]}
    assert best_rating(manager.find("m", 1, None)[1]) == 5.5
    assert manager.find("m", None, None)[0] == 2
    publish(3)
    wait_until(
        lambda: states(manager) == {3: "AVAILABLE", 2: "AVAILABLE", 1: "END"}
    )


def test_a_server_that_does_not_poll_sees_nothing_new(publish, start):
    manager = start(publish(1), poll_wait_seconds=0)
    publish(2)
    time.sleep(0.2)
    assert states(manager) == {1: "AVAILABLE"}


# ---- Failures ----


def test_a_broken_version_ends_with_its_error_and_the_old_serves(
    publish, start
):
    base_path = publish(1)
    manager = start(base_path, max_num_load_retries=0)
    (base_path / "2").mkdir()
    wait_until(lambda: states(manager) == {2: "END", 1: "AVAILABLE"})
    newest, _ = manager.statuses("m", None)
    assert newest.error_code == Code.NOT_FOUND
    assert "2 does not hold a SavedModel" in newest.error_message
    assert manager.find("m", None, None)[0] == 1
    # A newer one is not held up.
    publish(3)
    wait_until(lambda: states(manager) == {3: "AVAILABLE", 2: "END", 1: "END"})


def test_a_version_that_arrives_in_parts_is_tried_again(
    publish, start, bonuses
):
    base_path = publish(1)
    manager = start(base_path, load_retry_interval_seconds=0.1)
    (base_path / "2").mkdir()
    wait_until(lambda: states(manager).get(2) == "LOADING")
    shutil.copytree(bonuses / "2", base_path / "2", dirs_exist_ok=True)
    wait_until(lambda: states(manager) == {2: "AVAILABLE", 1: "END"})


def test_a_broken_version_is_tried_a_number_of_times(
    publish, start, monkeypatch
):
    attempts = []

    class Broken(ModelVersion):
        def __init__(self, path):
            if path.endswith("2"):
                attempts.append(path)
                raise ModelLoadError("broken")
            super().__init__(path)

    monkeypatch.setattr(model_manager, "ModelVersion", Broken)
    base_path = publish(1)
    manager = start(
        base_path, max_num_load_retries=2, load_retry_interval_seconds=0.01
    )
    publish(2)
    wait_until(lambda: states(manager).get(2) == "END")
    time.sleep(0.2)
    assert len(attempts) == 3
    # Removed and published again, it is new.
    (base_path / "2").rename(base_path / ".withdrawn")
    wait_until(lambda: (time.sleep(0.1), len(attempts))[1] == 3)
    (base_path / ".withdrawn").rename(base_path / "2")
    wait_until(lambda: len(attempts) == 6)


def test_a_model_that_cannot_be_loaded_at_the_start_is_an_error(tmp_path):
    (tmp_path / "1").mkdir()
    manager = ModelManager([ModelConfig("m", str(tmp_path))])
    with pytest.raises(ModelLoadError, match="1 does not hold a SavedModel"):
        manager.start()


def test_specific_versions_that_are_not_there_are_an_error(publish):
    policy = VersionPolicy(specific=frozenset([8, 7]))
    manager = ModelManager([ModelConfig("m", str(publish(1)), policy)])
    with pytest.raises(ModelLoadError, match="none of the versions 7, 8"):
        manager.start()


# ---- Warm-up ----


def write_warmup(path, *logs):
    directory = path / "assets.extra"
    directory.mkdir()
    file = str(directory / "tf_serving_warmup_requests")
    with tf.io.TFRecordWriter(file) as writer:
        for log in logs:
            writer.write(log)


def warmup(request):
    return prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    ).SerializeToString()


def test_warmup_requests_are_run_before_a_version_is_served(
    publish, monkeypatch
):
    runs = []
    run = ModelVersion.run

    def note_run(self, name, inputs, output_names):
        runs.append(name)
        return run(self, name, inputs, output_names)

    monkeypatch.setattr(ModelVersion, "run", note_run)
    path = publish(1) / "1"
    write_warmup(
        path,
        warmup(predict_request()),
        # The name of the model is not looked at.
        warmup(predict_request("half", {"x": [1.0]}, name="")),
    )
    ModelVersion(str(path))
    assert runs == ["serving_default", "half"]


@pytest.mark.parametrize(
    ("logs", "message", "code"),
    [
        (
            [warmup(predict_request()), warmup(predict_request("decode"))],
            'warm-up request 2 fails: Serving signature key "decode" not found',
            Code.FAILED_PRECONDITION,
        ),
        (
            [
                warmup(
                    predict_request(
                        inputs={"item_ids": [["a"]], "ratings": [[1.0, 2.0]]}
                    )
                )
            ],
            "warm-up request 1 fails: assertion failed: .*must have the shape",
            Code.INVALID_ARGUMENT,
        ),
        (
            [prediction_log_pb2.PredictionLog().SerializeToString()],
            "record 1 is no predict request",
            Code.UNIMPLEMENTED,
        ),
        ([b"\xff"], "does not hold warm-up requests", Code.DATA_LOSS),
        (
            [warmup(predict_request("half", {"x": [1.0]}))] * 1001,
            "holds more than 1000 records",
            Code.INVALID_ARGUMENT,
        ),
    ],
    ids=[
        "an unknown signature",
        "refused by the model",
        "another log",
        "garbage",
        "too many",
    ],
)
def test_a_version_that_fails_its_warmup_is_not_loaded(
    publish, logs, message, code
):
    path = publish(1) / "1"
    write_warmup(path, *logs)
    with pytest.raises(ModelLoadError, match=message) as caught:
        ModelVersion(str(path))
    assert caught.value.code == code


def test_a_warmup_file_that_is_cut_off_is_not_loaded(publish):
    path = publish(1) / "1"
    write_warmup(path, warmup(predict_request()))
    file = path / "assets.extra" / "tf_serving_warmup_requests"
    os.truncate(file, 20)
    with pytest.raises(ModelLoadError, match="does not hold warm-up requests"):
        ModelVersion(str(path))


# ---- Digests ----


def write_digests(path):
    names = sorted(
        str(file.relative_to(path))
        for file in path.rglob("*")
        if file.is_file()
    )
    (path / "assets.extra").mkdir()
    subprocess.run(
        "sha256sum -- " + " ".join(names) + " > assets.extra/SHA256SUMS",
        cwd=path,
        shell=True,
        check=True,
    )


def test_a_version_with_the_files_it_lists_is_served(publish, start):
    base_path = publish(1)
    write_digests(base_path / "1")
    assert states(start(base_path, verify_digests=True)) == {1: "AVAILABLE"}


@pytest.mark.parametrize("name", ["saved_model.pb", "extra", "fingerprint.pb"])
def test_a_version_with_other_files_is_not_served(publish, name):
    path = publish(1) / "1"
    write_digests(path)
    if name == "fingerprint.pb":
        (path / name).unlink()
    else:
        with (path / name).open("ab") as file:
            file.write(b"x")
    manager = ModelManager(
        [ModelConfig("m", str(path.parent))], verify_digests=True
    )
    message = f"1: {name} is not what assets.extra/SHA256SUMS says"
    with pytest.raises(ModelLoadError, match=message) as caught:
        manager.start()
    assert caught.value.code == Code.DATA_LOSS


def test_a_version_without_a_list_cannot_be_checked(publish):
    manager = ModelManager(
        [ModelConfig("m", str(publish(1)))], verify_digests=True
    )
    with pytest.raises(ModelLoadError, match="1 cannot be checked: "):
        manager.start()


# ---- Labels and several models ----


def test_labels_name_versions(publish, start):
    base_path = publish(1)
    publish(2, bonus=2)
    everything = VersionPolicy(num_newest=None)
    labels = {"stable": 1, "canary": 2, "future": 9}
    manager = start(
        ModelConfig("m", str(base_path), everything, labels),
        allow_labels_for_unavailable=True,
    )
    assert manager.find("m", None, "stable")[0] == 1
    assert manager.find("m", None, "canary")[0] == 2
    with pytest.raises(RequestError, match=r"Specific\(m, 9\)") as caught:
        manager.find("m", None, "future")
    assert caught.value.code == Code.NOT_FOUND
    with pytest.raises(RequestError, match="Unrecognized servable version"):
        manager.find("m", None, "other")


def test_a_label_needs_a_version_that_is_served(publish, start):
    base_path = publish(1)
    config = ModelConfig("m", str(base_path), version_labels={"stable": 1})
    message = (
        "Request to assign label to version 1 of model m, which is not"
        " currently available for inference"
    )
    with pytest.raises(RequestError, match=message):
        ModelManager([config])

    manager = start(base_path)
    manager.reconfigure([config])
    assert manager.find("m", None, "stable")[0] == 1
    moved = ModelConfig("m", str(base_path), version_labels={"stable": 2})
    with pytest.raises(RequestError, match="label to version 2") as caught:
        manager.reconfigure([moved])
    assert caught.value.code == Code.FAILED_PRECONDITION
    assert manager.find("m", None, "stable")[0] == 1


def test_a_known_label_moves_to_served_versions_only(publish, start):
    base_path = publish(1)
    config = ModelConfig("m", str(base_path), version_labels={"stable": 1})
    manager = start(config, allow_labels_for_unavailable=True)
    moved = ModelConfig("m", str(base_path), version_labels={"stable": 2})
    with pytest.raises(RequestError, match="label to version 2"):
        manager.reconfigure([moved])


@pytest.mark.extended
def test_models_come_and_go_with_the_configuration(publish, start, tmp_path):
    first = ModelConfig("first", str(publish(1)))
    second = ModelConfig(
        "second", str(publish(7, 2, base_path=tmp_path / "second"))
    )
    manager = start(first)
    manager.reconfigure([first, second])
    assert manager.served() == {"first": [1], "second": [7]}
    manager.reconfigure([second])
    assert manager.served() == {"first": [], "second": [7]}
    assert states(manager, "first") == {1: "END"}
    with pytest.raises(RequestError, match=r"Latest\(first\)"):
        manager.find("first", None, None)
    broken = ModelConfig("broken", str(tmp_path / "nowhere"))
    with pytest.raises(RequestError, match=r"available: \{broken\}"):
        manager.reconfigure([second, broken])
    assert manager.served()["second"] == [7]


# ---- Through the server ----

CONFIG = """
model_config_list {{
  config {{
    name: "recommender"
    base_path: "{base_path}"
    model_platform: "tensorflow"
    model_version_policy {{ {policy} }}
    version_labels {{ key: "stable" value: 1 }}
    version_labels {{ key: "canary" value: {canary} }}
  }}
  config {{ name: "a/b" base_path: "{base_path}" }}
}}
"""


@pytest.mark.slow
def test_a_config_file_serves_models_under_labels_and_is_followed(
    publish, tmp_path
):
    base_path = publish(1)
    publish(2, bonus=2)
    file = tmp_path / "models.txt"
    file.write_text(
        CONFIG.format(base_path=base_path, policy="all {}", canary=2)
    )
    with run_local_server(
        f"--model_config_file={file}",
        "--model_config_file_poll_wait_seconds=1",
        "--allow_version_labels_for_unavailable_models",
    ) as server:
        assert server.greetings == [
            "Serving model 'recommender' version 1 and 2 at"
            f" http://127.0.0.1:{server.port}{MODEL}",
            "Serving model 'a/b' version 2 at"
            f" http://127.0.0.1:{server.port}/v1/models/a%2Fb",
            f"Serving gRPC at {server.grpc_address}",
        ]

        def best(target):
            status, answer = server.ask_json("POST", f"{target}:predict", ROWS)
            assert status == 200, answer
            return answer["predictions"][0]["predicted_ratings"][0]

        assert best(MODEL) == 6.5
        assert best(f"{MODEL}/labels/stable") == 5.5
        assert best(f"{MODEL}/labels/canary") == 6.5
        assert best("/v1/models/a%2Fb") == 6.5
        _, metadata = server.ask_json("GET", f"{MODEL}/labels/stable/metadata")
        assert metadata["model_spec"]["version"] == "1"
        with grpc.insecure_channel(server.grpc_address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            response = stub.Predict(predict_request(version_label="stable"))
            assert response.model_spec.version.value == 1
            assert to_lists(response)["predicted_ratings"][0][0] == 5.5

        # A file that says nothing useful changes nothing.
        file.write_text("nonsense")
        time.sleep(1.5)
        assert best(f"{MODEL}/labels/canary") == 6.5
        file.write_text(
            CONFIG.format(base_path=base_path, policy="all {}", canary=1)
        )
        wait_until(lambda: best(f"{MODEL}/labels/canary") == 5.5)


@pytest.mark.slow
def test_grpc_changes_the_models(publish, tmp_path):
    base_path = publish(1)
    other = publish(7, 2, base_path=tmp_path / "other")
    request = model_management_pb2.ReloadConfigRequest()
    for name, path in (("recommender", base_path), ("other", other)):
        request.config.model_config_list.config.add(
            name=name, base_path=str(path), model_platform="tensorflow"
        )
    with (
        run_server(base_path, "--file_system_poll_wait_seconds=0") as server,
        grpc.insecure_channel(server.grpc_address) as channel,
    ):
        service = model_service_pb2_grpc.ModelServiceStub(channel)
        response = service.HandleReloadConfigRequest(request)
        assert response.status.error_code == 0
        status, _ = server.ask_json("POST", "/v1/models/other:predict", ROWS)
        assert status == 200

        first, second = request.config.model_config_list.config
        first.version_labels["stable"] = 1
        service.HandleReloadConfigRequest(request)
        target = f"{MODEL}/labels/stable:predict"
        assert server.ask_json("POST", target, ROWS)[0] == 200
        first.version_labels["stable"] = 2
        with pytest.raises(grpc.RpcError) as caught:
            service.HandleReloadConfigRequest(request)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert caught.value.details() == (
            "Request to assign label to version 2 of model recommender, which"
            " is not currently available for inference"
        )

        second.base_path = ""
        with pytest.raises(grpc.RpcError, match="has no `base_path`"):
            service.HandleReloadConfigRequest(request)


@pytest.mark.slow
def test_the_status_tells_of_versions_that_arrive_in_parts_and_fail(
    publish, tmp_path
):
    base_path = publish(1)
    with run_server(base_path, "--load_retry_interval_micros=300000") as server:

        def wait_for(version, state):
            def is_newest():
                _, answer = server.ask_json("GET", MODEL)
                newest = answer["model_version_status"][0]
                status.update(newest["status"])
                return (newest["version"], newest["state"]) == (version, state)

            status = {}
            wait_until(is_newest)
            return status

        draft = publish(2, base_path=tmp_path / "drafts") / "2"
        (draft / "saved_model.pb").rename(base_path / "graph")
        draft.rename(base_path / "2")
        wait_for("2", "LOADING")
        (base_path / "graph").rename(base_path / "2" / "saved_model.pb")
        wait_for("2", "AVAILABLE")

        start = time.monotonic()
        (base_path / "3").mkdir()
        status = wait_for("3", "END")
        # It is tried five times more.
        assert time.monotonic() - start >= 5 * 0.3
        assert status["error_code"] == "NOT_FOUND"
        assert "does not hold a SavedModel" in status["error_message"]
        assert server.ask_json("POST", PREDICT, ROWS)[0] == 200


@pytest.mark.slow
def test_the_status_tells_of_versions_that_fail_their_warmup(publish, tmp_path):
    base_path = publish(1)
    good = warmup(predict_request("half", {"x": [1.0]}))
    write_warmup(base_path / "1", *[good] * 1000)
    write_warmup(publish(2) / "2", good, warmup(predict_request("decode")))
    write_warmup(publish(3) / "3", *[good] * 1001)
    file = tmp_path / "models.txt"
    file.write_text(
        f'model_config_list {{ config {{ name: "m" base_path: "{base_path}"'
        " model_version_policy { all {} } } }"
    )
    with run_local_server(
        f"--model_config_file={file}", "--max_num_load_retries=0"
    ) as server:
        _, answer = server.ask_json("GET", "/v1/models/m")
    path = "assets.extra/tf_serving_warmup_requests"
    assert [
        (each["version"], each["state"], *each["status"].values())
        for each in answer["model_version_status"]
    ] == [
        (
            "3",
            "END",
            "INVALID_ARGUMENT",
            f"{base_path}/3/{path} holds more than 1000 records.",
        ),
        (
            "2",
            "END",
            "FAILED_PRECONDITION",
            f"{base_path}/2/{path}: warm-up request 2 fails: Serving signature"
            ' key "decode" not found.',
        ),
        ("1", "AVAILABLE", "OK", ""),
    ]


@pytest.mark.slow
def test_labels_at_the_start_need_their_flag(publish, tmp_path):
    file = tmp_path / "models.txt"
    file.write_text(
        CONFIG.format(base_path=publish(1), policy="all {}", canary=1)
    )
    run = run_command("serving.local_server", "--model_config_file", file)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.splitlines()[-1] == (
        "error: Request to assign label to version 1 of model recommender,"
        " which is not currently available for inference. At the start no"
        " version is: --allow_version_labels_for_unavailable_models permits it."
    )


# ---- Under load ----


class Load:
    """Asks a server on both protocols, and remembers what was not right.

    A right answer is that of a version, whole: what a version predicts is its
    number plus 4 for the best unseen item.
    """

    def __init__(self, server):
        self._server = server
        self._stop = threading.Event()
        self.wrong = []
        self.num_answers = 0
        self.seen = set()

    def __enter__(self):
        self._pool = concurrent.futures.ThreadPoolExecutor(4)
        self._futures = [
            self._pool.submit(ask)
            for ask in [self._ask_rest, self._ask_grpc] * 2
        ]
        return self

    def __exit__(self, *_):
        self._stop.set()
        for future in self._futures:
            future.result()
        self._pool.shutdown()

    def _note(self, ratings):
        bonus = ratings[0] - 4.5
        if bonus in (1, 2) and ratings == [4.5 + bonus, 4 + bonus, 3.5 + bonus]:
            self.seen.add(bonus)
        else:
            self.wrong.append(ratings)
        self.num_answers += 1

    def _ask_rest(self):
        while not self._stop.wait(0.005):
            status, answer = self._server.ask_json("POST", PREDICT, ROWS)
            if status == 200:
                self._note(answer["predictions"][0]["predicted_ratings"])
            else:
                self.wrong.append(answer)

    def _ask_grpc(self):
        with grpc.insecure_channel(self._server.grpc_address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not self._stop.wait(0.005):
                try:
                    response = stub.Predict(predict_request(), timeout=30)
                except grpc.RpcError as error:
                    self.wrong.append(error)
                    continue
                self._note(to_lists(response)["predicted_ratings"][0])


def change_versions_under_load(publish, seconds, *flags):
    """Publishes good and broken versions for a while.

    Returns:
        The load, and the process's memory after some versions and at the end.
    """
    base_path = publish(1)
    memory = []
    flags = ("--max_num_load_retries=0", *flags)
    with run_server(base_path, *flags) as server:
        deadline = time.monotonic() + seconds
        with Load(server) as load:
            number = 1
            while time.monotonic() < deadline:
                number += 1
                if number % 3 == 0:
                    (base_path / str(number)).mkdir()
                    shutil.rmtree(base_path / str(number - 1))
                    continue
                publish(number, bonus=1 + number % 2)

                def is_served(number=number):
                    _, answer = server.ask_json("GET", MODEL)
                    statuses = answer["model_version_status"]
                    return [
                        each["version"]
                        for each in statuses
                        if each["state"] == "AVAILABLE"
                    ] == [str(number)]

                wait_until(is_served)
                memory.append(server.memory())
    return load, memory


@pytest.mark.extended
@pytest.mark.parametrize("flag", [[], ["--enable_batching"]])
def test_versions_change_under_load_without_a_wrong_answer(publish, flag):
    load, memory = change_versions_under_load(publish, 8, *flag)
    assert load.wrong == []
    assert load.seen == {1, 2}
    assert load.num_answers > 200
    assert len(memory) > 2


@pytest.mark.slow
def test_versions_change_for_ten_minutes_without_a_wrong_answer(publish):
    load, memory = change_versions_under_load(publish, 600)
    assert load.wrong == []
    assert load.seen == {1, 2}
    # What a version takes is given back: TensorFlow's caches grow slowly.
    assert memory[-1] < 1.5 * memory[len(memory) // 10]
