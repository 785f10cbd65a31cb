"""Measures latency and throughput of the local server, over loopback.

    python -m benchmarks.serving [--num_items 17768] [--seconds 5] [...]

A model of the paper's size with random weights is exported and served by
processes of `serving.local_server`. It measures one user's recommendations from
the model itself, in Python's and in TensorFlow Serving's C++ loader, with and
without pauses, and those of many users at once; requests over REST at low
rates; and gRPC with enough callers to saturate the server: without the model
(its status), and, in turns, with and without batching. Then the same requests
go to the same server with `keras.Model.predict` instead of the exported model.
Prints JSON lines: one per measurement, in milliseconds or answers per second,
with the server's memory, and a summary last.

With a large catalog (--num_items 1000000) --nosaturate measures the latency
and the memory only.
"""

import contextlib
import gc
import http.client
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2

from benchmarks import grpc_callers
from benchmarks.recommend_signature import (
    make_requests,
    name_items,
    write_version,
)
from benchmarks.server_process import MODEL, Server, run_server
from export.cpp_loader import CppSavedModel
from serving import protocol
from serving.local_server import __main__ as local_server
from serving.local_server import model_manager
from serving.local_server.model import Arrays, ModelVersion
from trainer.model.autoencoder import AutoEncoder

_NUM_ITEMS = flags.DEFINE_integer("num_items", 17_768, "Catalog size.")
_SECONDS = flags.DEFINE_float(
    "seconds", 5, "Seconds per measurement.", lower_bound=1
)
_RATES = flags.DEFINE_multi_float(
    "rate", [25, 100], "Requests per second at low load.", upper_bound=1000
)
_CALLERS = flags.DEFINE_integer(
    "callers",
    256,
    "Concurrent callers that saturate the server.",
    upper_bound=1000,
)
_SATURATE = flags.DEFINE_boolean(
    "saturate", True, "Whether to saturate the server."
)
_PREDICT_MODEL = flags.DEFINE_string(
    "predict_model", None, "Internal: the Keras model to serve."
)

_HIDDEN_UNITS = (512, 512, 1024)
_NUM_RATED = 100
_TOP_K = 100
_BATCH_SIZE = 64
# As between a hundred requests per second, while others use the caches.
_PAUSE_SECONDS = 0.01
_ROUNDS = 5
_BATCHING = f"""
max_batch_size {{ value: {_BATCH_SIZE} }}
max_enqueued_batches {{ value: 1000 }}
num_batch_threads {{ value: 1 }}
"""
_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"


def main(arguments: list[str]) -> None:
    """Exports the model and measures everything."""
    if _PREDICT_MODEL.value:
        _serve_keras_model(_PREDICT_MODEL.value, arguments[1:])
        return
    with tempfile.TemporaryDirectory() as directory:
        base_path = os.path.join(directory, "export")
        keras_path = os.path.join(directory, "model.keras")
        _write_models(os.path.join(base_path, "1"), keras_path)
        _measure(directory, base_path, keras_path)


def _measure(directory: str, base_path: str, keras_path: str) -> None:
    path = os.path.join(base_path, "1")
    model = _measure_python_loader(path)
    gc.collect()
    _measure_cpp_loader(path)
    gc.collect()
    server = ["serving.local_server"]
    batching_file = os.path.join(directory, "batching.txt")
    with open(batching_file, "w", encoding="utf-8") as file:
        file.write(_BATCHING)
    batched_server = [
        *server,
        "--enable_batching",
        f"--batching_parameters_file={batching_file}",
    ]
    predict_server = [
        "benchmarks.serving",
        f"--predict_model={keras_path}",
        "--",
    ]

    with run_server(server, base_path) as address:
        rest = {
            f"{rate:g}": _measure_rest("unbatched", address, rate)
            for rate in _RATES.value
        }
    summary = {
        "benchmark": "serving",
        "measurement": "summary",
        "num_items": _NUM_ITEMS.value,
        "model_p50_ms": model["p50_ms"],
        "rest_p50_ms": {rate: each["p50_ms"] for rate, each in rest.items()},
        "rest_p99_ms": {rate: each["p99_ms"] for rate, each in rest.items()},
    }
    if _SATURATE.value:
        with run_server(predict_server, base_path) as address:
            _measure_rest("keras predict", address, _RATES.value[0])
        with run_server(server, base_path) as address:
            _measure_grpc("status", address, _STATUS)
        with (
            run_server(server, base_path) as unbatched,
            run_server(batched_server, base_path) as batched,
        ):
            rates = [
                (
                    _measure_grpc("unbatched", unbatched),
                    _measure_grpc("batched", batched),
                )
                for _ in range(_ROUNDS)
            ]
        with run_server(predict_server, base_path) as address:
            # It is so slow that a few callers saturate it.
            predict_rate = _measure_grpc(
                "keras predict", address, num_callers=8
            )
        ratios = [batched / unbatched for unbatched, batched in rates]
        summary["batched_over_unbatched"] = round(statistics.median(ratios), 2)
        summary["lowest"], summary["highest"] = (
            round(ratio, 2) for ratio in (min(ratios), max(ratios))
        )
        batched_rate = statistics.median(batched for _, batched in rates)
        summary["batched_over_predict"] = round(batched_rate / predict_rate, 1)
    print(json.dumps(summary), flush=True)


