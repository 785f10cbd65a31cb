"""A copy of the client alone runs on the standard library alone."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.serving.processes import REPOSITORY


@pytest.fixture(scope="module")
def run_client(tmp_path_factory):
    """Runs the command where nothing is installed but the client."""
    directory = tmp_path_factory.mktemp("standalone")
    for name in ("__init__.py", "protocol.py", "command_line.py", "client"):
        source = REPOSITORY / "serving" / name
        copy = directory / "serving" / name
        copy.parent.mkdir(exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy)

    def run(*arguments):
        return subprocess.run(
            # -S: without site-packages.
            [sys.executable, "-S", "-m", "serving.client", *arguments],
            cwd=directory,
            env={"PYTHONPATH": str(directory), "PYTHONUTF8": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_it_recommends_over_rest(run_client, server):
    run = run_client("recommend", "--url", server.url, "--rating=alien=4")
    assert (run.returncode, run.stderr) == (0, "")
    assert "brazil" in run.stdout


def test_it_reads_the_status_over_rest(run_client, server):
    run = run_client("status", "--url", server.url, "--json")
    assert (run.returncode, run.stderr) == (0, "")
    (version,) = json.loads(run.stdout)["versions"]
    assert version == {"version": 3, "state": "AVAILABLE", "error_message": ""}


def test_it_says_what_grpc_needs(run_client):
    run = run_client("status", "--url", "grpc://localhost:8500/m")
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith(
        "error: A grpc:// URL needs the packages grpcio and protobuf:"
    )
