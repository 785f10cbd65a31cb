"""Starts a server of this project in a process of its own."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

#: The name under which the model is served.
MODEL = "recommender"


class Server(NamedTuple):
    """A server that runs.

    Attributes:
        process_id: its process.
        url: where REST requests for the model go.
        rest_port: the port of these.
        grpc_address: where gRPC requests go.
    """

    process_id: int
    url: str
    rest_port: int
    grpc_address: str


@contextlib.contextmanager
def run_server(command: Sequence[str], base_path: str) -> Iterator[Server]:
    """Runs a server for the time of the block.

    Args:
        command: a module that takes the flags of `serving.local_server`, and
            flags besides.
        base_path: the directory of the model's versions.
    """
    with subprocess.Popen(
        [
            *(sys.executable, "-m", *command),
            f"--model_name={MODEL}",
            f"--model_base_path={base_path}",
            "--rest_api_port=0",
            "--port=0",
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            if process.stdout is None:
                raise RuntimeError("the server has no output")
            url = process.stdout.readline().split()[-1]
            address = process.stdout.readline().split()[-1]
            rest_port = int(url.split("/")[2].split(":")[1])
            yield Server(process.pid, url, rest_port, address)
        finally:
            process.send_signal(signal.SIGTERM)