# ---- The models ----


def _write_models(path: str, keras_path: str) -> None:
    keras.utils.set_random_seed(2017)
    model = AutoEncoder(
        num_items=_NUM_ITEMS.value,
        hidden_units=_HIDDEN_UNITS,
        last_layer_activation=False,
    )
    write_version(
        path,
        model,
        num_items=_NUM_ITEMS.value,
        num_rated=_NUM_RATED,
        top_k=_TOP_K,
    )
    if _SATURATE.value:
        model.save(keras_path)
    del model
    gc.collect()


def _make_inputs(count: int) -> list[Arrays]:
    return make_requests(count, _NUM_ITEMS.value, _NUM_RATED)


def _serve_keras_model(keras_path: str, arguments: Sequence[str]) -> None:
    """Runs the local server with `keras.Model.predict` for the SavedModel."""
    keras_model = keras.models.load_model(keras_path)
    item_ids = [name.encode() for name in name_items(_NUM_ITEMS.value)]
    index_of_id = {item_id: index for index, item_id in enumerate(item_ids)}
    ids = np.array(item_ids, object)
    one_at_a_time = threading.Lock()

    class PredictVersion(ModelVersion):
        def run(
            self,
            signature_name: str,
            inputs: Arrays,
            output_names: Sequence[str],
        ) -> Arrays:
            rows = inputs[protocol.ITEM_IDS]
            indices = np.array(
                [[index_of_id[item_id] for item_id in row] for row in rows]
            )
            users = np.repeat(np.arange(len(rows)), indices.shape[1])
            order = np.lexsort([indices.ravel(), users])
            positions = np.stack([users, indices.ravel()], axis=1)[order]
            histories = tf.SparseTensor(
                positions,
                inputs[protocol.RATINGS].ravel()[order],
                [len(rows), len(ids)],
            )
            with one_at_a_time:
                predictions = keras_model.predict(histories, verbose=0)
            predictions[positions[:, 0], positions[:, 1]] = -np.inf
            best = np.argpartition(-predictions, _TOP_K)[:, :_TOP_K]
            ratings = np.take_along_axis(predictions, best, axis=1)
            by_rating = np.argsort(-ratings)
            best = np.take_along_axis(best, by_rating, axis=1)
            outputs = {
                protocol.ITEM_IDS: ids[best],
                protocol.PREDICTED_RATINGS: np.take_along_axis(
                    ratings, by_rating, axis=1
                ),
                protocol.NUM_KNOWN_ITEMS: np.full(
                    len(rows), rows.shape[1], np.int32
                ),
            }
            return {name: outputs[name] for name in output_names}

    # Nothing else of the server changes.
    model_manager.ModelVersion = PredictVersion
    local_server.main(arguments)


# ---- Measurements ----


def _measure_python_loader(path: str) -> dict[str, float]:
    """Measures the model alone, as the local server runs it."""
    version = ModelVersion(path)
    names = sorted(version.signature_defs[protocol.RECOMMEND].outputs)

    def run(inputs: Arrays) -> None:
        version.run(protocol.RECOMMEND, inputs, names)

    users = _make_inputs(_BATCH_SIZE)
    if _SATURATE.value:
        batch = {
            name: np.concatenate([each[name] for each in users])
            for name in users[0]
        }
        _report_latencies(
            "model alone",
            f"python loader, {_BATCH_SIZE} users at once",
            _time_calls(run, [batch]),
        )
    return _measure_users("python loader", run, users)


def _measure_cpp_loader(path: str) -> None:
    """Measures the model alone, as TensorFlow Serving loads it."""
    with tf.io.gfile.GFile(os.path.join(path, "saved_model.pb"), "rb") as file:
        saved_model = saved_model_pb2.SavedModel.FromString(file.read())
    signature = saved_model.meta_graphs[0].signature_def[protocol.RECOMMEND]
    fetches = [info.name for info in signature.outputs.values()]
    with contextlib.closing(CppSavedModel(path)) as loaded:

        def run(inputs: Arrays) -> None:
            loaded.run(
                {
                    signature.inputs[name].name: array
                    for name, array in inputs.items()
                },
                fetches,
            )

        _measure_users(
            "c++ loader through ctypes", run, _make_inputs(_BATCH_SIZE)
        )


def _measure_users(
    name: str, run: Callable[[Arrays], None], users: Sequence[Arrays]
) -> dict[str, float]:
    """Measures one user at a time, with and without pauses."""
    _report_latencies(
        "model alone",
        f"{name}, after pauses",
        _time_calls(run, users, pause=_PAUSE_SECONDS),
    )
    return _report_latencies("model alone", name, _time_calls(run, users))


