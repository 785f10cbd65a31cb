"""Serves SavedModels on one machine as TensorFlow Serving does.

    python -m serving.local_server --model_name recommender \
        --model_base_path runs/quickstart/export \
        --rest_api_port 8501 --port 8500

It speaks TensorFlow Serving's REST and gRPC protocols and takes its flags. A
new version in the directory replaces the older one without a gap. SIGTERM and
Ctrl-C stop it once the requests in flight are answered.
"""

import argparse
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow_startup
from serving import http_listener
from serving.command_line import Parser, fail, port_number
from serving.local_server import config_files
from serving.local_server.config_files import (
    BatchingParameters,
    ConfigError,
    ModelConfig,
)

tensorflow_startup.install()


def main(arguments: Sequence[str] | None = None) -> None:
    """Loads the models and serves them until stopped."""
    parser = _make_parser()
    flags = parser.parse(arguments)
    if bool(flags.model_base_path) == bool(flags.model_config_file):
        parser.error("give either --model_base_path or --model_config_file")
    if flags.batching_parameters_file and not flags.enable_batching:
        parser.error("--batching_parameters_file needs --enable_batching")
    # Being stopped is no failure, neither while loading nor while serving.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: sys.exit(0))
    logging.basicConfig(format="%(message)s")
    logging.getLogger("serving").setLevel(logging.INFO)
    try:
        configs, batching, prometheus_path = _read_files(flags)
        listener = http_listener.bind(flags.host, flags.rest_api_port)
    except ConfigError as error:
        fail(str(error), exit_code=1)
    except OSError as error:
        fail(
            f"cannot listen on {flags.host}:{flags.rest_api_port}:"
            f" {error.strerror}",
            exit_code=1,
        )

    # Imported late, so that --help and errors in flags do not wait for
    # TensorFlow.
    from serving.local_server.errors import ModelLoadError, RequestError
    from serving.local_server.model_manager import ModelManager
    from serving.local_server.server import ServerOptions, serve

    try:
        manager = ModelManager(
            configs,
            poll_wait_seconds=flags.file_system_poll_wait_seconds,
            max_num_load_retries=flags.max_num_load_retries,
            load_retry_interval_seconds=flags.load_retry_interval_micros / 1e6,
            allow_labels_for_unavailable=(
                flags.allow_version_labels_for_unavailable_models
            ),
            verify_digests=flags.check_digests,
        )
    except RequestError as error:
        fail(
            f"{error.message}. At the start no version is:"
            " --allow_version_labels_for_unavailable_models permits it.",
            exit_code=1,
        )
    options = ServerOptions(
        host=flags.host,
        port=flags.port,
        batching=batching,
        prometheus_path=prometheus_path,
        model_config_file=flags.model_config_file,
        model_config_file_poll_wait_seconds=(
            flags.model_config_file_poll_wait_seconds
        ),
        rest_api_timeout_seconds=flags.rest_api_timeout_in_ms / 1e3,
        rest_api_enable_cors_support=flags.rest_api_enable_cors_support,
        enable_grpc_healthcheck_service=flags.enable_grpc_healthcheck_service,
        enable_serialization_as_tensor_content=(
            flags.enable_serialization_as_tensor_content
        ),
        max_body_bytes=flags.max_body_bytes,
        max_concurrent_requests=flags.max_concurrent_requests,
    )
    try:
        serve(manager, configs, listener, options)
    except (ModelLoadError, OSError) as error:
        fail(str(error), exit_code=1)


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


def _parse_switch(text: str) -> bool:
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(
            f"must be true or false. Received: {text!r}"
        )
    return text == "true"


# A switch: --flag, --flag=true or --flag=false.
_SWITCH: dict[str, Any] = {
    "type": _parse_switch,
    "nargs": "?",
    "const": True,
    "default": False,
    "metavar": "true|false",
}


def _make_parser() -> Parser:
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
        help="the name of the model in requests (default: default)",
    )
    models.add_argument(
        "--model_base_path",
        help="the directory that holds the numbered versions of the model",
    )
    models.add_argument(
        "--model_config_file",
        help=(
            "a ModelServerConfig in text format instead of the two flags above:"
            " several models, version policies, version labels"
        ),
    )
    models.add_argument(
        "--model_config_file_poll_wait_seconds",
        type=_number_from(0),
        default=0,
        help="time between two polls of that file (default: 0, read once)",
    )
    models.add_argument(
        "--allow_version_labels_for_unavailable_models",
        **_SWITCH,
        help=(
            "allow a label for a version that is not loaded yet; at the start"
            " none is"
        ),
    )
    models.add_argument(
        "--file_system_poll_wait_seconds",
        type=_number_from(0),
        default=1,
        help="time between two polls for versions; 0 polls once (default: 1)",
    )
    models.add_argument(
        "--max_num_load_retries",
        type=_number_from(0),
        default=5,
        help="how often a failed load is tried again (default: 5)",
    )
    models.add_argument(
        "--load_retry_interval_micros",
        type=_number_from(0),
        default=60_000_000,
        help="time between two attempts to load (default: 60000000, a minute)",
    )

    network = parser.add_argument_group("network")
    network.add_argument(
        "--rest_api_port",
        type=port_number,
        default=8501,
        help="the REST port; 0 picks a free one (default: 8501)",
    )
    network.add_argument(
        "--port",
        type=port_number,
        default=8500,
        help="the gRPC port; 0 picks a free one (default: 8500)",
    )
    network.add_argument(
        "--rest_api_timeout_in_ms",
        type=_number_from(1),
        default=30_000,
        help="the most time of a REST request (default: 30000)",
    )
    network.add_argument(
        "--rest_api_enable_cors_support",
        **_SWITCH,
        help="let web pages of other origins read the answers",
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
        help="a MonitoringConfig in text format, to enable the metrics",
    )

    batching = parser.add_argument_group("batching")
    batching.add_argument(
        "--enable_batching",
        **_SWITCH,
        help="run requests that wait together as one batch",
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
        help="load only versions whose files match their SHA256SUMS",
    )
    own.add_argument(
        "--max_body_bytes",
        type=_number_from(1),
        default=2**27,
        help=(
            "the size of the largest request, also once decompressed"
            f" (default: {2**27})"
        ),
    )
    own.add_argument(
        "--max_concurrent_requests",
        type=_number_from(1),
        default=1000,
        help="the most requests in flight (default: 1000)",
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


if __name__ == "__main__":
    main()
