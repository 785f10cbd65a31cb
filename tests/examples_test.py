"""The notebooks run from the first cell to the last."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))


def code_of(notebook):
    cells = json.loads((EXAMPLES / notebook).read_text())["cells"]
    return "\n".join(
        "".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"
    )


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize(
    "notebook", ["movielens.ipynb", "your_own_ratings.ipynb"]
)
def test_a_notebook_runs(notebook, tmp_path):
    script = tmp_path / "notebook.py"
    script.write_text(
        code_of(notebook)
        + "\nbaselines = recommender.metrics['baselines']"
        + "\nassert recommender.metrics['test']['rmse'] <"
        + " baselines['biases']['rmse']"
    )
    run = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]


def test_there_is_one_of_movielens_and_one_of_ones_own_table():
    assert NOTEBOOKS == ["movielens.ipynb", "your_own_ratings.ipynb"]
