"""Serves a SavedModel on one machine as TensorFlow Serving does, over REST.

    python -m serving.local_server --model_name recommender \
        --model_base_path runs/quickstart/export --rest_api_port 8501

It stops on SIGTERM or Ctrl-C, once the requests it has begun are answered.
"""

import argparse
import os
import signal
import socket
import sys
import urllib.parse
from collections.abc import Sequence

import uvicorn

from serving.command_line import Parser, fail

# TensorFlow's start-up remarks about the processor say nothing to a user.
# Read by the library when it is loaded, so it is set before that.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def main(arguments: Sequence[str] | None = None) -> None:
    """Loads the newest version of the model and serves it until stopped."""
    flags = _parser().parse(arguments)
    # To be stopped, while loading or while serving, is no failure.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: sys.exit(0))
    host, port = flags.rest_api_host, flags.rest_api_port
    try:
        listener = _bind(host, port)
    except OSError as error:
        fail(f"cannot listen on {host}:{port}: {error.strerror}", exit_code=1)

    # Imported late: mistakes in flags and --help should not wait for
    # TensorFlow.
    from serving import model
    from serving.rest import RestApi

    try:
        number, path = model.find_newest_version(flags.model_base_path)
        versions = {number: model.ModelVersion(path)}
    except model.ModelLoadError as error:
        fail(f"--model_base_path: {error}", exit_code=1)

    app = RestApi(model.Models({flags.model_name: versions}))
    name_in_url = urllib.parse.quote(flags.model_name, safe="")
    url = f"http://{_netloc(listener)}/v1/models/{name_in_url}"
    _Server(
        uvicorn.Config(
            app,
            # Not what happens to be installed.
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
        ),
        greeting=(
            f"Serving model '{flags.model_name}' version {number} at {url}"
        ),
    ).run([listener])


class _Server(uvicorn.Server):
    """Says when it can be reached."""

    def __init__(self, config: uvicorn.Config, greeting: str):
        super().__init__(config)
        self._greeting = greeting

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self._greeting, flush=True)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m serving.local_server",
        description=(
            "Serves the newest version of a SavedModel as TensorFlow Serving"
            " does, over REST."
        ),
    )
    parser.add_argument(
        "--model_name", required=True, help="the model's name in URLs"
    )
    parser.add_argument(
        "--model_base_path",
        required=True,
        help="the directory that holds the numbered versions of the model",
    )
    parser.add_argument(
        "--rest_api_port",
        type=_port,
        default=8501,
        help="the port to listen on; 0 picks a free one (default: 8501)",
    )
    parser.add_argument(
        "--rest_api_host",
        default="127.0.0.1",
        help="the address to listen on (default: 127.0.0.1, this machine only)",
    )
    return parser


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(
            f"must be a number from 0 to 65535. Received: {text!r}"
        )
    return int(text)


def _bind(host: str, port: int) -> socket.socket:
    """Takes the port; connections are refused until the server listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off, which would cost every answer 40 ms,
    # only where the protocol is given.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


def _netloc(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


if __name__ == "__main__":
    main()
