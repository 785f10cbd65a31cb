"""The check of a GPU runs on a CPU, in little."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.device_checks import measure_difference

ONES = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("actual", "passed"),
    [
        (ONES * 1.00001, True),
        (ONES * 1.001, False),
        (ONES * np.nan, False),
        (ONES[:1], False),
    ],
    ids=["rounded", "off", "NaN", "short"],
)
def test_a_difference_counts_relative_to_the_values(actual, passed):
    figures = measure_difference([ONES, actual * 1e6], [ONES, ONES * 1e6])
    assert figures["passed"] is passed


def run(*flags, env=None):
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_check", *flags],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(env or {})},
    )
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    return process.returncode, lines


@pytest.mark.slow
def test_every_check_passes_on_a_cpu(synthetic_data):
    code, lines = run(f"--data_dir={synthetic_data}", "--device=cpu")
    assert [line for line in lines if line.get("passed") is False] == []
    assert {line["check"] for line in lines[:-1]} == {
        *("device", "agreement", "job", "precision", "catalog", "product"),
        *("copies", "input", "determinism"),
    }
    assert lines[-1]["verdict"] == "pass"
    assert code == 0
    again = [line for line in lines if line.get("job") in ("again", "killed")]
    assert [line["largest_difference_of_a_weight"] for line in again] == [0, 0]


@pytest.mark.slow
def test_without_a_gpu_it_says_so(synthetic_data):
    code, lines = run(
        f"--data_dir={synthetic_data}", env={"CUDA_VISIBLE_DEVICES": ""}
    )
    assert code == 3
    assert lines[-1]["verdict"] == "no GPU"
