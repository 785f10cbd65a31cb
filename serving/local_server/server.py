"""Serves models over REST and gRPC: assembles the server and runs it."""

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import socket
import sys
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf
import uvicorn
from grpc.aio import Server as GrpcServer  # type: ignore[import-untyped]

from serving import http_listener
from serving.local_server import config_files, grpc_api
from serving.local_server.batching import Batcher
from serving.local_server.config_files import (
    BatchingParameters,
    ConfigError,
    ModelConfig,
)
from serving.local_server.errors import RequestError
from serving.local_server.inference import InferenceRunner
from serving.local_server.model_manager import ModelManager
from serving.local_server.monitoring import Metrics
from serving.local_server.rest.api import RestApi

_LOGGER = logging.getLogger(__name__)

# Clients reuse connections; they should rarely find them closed.
_KEEP_ALIVE_SECONDS = 600
# A call that hangs must not keep the server from stopping.
_GRACE_SECONDS = 30


@dataclass(frozen=True)
class ServerOptions:
    """Options of a server, named as the flags of TensorFlow Serving.

    Args:
        host: the address to listen on for gRPC.
        port: the port of gRPC, 0 for a free one.
        batching: how to batch requests; None runs each alone.
        prometheus_path: the path of the metrics, or None not to publish them.
        model_config_file: the file to reload models from, or None.
        model_config_file_poll_wait_seconds: time between two polls of that
            file; 0 never polls.
        rest_api_timeout_seconds: the most time of a REST request.
        rest_api_enable_cors_support: whether web pages of other origins may
            read the answers.
        enable_grpc_healthcheck_service: whether to answer gRPC's probes.
        enable_serialization_as_tensor_content: whether to write the numbers of
            gRPC answers as `tensor_content`.
        max_body_bytes: the size of the largest request.
        max_concurrent_requests: the most requests in flight.
    """

    host: str
    port: int
    batching: BatchingParameters | None
    prometheus_path: str | None
    model_config_file: str | None
    model_config_file_poll_wait_seconds: int
    rest_api_timeout_seconds: float
    rest_api_enable_cors_support: bool
    enable_grpc_healthcheck_service: bool
    enable_serialization_as_tensor_content: bool
    max_body_bytes: int
    max_concurrent_requests: int


def serve(
    manager: ModelManager,
    configs: Sequence[ModelConfig],
    listener: socket.socket,
    options: ServerOptions,
) -> None:
    """Loads models and serves them until SIGTERM or SIGINT.

    Prints the address of each model once it is served. Requests that have
    begun are answered before it returns.

    Args:
        manager: the models to serve, not started yet.
        configs: the configuration that the manager was made with.
        listener: the bound socket of REST.
        options: the other options.

    Raises:
        ModelLoadError: if a model has no version that can be served.
        OSError: if the port of gRPC is in use.
    """
    _disable_xla()
    if options.batching is not None:
        _prefer_throughput()
    # While a model loads, requests should not wait for its thread for long.
    sys.setswitchinterval(0.001)
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        runner.run(_serve(manager, configs, listener, options))


async def _serve(
    manager: ModelManager,
    configs: Sequence[ModelConfig],
    listener: socket.socket,
    options: ServerOptions,
) -> None:
    runner = InferenceRunner(
        None if options.batching is None else Batcher(options.batching),
        options.max_concurrent_requests,
    )
    metrics = Metrics()
    grpc_server = grpc_api.create_server(
        manager,
        runner,
        metrics,
        max_body_bytes=options.max_body_bytes,
        as_tensor_content=options.enable_serialization_as_tensor_content,
        with_healthcheck=options.enable_grpc_healthcheck_service,
    )
    grpc_port = _bind_grpc(grpc_server, options.host, options.port)
    # What exists by now stays; only models come and go. Requests in flight are
    # many small objects that need not be searched for garbage all the time.
    gc.freeze()
    gc.set_threshold(10_000)
    manager.start()
    rest_api = RestApi(
        manager,
        runner,
        metrics,
        prometheus_path=options.prometheus_path,
        timeout_seconds=options.rest_api_timeout_seconds,
        max_body_bytes=options.max_body_bytes,
        with_cors=options.rest_api_enable_cors_support,
    )
    follower = asyncio.create_task(
        _follow_config_file(manager, configs, options)
    )
    try:
        await _Server(rest_api, grpc_server, manager, grpc_port).serve(
            [listener]
        )
    finally:
        follower.cancel()


class _Server(uvicorn.Server):
    """Starts both APIs, prints their addresses, and stops both gracefully."""

    def __init__(
        self,
        rest_api: RestApi,
        grpc_server: GrpcServer,
        manager: ModelManager,
        grpc_port: int,
    ):
        super().__init__(
            http_listener.configure(
                rest_api, timeout_keep_alive=_KEEP_ALIVE_SECONDS
            )
        )
        self._grpc_server = grpc_server
        self._grpc_port = grpc_port
        self._manager = manager

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        await self._grpc_server.start()
        (listener,) = sockets or []
        host, port = http_listener.find_address(listener)
        for name, versions in self._manager.served().items():
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
        await asyncio.to_thread(self._manager.stop)


async def _follow_config_file(
    manager: ModelManager,
    followed: Sequence[ModelConfig],
    options: ServerOptions,
) -> None:
    """Serves what the configuration file says whenever it changes."""
    path = options.model_config_file
    if not (path and options.model_config_file_poll_wait_seconds):
        return
    last_warning = ""
    while True:
        await asyncio.sleep(options.model_config_file_poll_wait_seconds)
        try:
            configs = await asyncio.to_thread(config_files.read_models, path)
            if configs == followed:
                continue
            await asyncio.to_thread(manager.reconfigure, configs)
            followed = configs
            _LOGGER.info("Following the new %s.", path)
        except (ConfigError, RequestError) as error:
            # Not once per poll.
            if str(error) != last_warning:
                _LOGGER.warning("%s is not followed: %s", path, error)
            last_warning = str(error)


def _bind_grpc(server: GrpcServer, host: str, port: int) -> int:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(
            f"cannot listen on {address}: is the port in use?"
        ) from error


def _new_event_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    # uvloop takes less time per call than asyncio's own loop.
    import uvloop

    return uvloop.new_event_loop()


def _disable_xla() -> None:
    """Makes functions with `jit_compile=True` fail, as in TensorFlow Serving.

    What works here should work there. Python has no name for the switch, so
    it is called by its C++ symbol, on Linux only.
    """
    if sys.platform != "linux":
        return
    library = os.path.join(
        os.path.dirname(tf.__file__), "libtensorflow_cc.so.2"
    )
    ctypes.CDLL(library)["_ZN10tensorflow21DisableXlaCompilationEv"]()


def _prefer_throughput() -> None:
    """Makes threads finish their work before another one is scheduled.

    gRPC's own thread wakes up for every message, and would take the processor
    from the thread that answers them 9,000 times per second; scheduled as a
    batch job it finds several messages at once. Later threads inherit this.
    """
    if sys.platform == "linux":
        # A sandbox may forbid it.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
