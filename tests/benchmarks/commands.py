"""Runs benchmarks as people do."""

import json
import os
import subprocess
import sys


def run_benchmark(name, *flags, status=0, env=None):
    """Runs a benchmark to its end; returns the JSON lines that it printed."""
    process = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *flags],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(env or {})},
    )
    assert process.returncode == status, process.stderr
    return [json.loads(line) for line in process.stdout.splitlines()]
