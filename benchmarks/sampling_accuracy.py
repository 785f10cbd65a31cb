"""Measures what sampling items costs in accuracy on MovieLens-1M.

    python -m benchmarks.sampling_accuracy [--num_sampled_items 0,1000] [...]

Runs whole jobs of the untaught recipe in turns; 0 re-feeds the whole
catalog of 3,706 items. Prints JSON lines: one per job, then the mean test
RMSE of each setting over the seeds.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time

from absl import app, flags

from data_prep.prepare import prepare
from data_prep.sources.registry import make_source
from data_prep.splits.registry import make_split

_NUM_SAMPLED_ITEMS = flags.DEFINE_list(
    "num_sampled_items",
    ["0", "1000"],
    "Values of `--num-sampled-items` of trainer.task.",
)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of the jobs.")
_WORK_DIR = flags.DEFINE_string(
    "work_dir",
    "/tmp/benchmark-sampling_accuracy",
    "Directory of data and jobs.",
)


def main(_: list[str]) -> None:
    """Runs every job."""
    data_dir = os.path.join(_WORK_DIR.value, "data")
    prepare(make_source("movielens-1m"), make_split("user-time"), data_dir)
    rmses: dict[str, list[float]] = {
        number: [] for number in _NUM_SAMPLED_ITEMS.value
    }
    for seed in _SEEDS.value:
        for num_sampled_items, values in rmses.items():
            start = time.monotonic()
            values.append(_run_job(data_dir, num_sampled_items, seed))
            _report(
                num_sampled_items=int(num_sampled_items),
                seed=int(seed),
                test_rmse=round(values[-1], 5),
                seconds=round(time.monotonic() - start, 1),
            )
    _report(
        mean_test_rmse={
            number: round(statistics.mean(values), 5)
            for number, values in rmses.items()
        }
    )


def _report(**values: object) -> None:
    print(json.dumps({"benchmark": "sampling_accuracy", **values}), flush=True)


def _run_job(data_dir: str, num_sampled_items: str, seed: str) -> float:
    """Returns the test RMSE of a job."""
    job_dir = os.path.join(_WORK_DIR.value, f"job-{num_sampled_items}-{seed}")
    # A finished job would not run again, whatever code changed since.
    shutil.rmtree(job_dir, ignore_errors=True)
    command = [sys.executable, "-m", "trainer.task", "--recipe", "untaught"]
    command += ["--job-dir", job_dir, "--data-dir", data_dir, "--seed", seed]
    subprocess.run(
        [*command, "--num-sampled-items", num_sampled_items],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with open(os.path.join(job_dir, "metrics.json")) as file:
        return float(json.load(file)["test"]["rmse"])


if __name__ == "__main__":
    app.run(main)
