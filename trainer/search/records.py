"""The records of trials in the directory of a search."""

import dataclasses
import enum
import operator
import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from data_prep.dataset.files import read_json, write_json


class State(enum.StrEnum):
    """What became of a trial."""

    #: It is to be trained, or to be trained on.
    RUNNING = "running"
    COMPLETE = "complete"
    #: Stopped, since it was behind others.
    PRUNED = "pruned"
    #: Its loss was no longer finite.
    DIVERGED = "diverged"
    #: Its process was killed, or there was too little memory.
    FAILED = "failed"


@dataclasses.dataclass(frozen=True)
class Trial:
    """Settings that are tried, and what came of them.

    Attributes:
        number: its place in the search, counted from 0.
        values: its values in the space.
        state: what became of it.
        val_rmse: validation RMSE of the model that it ended with, a taught
            one's as it is served, with its teacher.
        val_rmse_by_epoch: validation RMSE of the network after each epoch, up
            to that which a pruned trial was stopped for.
        reason: why there is no model, if its training could not end.
    """

    number: int
    values: Mapping[str, Any]
    state: State = State.RUNNING
    val_rmse: float | None = None
    val_rmse_by_epoch: tuple[float, ...] = ()
    reason: str = ""


def trial_dir(job_dir: str, number: int) -> str:
    """Returns the directory of a trial, which is that of a job."""
    return os.path.join(job_dir, f"trial-{number:04d}")


def write_trial(job_dir: str, trial: Trial) -> None:
    """Writes the record of a trial."""
    tf.io.gfile.makedirs(trial_dir(job_dir, trial.number))
    write_json(_path(job_dir, trial.number), dataclasses.asdict(trial))


def read_trials(job_dir: str, names: Sequence[str]) -> list[Trial]:
    """Reads the trials of a search, in their order.

    A trial is written once it has values, before the next one has.

    Args:
        job_dir: the directory of the search.
        names: the names of the values, in their order.
    """
    trials: list[Trial] = []
    while tf.io.gfile.exists(path := _path(job_dir, len(trials))):
        record = read_json(path)
        record["state"] = State(record["state"])
        record["val_rmse_by_epoch"] = tuple(record["val_rmse_by_epoch"])
        record["values"] = {name: record["values"][name] for name in names}
        trials.append(Trial(**record))
    return trials


def find_best(trials: Sequence[Trial]) -> Trial | None:
    """Finds the trial with the lowest validation RMSE."""
    return min(
        (trial for trial in trials if trial.state == State.COMPLETE),
        key=operator.attrgetter("val_rmse"),
        default=None,
    )


def describe(trial: Trial) -> str:
    """Says what came of a trial, for people."""
    if trial.state == State.COMPLETE:
        return f"validation RMSE {trial.val_rmse:.4f}"
    if trial.state == State.PRUNED:
        return f"given up after epoch {len(trial.val_rmse_by_epoch)}"
    return str(trial.state)


def recipe_path(job_dir: str) -> str:
    """Returns the path of the recipe file that a search writes."""
    return os.path.join(job_dir, "recipe.json")


def _path(job_dir: str, number: int) -> str:
    return os.path.join(trial_dir(job_dir, number), "trial.json")
