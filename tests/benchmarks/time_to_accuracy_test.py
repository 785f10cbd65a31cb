import pytest

from tests.benchmarks.commands import run_benchmark


@pytest.mark.slow
def test_the_count_ends_where_the_targets_are_reached(synthetic_data):
    _, quickstart, of_quickstart, ease, of_ease = run_benchmark(
        "time_to_accuracy",
        *("--data_dir", synthetic_data, "--models", "quickstart,ease"),
        *("--test_rmse", "10", "--test_ndcg", "0.1"),
    )
    seconds = quickstart["seconds"]
    assert of_quickstart["seconds_to_rmse"] == seconds > 0
    assert of_quickstart["seconds_to_ndcg"] == seconds
    # EASE ranks, and predicts no ratings.
    assert ease["test_rmse"] is None
    assert of_ease["seconds_to_rmse"] is None
    assert of_ease["seconds_to_ndcg"] == ease["seconds"]
