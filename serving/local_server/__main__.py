"""Serves SavedModels on one machine as TensorFlow Serving does.

    python -m serving.local_server --model_name recommender \
        --model_base_path runs/quickstart/export \
        --rest_api_port 8501 --port 8500

It speaks TensorFlow Serving's REST and gRPC protocols and takes its flags. New
versions in the directory replace older ones without a gap. It stops on SIGTERM
or Ctrl-C, once the requests it has begun are answered.
"""

import argparse
import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import urllib.parse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import uvicorn

from serving import http_listener as listening
from serving.command_line import Parser, fail, port_number
from serving.local_server import config_files
from serving.local_server.config_files import (
    BatchingParameters,
    ConfigError,
    ModelConfig,
)

if TYPE_CHECKING:
    from grpc.aio import Server as GrpcServer  # type: ignore[import-untyped]

    from serving.local_server.model_manager import Models
    from serving.local_server.rest_api import RestApi

# TensorFlow's start-up remarks about the processor say nothing to a user.
# Read by the library when it is loaded, so it is set before that.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_LOGGER = logging.getLogger(__name__)

# Clients keep connections to use them again; they should not find them closed.
_KEEP_ALIVE_SECONDS = 600
# Calls that watch or wait must not keep the server from stopping.
_GRACE_SECONDS = 30


def main(arguments: Sequence[str] | None = None) -> None:
    """Loads the models and serves them until stopped."""
    parser = _parser()
    flags = parser.parse(arguments)
    if bool(flags.model_base_path) == bool(flags.model_config_file):
        parser.error("give either --model_base_path or --model_config_file")
    if flags.batching_parameters_file and not flags.enable_batching:
        parser.error("--batching_parameters_file needs --enable_batching")
    # To be stopped, while loading or while serving, is no failure.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: sys.exit(0))
    logging.basicConfig(format="%(message)s")
    logging.getLogger("serving").setLevel(logging.INFO)
    try:
        configs, batching, prometheus_path = _read_files(flags)
        listener = listening.bind(flags.host, flags.rest_api_port)
    except ConfigError as error:
        fail(str(error), exit_code=1)
    except OSError as error:
        fail(
            f"cannot listen on {flags.host}:{flags.rest_api_port}:"
            f" {error.strerror}",
            exit_code=1,
        )
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        runner.run(_serve(flags, configs, batching, prometheus_path, listener))


def _new_event_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    # A call takes less of it than of asyncio's own.
    import uvloop

    return uvloop.new_event_loop()


def _read_files(
    flags: argparse.Namespace,
) -> tuple[list[ModelConfig], BatchingParameters | None, str | None]:
    if flags.model_config_file:
        configs = config_files.read_models(flags.model_config_file)
    else:
        configs = [ModelConfig(flags.model_name, flags.model_base_path)]
    batching = None
    if flags.enable_batching:
        batching = BatchingParameters()
        if flags.batching_parameters_file:
            batching = config_files.read_batching_parameters(
                flags.batching_parameters_file
            )
    prometheus_path = None
    if flags.monitoring_config_file:
        prometheus_path = config_files.read_prometheus_path(
            flags.monitoring_config_file
        )
    return configs, batching, prometheus_path


