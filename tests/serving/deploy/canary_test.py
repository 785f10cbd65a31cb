"""Takes a canary forth and back with the files of serving/deploy."""

import concurrent.futures
import itertools
import shutil
import threading
import time

import pytest
import yaml

from tests.serving.processes import REPOSITORY, run_local_server
from tests.serving.small_model import write_model

DEPLOY = REPOSITORY / "serving/deploy"
MODEL = "/v1/models/recommender"
ROWS = {"instances": [{"item_ids": ["alien"], "ratings": [4]}]}
# What each version predicts for the best item, and none but it.
BEST_RATINGS = {1: 4.5, 2: 6.5}


@pytest.fixture
def publish(tmp_path):
    """Puts version 1 or 2 into place, in one step."""

    def publish_version(number):
        draft = tmp_path / f"draft-{number}"
        write_model(draft, bonus=2 * (number - 1))
        (tmp_path / "export").mkdir(exist_ok=True)
        draft.rename(tmp_path / "export" / str(number))

    return publish_version


@pytest.fixture
def use(tmp_path):
    """Copies a configuration over the one that the server follows."""
    directory = tmp_path / "config"
    shutil.copytree(DEPLOY / "config", directory)

    def use_config(name):
        text = (DEPLOY / f"config/{name}.config").read_text()
        draft = directory / "draft"
        draft.write_text(
            text.replace("/models/recommender", str(tmp_path / "export"))
        )
        draft.rename(directory / "models.config")

    return use_config


@pytest.fixture
def flags(tmp_path):
    """The flags of compose.yaml, for another directory and less patience."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return [
        flag.replace("=/config/", f"={tmp_path}/config/").replace(
            "poll_wait_seconds=30", "poll_wait_seconds=1"
        )
        for flag in services["cpu"]["command"]
        # Ports may be taken.
        if not flag.startswith(("--port=", "--rest_api_port="))
    ]


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in 30 s"
        time.sleep(0.02)


@pytest.mark.slow
def test_labels_follow_a_canary_its_promotion_and_its_rollback(
    publish, use, flags
):
    publish(1)
    use("models")
    with run_local_server(*flags) as server:

        def answering(target):
            """The version that answers, or the status if none does."""
            status, answer = server.ask_json("POST", f"{target}:predict", ROWS)
            if status != 200:
                return status
            best = answer["predictions"][0]["predicted_ratings"][0]
            (version,) = (v for v, b in BEST_RATINGS.items() if b == best)
            return version

        def labels():
            return {
                label: answering(f"{MODEL}/labels/{label}")
                for label in ("stable", "canary")
            }

        def loaded():
            _, answer = server.ask_json("GET", MODEL)
            return {
                int(each["version"])
                for each in answer["model_version_status"]
                if each["state"] == "AVAILABLE"
            }

        assert answering(MODEL) == 1
        assert labels() == {"stable": 400, "canary": 400}

        # The labels first: version 2 would else answer everybody at once.
        use("canary")
        wait_until(lambda: labels() == {"stable": 1, "canary": 404})
        is_over = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(1) as customer:

            def ask_on():
                answers = []
                while not is_over.is_set():
                    answers.append(answering(f"{MODEL}/labels/stable"))
                return answers

            answers = customer.submit(ask_on)
            try:
                publish(2)
                wait_until(lambda: labels() == {"stable": 1, "canary": 2})
                use("promotion")
                wait_until(lambda: labels() == {"stable": 2, "canary": 2})
                assert loaded() == {1, 2}
                use("rollback")
                wait_until(lambda: labels() == {"stable": 1, "canary": 1})
                wait_until(lambda: loaded() == {1})
                assert answering(MODEL) == 1
            finally:
                is_over.set()
        # Nobody who asked by label was refused or saw the canary too early.
        changes = [answer for answer, _ in itertools.groupby(answers.result())]
        assert changes == [1, 2, 1]
