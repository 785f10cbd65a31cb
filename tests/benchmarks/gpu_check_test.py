"""The check of a GPU runs on a CPU, in little."""

import numpy as np
import pytest

from benchmarks.device_checks import measure_difference
from tests.benchmarks.commands import run_benchmark

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


@pytest.mark.slow
def test_every_check_passes_on_a_cpu(synthetic_data):
    lines = run_benchmark(
        "gpu_check", f"--data_dir={synthetic_data}", "--device=cpu"
    )
    assert [line for line in lines if line.get("passed") is False] == []
    assert {line["check"] for line in lines[:-1]} == {
        *("device", "agreement", "job", "precision", "catalog", "product"),
        *("copies", "input", "determinism"),
    }
    assert lines[-1]["verdict"] == "pass"
    again = [line for line in lines if line.get("job") in ("again", "killed")]
    assert [line["largest_difference_of_a_weight"] for line in again] == [0, 0]


@pytest.mark.slow
def test_without_a_gpu_it_says_so(synthetic_data):
    lines = run_benchmark(
        "gpu_check",
        f"--data_dir={synthetic_data}",
        status=3,
        env={"CUDA_VISIBLE_DEVICES": ""},
    )
    assert lines[-1]["verdict"] == "no GPU"