async def _serve(
    flags: argparse.Namespace,
    configs: Sequence[ModelConfig],
    batching: BatchingParameters | None,
    prometheus_path: str | None,
    listener: socket.socket,
) -> None:
    # Imported late: mistakes in flags and --help should not wait for
    # TensorFlow.
    from serving.local_server import grpc_api
    from serving.local_server.batching import Batcher
    from serving.local_server.model import ModelLoadError
    from serving.local_server.model_manager import Models
    from serving.local_server.monitoring import Metrics
    from serving.local_server.rest_api import RestApi
    from serving.local_server.runner import Runner
    from serving.protocol import RequestError

    _disable_xla()
    if batching is not None:
        _prefer_throughput()
    # Loading models must not keep requests waiting for long.
    sys.setswitchinterval(0.001)
    try:
        models = Models(
            configs,
            poll_wait_seconds=flags.file_system_poll_wait_seconds,
            max_num_load_retries=flags.max_num_load_retries,
            load_retry_interval_seconds=flags.load_retry_interval_micros / 1e6,
            allow_labels_for_unavailable=(
                flags.allow_version_labels_for_unavailable_models
            ),
            with_digests=flags.check_digests,
        )
    except RequestError as error:
        fail(
            f"{error.message}. At the start no version is:"
            " --allow_version_labels_for_unavailable_models permits it.",
            exit_code=1,
        )
    runner = Runner(
        None if batching is None else Batcher(batching),
        flags.max_concurrent_requests,
    )
    metrics = Metrics()
    grpc_server = grpc_api.create_server(
        models,
        runner,
        metrics,
        max_body_bytes=flags.max_body_bytes,
        as_tensor_content=flags.enable_serialization_as_tensor_content,
        with_healthcheck=flags.enable_grpc_healthcheck_service,
    )
    grpc_port = _bind_grpc(grpc_server, flags.host, flags.port)
    # What is there by now stays: only models come and go. Requests under way
    # are many small objects, and are not to be searched for garbage all the
    # time.
    gc.freeze()
    gc.set_threshold(10_000)
    try:
        models.start()
    except ModelLoadError as error:
        fail(str(error), exit_code=1)

    rest_api = RestApi(
        models,
        runner,
        metrics,
        prometheus_path=prometheus_path,
        timeout_seconds=flags.rest_api_timeout_in_ms / 1e3,
        max_body_bytes=flags.max_body_bytes,
        with_cors=flags.rest_api_enable_cors_support,
    )
    following = asyncio.create_task(_follow_config_file(flags, configs, models))
    try:
        await _Server(rest_api, grpc_server, models, grpc_port).serve(
            [listener]
        )
    finally:
        following.cancel()


class _Server(uvicorn.Server):
    """Serves both protocols, says where, and stops both gracefully."""

    def __init__(
        self,
        rest_api: "RestApi",
        grpc_server: "GrpcServer",
        models: "Models",
        grpc_port: int,
    ):
        super().__init__(
            listening.configure(
                rest_api, timeout_keep_alive=_KEEP_ALIVE_SECONDS
            )
        )
        self._grpc_server = grpc_server
        self._grpc_port = grpc_port
        self._models = models

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        await self._grpc_server.start()
        (listener,) = sockets or []
        host, port = listening.find_address(listener)
        for name, versions in self._models.served().items():
            url = (
                f"http://{host}:{port}/v1/models/"
                f"{urllib.parse.quote(name, safe='')}"
            )
            numbers = " and ".join(map(str, versions))
            print(f"Serving model '{name}' version {numbers} at {url}")
        print(f"Serving gRPC at {host}:{self._grpc_port}", flush=True)

    async def shutdown(
        self, sockets: list[socket.socket] | None = None
    ) -> None:
        await asyncio.gather(
            super().shutdown(sockets), self._grpc_server.stop(_GRACE_SECONDS)
        )
        await asyncio.to_thread(self._models.stop)


def _disable_xla() -> None:
    """Lets functions with `jit_compile=True` fail, as TensorFlow Serving does.

    What works here should work there. Python has no name for the switch, so it
    is reached by the one that C++ gives it, on Linux.
    """
    if sys.platform != "linux":
        return
    import tensorflow as tf

    library = os.path.join(
        os.path.dirname(tf.__file__), "libtensorflow_cc.so.2"
    )
    ctypes.CDLL(library)["_ZN10tensorflow21DisableXlaCompilationEv"]()


def _prefer_throughput() -> None:
    """Lets a thread that has something to do finish before the next one.

    gRPC has a thread that wakes up for every message. It would take the
    processor from the thread that answers them 9,000 times a second; this way
    it finds several at once. Threads that start later inherit it.
    """
    if sys.platform == "linux":
        # A sandbox may forbid it.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


async def _follow_config_file(
    flags: argparse.Namespace, followed: Sequence[ModelConfig], models: "Models"
) -> None:
    """Serves what --model_config_file says from now on."""
    path = flags.model_config_file
    if not (path and flags.model_config_file_poll_wait_seconds):
        return
    from serving.protocol import RequestError

    complaint = ""
    while True:
        await asyncio.sleep(flags.model_config_file_poll_wait_seconds)
        try:
            configs = await asyncio.to_thread(config_files.read_models, path)
            if configs == followed:
                continue
            await asyncio.to_thread(models.reconfigure, configs)
            followed = configs
            _LOGGER.info("Following the new %s.", path)
        except (ConfigError, RequestError) as error:
            # Once is enough.
            if str(error) != complaint:
                _LOGGER.warning("%s is not followed: %s", path, error)
            complaint = str(error)


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(
            f"must be true or false. Received: {text!r}"
        )
    return text == "true"


