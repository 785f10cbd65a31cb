"""The paper's experiments are listed, summarized and gone on with."""

import json
import subprocess
import sys

import pytest

from benchmarks.paper_claims import CLAIMS, list_settings, summarize


def test_every_setting_is_one_that_a_job_can_have():
    settings = list(list_settings(CLAIMS, num_epochs=2, teaches=True))
    assert {claim for claim, *_ in settings} == CLAIMS.keys()
    assert all(config.num_epochs == 2 for *_, config in settings)
    depths = [
        len(config.hidden_units)
        for claim, _, base, config in settings
        if (claim, base) == ("depth", "ratings")
    ]
    assert depths == [1, 2, 3, 4, 5, 6]


def test_the_seeds_of_a_setting_have_a_mean_and_a_deviation():
    row = {
        **{"split": "s", "claim": "depth", "setting": "1"},
        **{"learns_from": "ratings", "validation_rmse": 0.9},
    }
    lines = summarize(
        [
            {**row, "test_rmse": 0.9, "diverged": False},
            {**row, "test_rmse": 0.8, "diverged": True},
            {**row, "test_rmse": None, "diverged": True},
            {**row, "setting": "2", "test_rmse": None, "diverged": True},
        ]
    )
    assert [line["num_diverged"] for line in lines] == [2, 1]
    assert lines[0]["test_rmse"] == [0.85, 0.07071]
    assert lines[1]["test_rmse"] == [None, None]


@pytest.mark.slow
def test_a_finished_experiment_prints_its_summaries_alone(
    synthetic_data, tmp_path
):
    def run():
        done = subprocess.run(
            [
                *(sys.executable, "-m", "benchmarks.paper_claims"),
                *("--splits", synthetic_data, "--work_dir", str(tmp_path)),
                *("--claims", "tied", "--seeds", "0", "--num_epochs", "2"),
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    first, second = run(), run()
    rows = [row for row in first if row["benchmark"] == "paper_claims"]
    assert [row["setting"] for row in rows] == list(CLAIMS["tied"])
    assert all(len(row["validation"]) == 2 for row in rows)
    assert second == first[len(rows) :]
    assert (tmp_path / "plots/tied.svg").exists()
