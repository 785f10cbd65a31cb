"""Runs the commands of the package in processes of their own."""

import contextlib
import http.client
import json
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
    greetings: list[str]

    @property
    def url(self):
        """The URL of the first model."""
        return self.greetings[0].split()[-1]

    @property
    def port(self):
        return int(self.url.split("/")[2].rpartition(":")[2])

    @property
    def grpc_address(self):
        return self.greetings[-1].split()[-1]

    def memory(self):
        """Returns how many bytes of memory the process holds."""
        statm = Path("/proc", str(self.process.pid), "statm").read_text()
        return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def ask(self, method, target, body=None, headers=None):
        """Sends one REST request and returns the response and its body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, 30)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        with contextlib.closing(connection):
            connection.request(method, target, body, headers or {})
            response = connection.getresponse()
            return response, response.read()

    def ask_json(self, method, target, body=None, headers=None):
        """Sends one REST request and returns status and decoded answer."""
        response, content = self.ask(method, target, body, headers)
        assert response.headers["Content-Type"] == "application/json"
        return response.status, json.loads(content)


def run_server(base_path, *flags):
    """Yields a server of one model, and stops it."""
    return run_local_server(
        *("--model_name", "recommender"),
        *("--model_base_path", base_path),
        *flags,
    )


@contextlib.contextmanager
def run_local_server(*flags):
    """Yields a server that listens on ports of its own, and stops it."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "serving.local_server"),
            *("--rest_api_port", "0", "--port", "0"),
            *map(str, flags),
        ],
        cwd=REPOSITORY,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        ready, _, _ = select.select([process.stdout], [], [], 60)
        assert ready, "the server did not say that it listens"
        greetings = [process.stdout.readline().strip()]
        while greetings[-1] and "gRPC" not in greetings[-1]:
            greetings.append(process.stdout.readline().strip())
        yield Server(process, greetings)
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