# A flag that is given as --flag, --flag=true or --flag=false.
_SWITCH: dict[str, Any] = {
    "type": _truth,
    "nargs": "?",
    "const": True,
    "default": False,
    "metavar": "true|false",
}


def _parser() -> Parser:
    parser = Parser(
        prog="python -m serving.local_server",
        description=(
            "Serves SavedModels as TensorFlow Serving does, over REST and gRPC."
        ),
    )
    models = parser.add_argument_group("models")
    models.add_argument(
        "--model_name",
        default="default",
        help="the model's name in requests (default: default)",
    )
    models.add_argument(
        "--model_base_path",
        help="the directory that holds the numbered versions of the model",
    )
    models.add_argument(
        "--model_config_file",
        help=(
            "instead of the two above, a ModelServerConfig in text format:"
            " several models, version policies, version labels"
        ),
    )
    models.add_argument(
        "--model_config_file_poll_wait_seconds",
        type=_number_from(0),
        default=0,
        help="time between two looks at that file (default: 0, one look)",
    )
    models.add_argument(
        "--allow_version_labels_for_unavailable_models",
        **_SWITCH,
        help=(
            "allow a new label for a version that is not loaded yet, as none is"
            " at the start"
        ),
    )
    models.add_argument(
        "--file_system_poll_wait_seconds",
        type=_number_from(0),
        default=1,
        help="time between two looks for versions; 0 for one look (default: 1)",
    )
    models.add_argument(
        "--max_num_load_retries",
        type=_number_from(0),
        default=5,
        help="how often a load that failed is tried again (default: 5)",
    )
    models.add_argument(
        "--load_retry_interval_micros",
        type=_number_from(0),
        default=60_000_000,
        help="time between two tries (default: 60000000, a minute)",
    )

    network = parser.add_argument_group("network")
    network.add_argument(
        "--rest_api_port",
        type=port_number,
        default=8501,
        help="the port of REST; 0 picks a free one (default: 8501)",
    )
    network.add_argument(
        "--port",
        type=port_number,
        default=8500,
        help="the port of gRPC; 0 picks a free one (default: 8500)",
    )
    network.add_argument(
        "--rest_api_timeout_in_ms",
        type=_number_from(1),
        default=30_000,
        help="how long a REST request may take (default: 30000)",
    )
    network.add_argument(
        "--rest_api_enable_cors_support",
        **_SWITCH,
        help="let web pages from elsewhere read the answers",
    )
    network.add_argument(
        "--enable_grpc_healthcheck_service",
        **_SWITCH,
        help="answer grpc.health.v1.Health/Check",
    )
    network.add_argument(
        "--enable_serialization_as_tensor_content",
        **_SWITCH,
        help="write the numbers of gRPC answers as tensor_content",
    )
    network.add_argument(
        "--monitoring_config_file",
        help="a MonitoringConfig in text format, which turns the metrics on",
    )

    batching = parser.add_argument_group("batching")
    batching.add_argument(
        "--enable_batching",
        **_SWITCH,
        help="run requests that wait at the same time as one",
    )
    batching.add_argument(
        "--batching_parameters_file", help="BatchingParameters in text format"
    )

    own = parser.add_argument_group("not TensorFlow Serving's")
    own.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen on (default: 127.0.0.1, this machine only)",
    )
    own.add_argument(
        "--check_digests",
        **_SWITCH,
        help="load only versions whose files are those in their SHA256SUMS",
    )
    own.add_argument(
        "--max_body_bytes",
        type=_number_from(1),
        default=2**27,
        help=(
            "the size of the largest request, also once unpacked"
            f" (default: {2**27})"
        ),
    )
    own.add_argument(
        "--max_concurrent_requests",
        type=_number_from(1),
        default=1000,
        help="how many requests may be under way (default: 1000)",
    )
    return parser


def _number_from(minimum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isdecimal() and minimum <= int(text) < 2**31):
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {minimum}. Received: {text!r}"
            )
        return int(text)

    return parse


def _bind_grpc(server: "GrpcServer", host: str, port: int) -> int:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        return server.add_insecure_port(address)
    except RuntimeError:
        fail(f"cannot listen on {address}: is the port in use?", exit_code=1)


if __name__ == "__main__":
    main()
