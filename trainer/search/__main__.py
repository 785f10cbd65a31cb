"""Searches for a recipe that makes a better model of prepared data.

    python -m trainer.search --data-dir DIR --job-dir DIR [--num-trials 20]

Started again with the same flags, it goes on where it stopped.
"""

import os
import sys
from collections.abc import Sequence

from absl import flags

from data_prep import command_line
from trainer.recipes import DEFAULT_RECIPE, RECIPES
from trainer.search.records import (
    Trial,
    describe,
    find_best,
    recipe_path,
    trial_dir,
)
from trainer.text_table import Table, format_table
from trainer.training.termination import Termination

# As in trainer.task, which says why. The processes of the trials inherit it.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")

# Trials at the same time share the memory of a GPU, instead of the first one
# taking all of it.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

_DATA_DIR = command_line.define_path(
    "data_dir", None, "Data prepared by data_prep.task.", required=True
)
_JOB_DIR = command_line.define_path(
    "job_dir",
    None,
    "Directory of the search, local or gs://: every trial is a job in it, and"
    " the best becomes recipe.json.",
    required=True,
)
_RECIPE = command_line.define_path(
    "recipe",
    DEFAULT_RECIPE,
    f"Recipe to start from: {', '.join(RECIPES)}, or a recipe file.",
)
_NUM_TRIALS = flags.DEFINE_integer(
    "num_trials", 20, "Trials in all, those of earlier runs included."
)
_JOBS = flags.DEFINE_integer("jobs", 1, "Trials at the same time.")
_SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of the choices and of every trial."
)


def main() -> None:
    """Runs the search that the flags describe."""
    with command_line.needs("optuna", extra="search"):
        from trainer.search.search import run_search

    termination = Termination()
    termination.activity = "searching"
    with termination.listen():
        trials = run_search(
            _DATA_DIR.value,
            _JOB_DIR.value,
            _RECIPE.value,
            _NUM_TRIALS.value,
            _JOBS.value,
            _SEED.value,
        )
    sys.stdout.write(_summarize(trials))


def _summarize(trials: Sequence[Trial]) -> str:
    """Writes the trials as a table, the best first, and what to do next."""
    ranked = sorted(
        trials,
        key=lambda trial: (
            trial.val_rmse is None,
            trial.val_rmse or 0.0,
            trial.number,
        ),
    )
    names = list(trials[0].values)
    table = Table(
        "Trials, the best first; 0 is the recipe itself:",
        ["trial", *names, "outcome"],
        [
            [
                str(trial.number),
                *(str(trial.values[name]) for name in names),
                describe(trial),
            ]
            for trial in ranked
        ],
    )
    best = find_best(trials)
    if best is None:
        return f"{format_table(table)}\n"
    return (
        f"{format_table(table)}\n\nRecipe of trial {best.number}:"
        f" {recipe_path(_JOB_DIR.value)}\nTo measure it on test ratings and"
        " export it, without training anew:\n  python -m trainer.task"
        f" --job-dir {trial_dir(_JOB_DIR.value, best.number)} --data-dir"
        f" {_DATA_DIR.value}\n"
    )


if __name__ == "__main__":
    command_line.run(main)
