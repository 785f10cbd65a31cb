"""The paper's experiments are settings that exist, and are gone on with."""

import numpy as np
import pytest

from benchmarks.paper_settings import CLAIMS, list_settings
from tests.benchmarks.commands import run_benchmark


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


@pytest.mark.slow
def test_a_finished_experiment_prints_its_summaries_alone(
    synthetic_data, tmp_path
):
    def run():
        return run_benchmark(
            "paper_claims",
            *("--splits", synthetic_data, "--work_dir", str(tmp_path)),
            *("--claims", "tied", "--seeds", "0,1", "--num_epochs", "2"),
        )

    first, second = run(), run()
    rows = [row for row in first if row["benchmark"] == "paper_claims"]
    assert [row["setting"] for row in rows] == 2 * list(CLAIMS["tied"])
    assert all(len(row["validation"]) == 2 for row in rows)
    assert second == first[len(rows) :]
    for line in second:
        of_seeds = [
            row["test_rmse"]
            for row in rows
            if row["setting"] == line["setting"]
        ]
        assert line["test_rmse"] == pytest.approx(
            [np.mean(of_seeds), np.std(of_seeds, ddof=1)], abs=1e-5
        )
    assert (tmp_path / "plots/tied.svg").exists()
