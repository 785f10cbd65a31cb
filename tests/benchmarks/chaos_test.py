"""The chaos run kills for real, and its jobs end as if it had not."""

import pytest

from tests.benchmarks.commands import run_benchmark


@pytest.mark.slow
def test_killed_jobs_end_with_the_weights_of_one_left_in_peace():
    *lines, verdict = run_benchmark("chaos", "--minutes=0.5", "--num_epochs=5")
    assert verdict["verdict"] == "pass"
    killed = [line for line in lines if "killed" in line]
    assert len(killed) == verdict["kills"] >= 1
    assert verdict["largest_difference"] <= 1e-5
    assert verdict["failures"] == []
