"""The ablation divides users cleanly and goes on where it was stopped."""

import json

import numpy as np
import pytest

from benchmarks.ablation import Rows, divide_users
from data_prep.dataset.manifest import read_manifest
from tests.benchmarks.commands import run_benchmark
from trainer.teachers.training_ratings import read_training_ratings


def test_users_are_divided_and_items_know_seen_users_alone(
    synthetic_data, tmp_path
):
    data = divide_users(synthetic_data, str(tmp_path), share=0.3)
    whole = read_manifest(synthetic_data)
    seen, unseen = data.seen.manifest, data.unseen.manifest
    assert min(seen.num_users, unseen.num_users) > 0
    assert seen.num_users + unseen.num_users == whole.num_users
    for subset, num_ratings in whole.num_ratings.items():
        assert (
            seen.num_ratings[subset] + unseen.num_ratings[subset] == num_ratings
        )
    ratings = read_training_ratings(data.seen.data_dir)
    np.testing.assert_array_equal(
        data.seen.items.counts,
        np.bincount(ratings.items, minlength=ratings.num_items),
    )


def test_a_line_is_written_once(tmp_path, capsys):
    path = str(tmp_path / "rows.jsonl")
    Rows(path).add("paper", 0, {"rmse": 0.9})
    again = Rows(path)
    again.add("paper", 0, {"rmse": 0.8})
    again.add("paper", 1, {"rmse": 1.0})
    capsys.readouterr()
    again.summarize()
    summary = json.loads(capsys.readouterr().out)
    assert summary["num_seeds"] == 2
    assert summary["rmse"] == [0.95, 0.07071]


@pytest.mark.slow
def test_a_finished_ablation_prints_its_summaries_alone(
    synthetic_data, tmp_path
):
    def run():
        return run_benchmark(
            "ablation",
            *("--data_dir", synthetic_data, "--work_dir", str(tmp_path)),
            *("--seeds", "0", "--num_epochs", "1"),
        )

    first, second = run(), run()
    summaries = [row for row in first if row["benchmark"] != "ablation"]
    assert len(summaries) == len(first) / 2 == len(second)
    assert second == summaries
