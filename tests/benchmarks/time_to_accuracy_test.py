import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_count_ends_where_the_targets_are_reached(synthetic_data):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.time_to_accuracy"),
            *("--data_dir", synthetic_data, "--models", "quickstart,ease"),
            *("--test_rmse", "10", "--test_ndcg", "0.1"),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    _, quickstart, of_quickstart, ease, of_ease = map(
        json.loads, done.stdout.splitlines()
    )
    seconds = quickstart["seconds"]
    assert of_quickstart["seconds_to_rmse"] == seconds > 0
    assert of_quickstart["seconds_to_ndcg"] == seconds
    # EASE ranks, and predicts no ratings.
    assert ease["test_rmse"] is None
    assert of_ease["seconds_to_rmse"] is None
    assert of_ease["seconds_to_ndcg"] == ease["seconds"]
