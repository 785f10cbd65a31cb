"""Runs the commands of the package in processes of their own."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]


class Server(NamedTuple):
    """A running `serving.local_server`."""

    process: subprocess.Popen
    greeting: str

    @property
    def url(self):
        return self.greeting.split()[-1]

    @property
    def port(self):
        return int(self.url.split("/")[2].rpartition(":")[2])


@contextlib.contextmanager
def run_server(base_path, *flags):
    """Yields a server that listens on a port of its own, and stops it."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "serving.local_server"),
            *("--model_name", "recommender"),
            *("--model_base_path", str(base_path)),
            *("--rest_api_port", "0"),
            *flags,
        ],
        cwd=REPOSITORY,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        ready, _, _ = select.select([process.stdout], [], [], 60)
        assert ready, "the server did not say that it listens"
        yield Server(process, process.stdout.readline().strip())
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def run_command(module, *arguments):
    """Runs a command of the package to its end."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
