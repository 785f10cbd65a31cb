"""One command leads to all others."""

import subprocess
import sys

import pytest

from deep_recommender.__main__ import COMMANDS

pytestmark = pytest.mark.integration


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "deep_recommender", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("arguments", [(), ("--help",), ("help",)])
def test_without_a_command_all_are_listed(arguments):
    result = run(*arguments)
    assert result.returncode == 0
    assert all(f"  {name} " in result.stdout for name in COMMANDS)


#: Each command, and what only its own help says.
HELP = {
    "prepare": "--ratings",
    "train": "--recipe",
    "evaluate": "--output",
    "compare": "--reference",
    "export": "--top_k",
    "score": "--candidates",
    "serve": "--rest_api_port",
    "ask": "recommend",
    "demo": "--job_dir",
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_reached_under_its_new_name(command):
    result = run(command, "--help")
    assert "Traceback" not in result.stderr
    assert HELP[command] in result.stdout


def test_an_unknown_command_is_named_with_those_there_are():
    result = run("tarin")
    assert result.returncode == 2
    assert result.stderr.startswith("error: unknown command 'tarin'")
    assert "train" in result.stderr


@pytest.mark.slow
def test_a_mistake_in_a_flag_is_one_line():
    result = run("train", "--job-dri", "x")
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("error: ")
