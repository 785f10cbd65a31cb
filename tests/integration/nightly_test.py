"""The nightly sequence of the docs does what it says."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.integration.commands import REPOSITORY, run, train
from tests.synthetic import write_ratings

pytestmark = [pytest.mark.integration, pytest.mark.slow]

#: Each recipe, and settings under which it trains in seconds.
RECIPES = {
    "untaught": (),
    "quickstart": ("--teacher-sweeps=10", "--teacher-samples=4"),
}


def read_sequence():
    page = (REPOSITORY / "docs/nightly.md").read_text()
    _, _, section = page.partition("## Bring the model up to date")
    (script,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return script


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_nightly_sequence_brings_a_model_up_to_date(tmp_path, recipe):
    ratings = tmp_path / "ratings.csv"
    write_ratings(ratings)
    prepare = ("data_prep.task", "--source=files", "--split=user-time")
    code, _, errors = run(
        *(*prepare, "--ratings", ratings),
        *("--output-dir", tmp_path / "data/monday"),
    )
    assert code == 0, errors
    settings = (
        f"--recipe={recipe}",
        "--hidden-units=16,8",
        "--batch-size=40",
        *RECIPES[recipe],
    )
    train(
        *(tmp_path / "runs/monday", tmp_path / "data/monday"),
        *(*settings, "--num-epochs=8"),
    )
    # On Tuesday there are a new user and a new item.
    with open(ratings, "a", newline="") as file:
        csv.writer(file).writerows(
            [
                *(("newcomer", f"item-{k}", 9, 2e9 + k) for k in range(10)),
                *((f"user-{k}", "novelty", 8, 9e8) for k in range(100)),
            ]
        )
    script = read_sequence().replace(
        "--num-epochs 3", " ".join((*settings, "--num-epochs=3"))
    )
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "CUDA_VISIBLE_DEVICES": "",
        "RATINGS": str(ratings),
        "YESTERDAY": "monday",
        "TODAY": "tuesday",
    }
    finished = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "of the model of yesterday" in finished.stdout

    old = json.loads((tmp_path / "runs/tuesday/yesterday.json").read_text())
    new = json.loads((tmp_path / "runs/tuesday/metrics.json").read_text())
    # Both are measured on the same ratings, and the old model lacks an item.
    known = old["test"]["num_ratings"], new["test"]["num_ratings"]
    assert known[0] <= known[1]
    assert (
        old["test"]["all"]["num_ratings"] == (new["test"]["all"]["num_ratings"])
    )
    rows = pq.read_table(tmp_path / "scores/tuesday").to_pandas()
    assert rows["user_id"].nunique() == 201
    own = rows[rows["user_id"] == "newcomer"]
    assert list(own["rank"]) == list(range(1, 11))
    assert not {f"item-{k}" for k in range(10)} & set(own["item_id"])
    assert "novelty" in set(rows["item_id"])
