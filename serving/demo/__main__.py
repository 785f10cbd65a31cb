"""Serves a web page that demonstrates a trained model.

    python -m serving.demo --job_dir runs/quickstart

People rate titles on it and see what the model recommends, and why. The model
is the newest version that the job exported, or the one at `--url`, served by
TensorFlow Serving or `serving.local_server`. SIGTERM and Ctrl-C stop it.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

import uvicorn

from serving import http_listener
from serving.client import rest_transport
from serving.command_line import Parser, fail, port_number
from serving.demo.app import DemoApp
from serving.demo.catalog import read_catalog


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves the page until stopped."""
    parser = _make_parser()
    flags = parser.parse(arguments)
    if flags.url and not rest_transport.URL.fullmatch(flags.url):
        parser.error(
            "--url must be that of a model over REST, such as"
            " http://localhost:8501/v1/models/recommender. Received:"
            f" {flags.url!r}"
        )
    # Being stopped is no failure, neither while loading nor while serving.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: sys.exit(0))
    try:
        catalog = read_catalog(flags.job_dir)
        listener = http_listener.bind(flags.host, flags.port)
        listener.listen()
    except ValueError as error:
        fail(str(error), exit_code=1)
    except (OSError, OverflowError) as error:
        fail(
            f"cannot listen on {flags.host}:{flags.port}: {error}. --port"
            " takes another, 0 a free one.",
            exit_code=1,
        )
    with (
        contextlib.nullcontext(flags.url)
        if flags.url
        else _run_local_server(os.path.join(flags.job_dir, "export"))
    ) as url:
        server = uvicorn.Server(http_listener.configure(DemoApp(url, catalog)))
        host, port = http_listener.find_address(listener)
        sys.stdout.write(f"Asking {url}\nSee it at http://{host}:{port}/\n")
        sys.stdout.flush()
        server.run([listener])


def _make_parser() -> Parser:
    parser = Parser(
        prog="python -m serving.demo",
        description=(
            "Serves a web page on which people rate titles and see what the"
            " model recommends, and why."
        ),
    )
    parser.add_argument(
        "--job_dir",
        required=True,
        help="the directory of a trained job, with its titles and its model",
    )
    parser.add_argument(
        "--url",
        help="the URL of the model if it is served already, such as"
        " http://localhost:8501/v1/models/recommender",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen on (default: 127.0.0.1, this machine only)",
    )
    parser.add_argument(
        "--port",
        type=port_number,
        default=8502,
        help="the port of the page; 0 picks a free one (default: 8502)",
    )
    return parser


@contextlib.contextmanager
def _run_local_server(export_dir: str) -> Iterator[str]:
    """Runs a local server of an exported model, and yields its URL."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "serving.local_server"),
            *("--model_name", "recommender"),
            *("--model_base_path", export_dir),
            *("--rest_api_port", "0", "--port", "0"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        # Empty if the server ends without a greeting.
        greeting = process.stdout.readline() if process.stdout else ""
        if not greeting:
            # The server has printed the error.
            sys.exit(process.wait())
        yield greeting.split()[-1]
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
