import asyncio
import concurrent.futures
import os
import random
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.local_server.batching import Batcher
from serving.local_server.config_files import BatchingParameters
from serving.local_server.errors import RequestError
from serving.protocol import Code
from tests.serving.messages import predict_request, to_lists
from tests.serving.processes import run_server

pytestmark = pytest.mark.integration

PREDICT = "/v1/models/recommender:predict"


class Doubler:
    """A model that notes the batches it gets, and can be held up."""

    def __init__(self):
        self.batches = []
        self.may_run = threading.Event()
        self.may_run.set()

    def run(self, signature_name, inputs, output_names):
        self.may_run.wait(30)
        self.batches.append(inputs["x"].tolist())
        if signature_name == "scalar":
            return {"y": np.array(1)}
        if signature_name == "short":
            return {"y": inputs["x"][1:]}
        if (inputs["x"] < 0).any():
            raise RequestError(Code.INVALID_ARGUMENT, "negative")
        return dict.fromkeys(output_names, inputs["x"] * 2)


def run_all(requests, signature_name="double", **parameters):
    """Runs requests that wait for the same thread.

    The first one occupies the only thread while the others come.

    Returns:
        The batches, and what became of each request.
    """
    model = Doubler()
    batcher = Batcher(
        BatchingParameters(**{"num_batch_threads": 1, **parameters})
    )

    async def run():
        model.may_run.clear()
        tasks = []
        for values in requests:
            inputs = {"x": np.array(values)}
            tasks.append(
                asyncio.ensure_future(
                    batcher.run(model, signature_name, inputs, ["y"])
                )
            )
            await asyncio.sleep(0)
        model.may_run.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = [
        answer if isinstance(answer, Exception) else answer["y"].tolist()
        for answer in asyncio.run(run())
    ]
    return model.batches, answers


def test_requests_that_wait_are_run_as_one():
    batches, answers = run_all([[1], [2], [3, 4], [5]])
    assert batches == [[1], [2, 3, 4, 5]]
    assert answers == [[2], [4], [6, 8], [10]]


def test_a_batch_is_no_larger_than_it_may_be():
    batches, answers = run_all([[1], [2], [3, 4], [5], [6]], max_batch_size=3)
    assert batches == [[1], [2, 3, 4], [5, 6]]
    assert answers == [[2], [4], [6, 8], [10], [12]]


def test_lists_of_different_length_never_meet():
    requests = [[[0]], [[1]], [[2, 3]], [[4]]]
    batches, answers = run_all(requests)
    assert batches == [[[0]], [[1], [4]], [[2, 3]]]
    assert answers == [[[0]], [[2]], [[4, 6]], [[8]]]


def test_a_batch_is_filled_up_to_an_allowed_size():
    batches, answers = run_all(
        [[1], [2], [3], [4]], max_batch_size=8, allowed_batch_sizes=(2, 4, 8)
    )
    assert batches == [[1, 1], [2, 3, 4, 4]]
    assert answers == [[2], [4], [6], [8]]


def test_a_request_is_told_of_its_own_mistakes_only():
    batches, answers = run_all([[1], [2], [-3], [4]])
    assert batches == [[1], [2, -3, 4], [2], [-3], [4]]
    assert answers[:2] + answers[3:] == [[2], [4], [8]]
    assert str(answers[2]) == "negative"


def test_a_request_waits_for_others_as_long_as_it_may():
    async def run():
        model = Doubler()
        batcher = Batcher(BatchingParameters(batch_timeout_micros=100_000))
        loop = asyncio.get_running_loop()
        start = loop.time()

        def ask(value):
            return batcher.run(model, "double", {"x": np.array([value])}, ["y"])

        await asyncio.gather(ask(1), ask(2))
        return model.batches, loop.time() - start

    batches, seconds = asyncio.run(run())
    assert batches == [[1, 2]]
    assert 0.1 <= seconds < 5


def test_a_full_batch_does_not_wait():
    async def run():
        model = Doubler()
        batcher = Batcher(
            BatchingParameters(max_batch_size=2, batch_timeout_micros=10**9)
        )
        inputs = {"x": np.array([1])}
        await asyncio.gather(
            *(batcher.run(model, "double", inputs, ["y"]) for _ in range(2))
        )
        return model.batches

    assert asyncio.run(run()) == [[1, 1]]


def test_nobody_runs_what_nobody_waits_for():
    async def run():
        model = Doubler()
        batcher = Batcher(BatchingParameters(num_batch_threads=1))
        model.may_run.clear()
        tasks = [
            asyncio.ensure_future(
                batcher.run(model, "double", {"x": np.array([value])}, ["y"])
            )
            for value in range(4)
        ]
        await asyncio.sleep(0.01)
        tasks[2].cancel()
        # It runs already.
        tasks[0].cancel()
        await asyncio.sleep(0)
        model.may_run.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert batcher._queues == {}
        return model.batches

    assert asyncio.run(run()) == [[0], [1, 3]]


