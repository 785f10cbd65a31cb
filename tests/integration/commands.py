"""Runs the project's commands as a user does: in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

#: A job that trains in seconds.
SMALL_JOB = (
    "--recipe=untaught",
    "--hidden-units=16,8",
    "--batch-size=40",
    "--num-epochs=3",
)


def start(module, *arguments, cwd=REPOSITORY, env=None, **kwargs):
    """Starts a command without a GPU and without Vertex AI's variables."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AIP_")
    }
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=cwd,
        env={**environment, "CUDA_VISIBLE_DEVICES": "", **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


def run(module, *arguments, **kwargs):
    """Runs a command to its end; returns exit code, output and errors."""
    process = start(module, *arguments, **kwargs)
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


def train(job_dir, data_dir, *flags):
    """Trains a job to its end; returns its directory."""
    code, _, errors = run(
        "trainer.task", "--job-dir", job_dir, "--data-dir", data_dir, *flags
    )
    assert code == 0, errors
    return job_dir


def error_line(errors):
    """Returns the one line in which a failed command tells its error."""
    assert "Traceback" not in errors, errors
    (line,) = [
        line for line in errors.splitlines() if line.startswith("error:")
    ]
    return line