def _time_calls(
    call: Callable[[Arrays], None], inputs: Sequence[Arrays], pause: float = 0
) -> list[float]:
    for each in inputs:
        call(each)
    seconds: list[float] = []
    end = time.monotonic() + _SECONDS.value / 2
    while time.monotonic() < end:
        start = time.perf_counter()
        call(inputs[len(seconds) % len(inputs)])
        seconds.append(time.perf_counter() - start)
        time.sleep(pause)
    return seconds


def _measure_rest(
    name: str, server: Server, requests_per_second: float
) -> dict[str, float]:
    """Sends REST requests one at a time, at a steady rate."""
    bodies = [
        json.dumps(
            {
                "instances": [
                    {
                        protocol.ITEM_IDS: each[protocol.ITEM_IDS][0].tolist(),
                        protocol.RATINGS: each[protocol.RATINGS][0].tolist(),
                    }
                ]
            }
        )
        for each in _make_inputs(20)
    ]
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, 60)
    seconds = []
    start = time.monotonic()
    num_warmups = 20
    num_requests = num_warmups + int(requests_per_second * _SECONDS.value)
    for number in range(num_requests):
        delay = start + number / requests_per_second - time.monotonic()
        time.sleep(max(0, delay))
        begin = time.perf_counter()
        connection.request(
            "POST",
            f"/v1/models/{MODEL}:predict",
            bodies[number % len(bodies)],
        )
        answer = connection.getresponse()
        content = answer.read()
        seconds.append(time.perf_counter() - begin)
        if answer.status != 200:
            raise RuntimeError(f"the server answered {content!r}")
    connection.close()
    return _report_latencies(
        "REST at low load",
        name,
        seconds[num_warmups:],
        requests_per_second=requests_per_second,
        server_megabytes=_peak_megabytes(server.process_id),
    )


def _measure_grpc(
    name: str,
    server: Server,
    method: str = _PREDICT,
    num_callers: int | None = None,
) -> float:
    """Sends gRPC requests as fast as the server answers.

    Returns:
        Answers per second.
    """
    num_callers = num_callers or _CALLERS.value
    requests = []
    for each in _make_inputs(200):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = MODEL
        # A status request begins the same; unknown fields are ignored.
        for key, array in each.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(array))
        requests.append(request.SerializeToString())
    callers = grpc_callers.Callers(
        server.grpc_address,
        method,
        requests,
        num_callers,
        check=_check if method == _PREDICT else lambda answer: None,
    )
    with contextlib.closing(callers):
        # A warm-up that is not counted.
        callers.call(0)
        cpu_before = _cpu_seconds(server.process_id)
        seconds, elapsed, own_cpu = callers.call(_SECONDS.value)
        server_cpu = _cpu_seconds(server.process_id) - cpu_before
    _report(
        "gRPC saturated",
        name,
        callers=num_callers,
        answers_per_second=round(len(seconds) / elapsed, 1),
        p50_ms=_percentile(seconds, 50),
        p99_ms=_percentile(seconds, 99),
        server_cpus=round(server_cpu / elapsed, 2),
        client_cpus=round(own_cpu / elapsed, 2),
        server_megabytes=_peak_megabytes(server.process_id),
    )
    return len(seconds) / elapsed


def _check(answer: bytes) -> None:
    response = predict_pb2.PredictResponse.FromString(answer)
    ratings = response.outputs[protocol.PREDICTED_RATINGS].float_val
    if len(ratings) != _TOP_K or list(ratings) != sorted(ratings, reverse=True):
        raise RuntimeError(f"the server answered {response}")


# ---- Processes ----


def _peak_megabytes(process_id: int) -> int:
    with open(f"/proc/{process_id}/status", encoding="utf-8") as file:
        (line,) = [line for line in file if line.startswith("VmHWM:")]
    return round(int(line.split()[1]) / 1024)


def _cpu_seconds(process_id: int) -> float:
    with open(f"/proc/{process_id}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---- Results ----


def _report_latencies(
    measurement: str, name: str, seconds: Sequence[float], **others: float
) -> dict[str, float]:
    return _report(
        measurement,
        name,
        requests=len(seconds),
        p50_ms=_percentile(seconds, 50),
        p99_ms=_percentile(seconds, 99),
        **others,
    )


def _percentile(seconds: Sequence[float], percent: float) -> float:
    return round(1e3 * float(np.percentile(seconds, percent)), 2)


def _report(measurement: str, name: str, **values: float) -> dict[str, float]:
    line = {
        "benchmark": "serving",
        "measurement": measurement,
        "of": name,
        "num_items": _NUM_ITEMS.value,
        **values,
    }
    print(json.dumps(line), flush=True)
    return values


if __name__ == "__main__":
    app.run(main)