@pytest.mark.parametrize(
    ("values", "signature_name", "code", "message"),
    [
        (
            3,
            "double",
            Code.INVALID_ARGUMENT,
            "Batching Run() input tensors must have at least one dimension",
        ),
        (
            [1] * 5,
            "double",
            Code.INVALID_ARGUMENT,
            "Task size 5 is larger than maximum input batch size 4",
        ),
        (
            [1],
            "scalar",
            Code.FAILED_PRECONDITION,
            "Batched output tensor has 0 dimensions",
        ),
        (
            [1],
            "short",
            Code.FAILED_PRECONDITION,
            "Batched output tensor's 0th dimension does not equal the sum of"
            " the 0th dimension sizes of the input tensors",
        ),
    ],
    ids=["a scalar", "too many rows", "a scalar output", "a short output"],
)
def test_what_cannot_be_batched_is_refused(
    values, signature_name, code, message
):
    _, (answer,) = run_all([values], signature_name, max_batch_size=4)
    assert (answer.code, answer.message) == (code, message)


def test_inputs_of_different_size_are_refused():
    inputs = {"x": np.array([1]), "z": np.array([1, 2])}
    batcher = Batcher(BatchingParameters())
    with pytest.raises(RequestError, match="equal 0th-dimension size"):
        asyncio.run(batcher.run(Doubler(), "double", inputs, ["y"]))


def test_a_request_without_rows_is_answered_at_once():
    _, answers = run_all([[]], batch_timeout_micros=10**9)
    assert answers == [[]]


def test_a_full_queue_is_refused():
    _, answers = run_all(
        [[1], [2, 3], [4, 5], [6]], max_batch_size=2, max_enqueued_batches=2
    )
    assert answers[:3] == [[2], [4, 6], [8, 10]]
    assert answers[3].code == Code.UNAVAILABLE
    assert answers[3].message == (
        "The batch scheduling queue to which this task was submitted is full"
    )


# ---- Through the server ----


@pytest.fixture(scope="module")
def batching_server(model_base_path, tmp_path_factory):
    """A server that batches all that comes in 20 ms."""
    file = tmp_path_factory.mktemp("config") / "batching.txt"
    file.write_text(
        "max_batch_size { value: 16 } batch_timeout_micros { value: 20000 }"
    )
    with run_server(
        model_base_path,
        "--enable_batching",
        f"--batching_parameters_file={file}",
    ) as running:
        yield running


@pytest.mark.extended
def test_grpcs_threads_do_not_interrupt_a_batching_server(
    server, batching_server
):
    def scheduling(running):
        threads = Path("/proc", str(running.process.pid), "task").iterdir()
        names = {
            int(thread.name): (thread / "comm").read_text().strip()
            for thread in threads
        }
        return {
            os.sched_getscheduler(thread)
            for thread, name in names.items()
            if name == "event_engine" or thread == running.process.pid
        }

    assert scheduling(batching_server) == {os.SCHED_BATCH}
    assert scheduling(server) == {os.SCHED_OTHER}


def test_batched_answers_are_those_of_single_requests(server, batching_server):
    generator = random.Random(5)
    items = ["alien", "brazil", "cube", "été à 東京", "nobody"]
    requests = []
    for _ in range(150):
        length = generator.choice([0, 1, 1, 2, 3])
        rows = [
            {
                "item_ids": generator.choices(items, k=length),
                "ratings": [generator.randrange(9) / 2 for _ in range(length)],
            }
            for _ in range(generator.choice([1, 1, 2, 5]))
        ]
        requests.append(rows)

    def ask_rest(rows):
        return batching_server.ask_json("POST", PREDICT, {"instances": rows})

    with grpc.insecure_channel(batching_server.grpc_address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def ask_grpc(rows):
            inputs = {
                "item_ids": np.array([row["item_ids"] for row in rows], object),
                "ratings": np.array(
                    [row["ratings"] for row in rows], np.float32
                ),
            }
            return to_lists(stub.Predict(predict_request(inputs=inputs)))

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            rest = pool.map(ask_rest, requests)
            rpc = pool.map(ask_grpc, requests)
            answers = list(zip(requests, rest, rpc, strict=True))
    for rows, (status, by_rest), by_grpc in answers:
        assert (status, by_rest) == server.ask_json(
            "POST", PREDICT, {"instances": rows}
        )
        expected = [row["predicted_ratings"] for row in by_rest["predictions"]]
        np.testing.assert_array_equal(
            np.array(by_grpc["predicted_ratings"], np.float32),
            np.array(expected, np.float32),
        )


def test_the_server_refuses_what_tensorflow_serving_cannot_batch(
    batching_server,
):
    def refusal(signature_name, inputs):
        body = {"signature_name": signature_name, "inputs": inputs}
        return batching_server.ask_json("POST", PREDICT, body)

    assert refusal("half", 1) == (
        400,
        {
            "error": "Batching Run() input tensors must have at least one"
            " dimension"
        },
    )
    assert refusal("half", [1] * 17) == (
        400,
        {"error": "Task size 17 is larger than maximum input batch size 16"},
    )
    assert refusal("total", [1, 2]) == (
        400,
        {"error": "Batched output tensor has 0 dimensions"},
    )
    assert refusal("half", []) == (200, {"outputs": []})
