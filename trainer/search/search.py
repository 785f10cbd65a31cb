"""Runs a search: one trial after another, or several at a time."""

import dataclasses
import json
import multiprocessing.connection
import os
import time
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from absl import logging
from optuna.distributions import BaseDistribution

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import (
    describe_differences,
    read_json,
    to_json,
    write_json,
)
from data_prep.dataset.integrity import check_files
from data_prep.dataset.manifest import read_manifest
from trainer.config import Config
from trainer.job.lease import hold_lease
from trainer.recipes import BASE, make_config, split_recipe
from trainer.search import study
from trainer.search.records import (
    State,
    Trial,
    describe,
    find_best,
    read_trials,
    recipe_path,
    trial_dir,
    write_trial,
)
from trainer.search.space import base_values, make_space, to_settings
from trainer.search.training import (
    Training,
    fit_shared_teachers,
    train_trial,
)

#: Seconds between two looks at the trials that run.
_SECONDS_BETWEEN_LOOKS = 1.0

#: Seconds between two lines about each trial that runs.
_SECONDS_BETWEEN_LINES = 60.0


def run_search(
    data_dir: str,
    job_dir: str,
    recipe: str,
    num_trials: int,
    num_jobs: int,
    seed: int,
) -> list[Trial]:
    """Tries settings, and writes the best as a recipe file.

    Every trial is a job in a directory of its own, `trial-0000` and so on, and
    a process of its own. The first tries the recipe as it is; the settings of
    each other one follow from the trials before it. Validation ratings decide,
    test ratings are not read. After each trial `recipe.json` in the directory
    of the search has the best settings so far.

    A search that is started again keeps what has ended and trains on what has
    not. With one job at a time it then makes the trials of a search that was
    not stopped. It may be given more trials.

    Args:
        data_dir: prepared data.
        job_dir: the directory of the search, local or remote.
        recipe: the recipe to start from, by name or as a file.
        num_trials: trials in all, those of earlier runs included.
        num_jobs: trials at the same time.
        seed: seed of the choices and of every trial.

    Returns:
        The trials, in their order.

    Raises:
        UserError: an argument is wrong, another search runs in the directory,
            it holds a search of other settings or data, the recipe cannot be
            trained, or a trial met a mistake that the user can fix.
    """
    for name, value in (("num_trials", num_trials), ("jobs", num_jobs)):
        if value < 1:
            raise UserError(
                f"`{name}` must be at least 1. Received: {name}={value}"
            )
    name, settings = split_recipe(recipe)
    settings["seed"] = seed
    recipe_content = {BASE: name, **settings}
    manifest = read_manifest(data_dir)
    base = make_config(name, settings, manifest.num_users, manifest.num_items)
    check_files(data_dir)
    with hold_lease(os.path.join(job_dir, "lease.json")):
        space = make_space(base, manifest.num_users)
        _record_search(
            job_dir,
            {
                **recipe_content,
                "data_fingerprint": manifest.fingerprint,
                **{f"values of {name}": str(space[name]) for name in space},
            },
        )
        search = _Search(
            data_dir,
            job_dir,
            recipe_content,
            base,
            space,
            num_trials,
            num_jobs,
        )
        try:
            search.run()
        finally:
            search.stop()
        return search.trials


def _record_search(job_dir: str, record: Mapping[str, Any]) -> None:
    """Records a new search, or checks that one goes on as it was begun."""
    path = os.path.join(job_dir, "search.json")
    if not tf.io.gfile.exists(path):
        write_json(path, record)
        return
    differences = describe_differences(
        read_json(path), json.loads(to_json(record))
    )
    if differences:
        raise UserError(
            f"{job_dir} holds another search: {'; '.join(differences)}. Give"
            " the flags of that search to go on with it, or another --job-dir"
            " to start anew."
        )


@dataclasses.dataclass
class _Running:
    """A trial that is being trained.

    Attributes:
        trial: the trial.
        training: its process.
        num_judged: number of its epochs after which it was not hopeless.
    """

    trial: Trial
    training: Training
    num_judged: int = 0


class _Search:
    """The trials of a search, and the processes that train them.

    Args:
        data_dir: prepared data.
        job_dir: the directory of the search.
        recipe: the content of a recipe file, to which trials add values.
        base: the settings that it makes of the data.
        space: setting -> its values.
        num_trials: trials in all.
        num_jobs: trials at the same time.

    Attributes:
        trials: the trials so far, in their order.
    """

    def __init__(
        self,
        data_dir: str,
        job_dir: str,
        recipe: Mapping[str, Any],
        base: Config,
        space: Mapping[str, BaseDistribution],
        num_trials: int,
        num_jobs: int,
    ) -> None:
        self._data_dir = data_dir
        self._job_dir = job_dir
        self._recipe = recipe
        self._base = base
        self._space = space
        self._num_trials = num_trials
        self._num_jobs = num_jobs
        self._running: list[_Running] = []
        self._start = self._last_lines = time.monotonic()
        self._num_ended = 0
        self.trials = read_trials(job_dir, list(space))

    def run(self) -> None:
        """Runs the trials that have not ended."""
        waiting = [
            trial.number
            for trial in self.trials
            if trial.state == State.RUNNING
        ]
        if self.trials:
            logging.info(
                "Goes on: %d trials have ended.",
                len(self.trials) - len(waiting),
            )
        if waiting or len(self.trials) < self._num_trials:
            self._fit_teachers()
        self._start = time.monotonic()
        while True:
            while len(self._running) < self._num_jobs:
                if waiting:
                    self._begin(self.trials[waiting.pop(0)])
                elif len(self.trials) < self._num_trials:
                    self._begin(self._create_trial())
                else:
                    break
            if not self._running:
                return
            multiprocessing.connection.wait(
                [running.training.sentinel for running in self._running],
                _SECONDS_BETWEEN_LOOKS,
            )
            for running in list(self._running):
                self._look_at(running)
            self._log_epochs()

    def stop(self) -> None:
        """Ends the processes that still run; their trials can go on."""
        for running in self._running:
            running.training.terminate()
        for running in self._running:
            running.training.stop()

    def _fit_teachers(self) -> None:
        """Fits the teachers of a taught recipe once, for all trials."""
        if self._base.model != "taught_autoencoder":
            return
        logging.info("Fits the teachers, which all trials share.")
        arguments = (self._base, self._data_dir, self._job_dir)
        training = Training(fit_shared_teachers, arguments, self._job_dir)
        try:
            state, reason = training.result()
        except UserError as error:
            raise UserError(f"fitting the teachers: {error}") from error
        finally:
            training.stop()
        if state != State.COMPLETE:
            raise UserError(f"the teachers could not be fitted: {reason}.")

    def _create_trial(self) -> Trial:
        """Chooses what to try next, and records it."""
        number = len(self.trials)
        trial = Trial(
            number,
            study.choose_values(self.trials, self._space, self._base.seed)
            if number
            else base_values(self._base),
        )
        self.trials.append(trial)
        write_trial(self._job_dir, trial)
        return trial

    def _begin(self, trial: Trial) -> None:
        logging.info(
            "Trial %d of %d: %s.",
            trial.number,
            self._num_trials,
            ", ".join(
                f"{name} {value}" for name, value in trial.values.items()
            ),
        )
        config = dataclasses.replace(self._base, **to_settings(trial.values))
        directory = trial_dir(self._job_dir, trial.number)
        training = Training(
            train_trial,
            (config, self._data_dir, directory, self._job_dir),
            directory,
        )
        self._running.append(_Running(trial, training))

    def _look_at(self, running: _Running) -> None:
        """Ends a trial that is done or hopeless."""
        trial, training = running.trial, running.training
        # Asked first: the epochs of a process that has ended are all there.
        has_ended = training.has_ended
        by_epoch = training.val_rmse_by_epoch()
        while running.num_judged < len(by_epoch):
            seen = by_epoch[: running.num_judged + 1]
            if study.is_hopeless(
                self.trials, self._space, seen, self._base.num_epochs
            ):
                training.stop()
                self._end(
                    running, state=State.PRUNED, val_rmse_by_epoch=tuple(seen)
                )
                return
            running.num_judged += 1
        if not has_ended:
            return
        try:
            state, content = training.result()
        except UserError as error:
            raise UserError(f"trial {trial.number}: {error}") from error
        if state == State.COMPLETE:
            self._end(
                running,
                state=state,
                val_rmse=content,
                val_rmse_by_epoch=tuple(by_epoch),
            )
        elif trial.number == 0:
            raise UserError(f"the recipe itself cannot be trained: {content}")
        else:
            self._end(running, state=state, reason=content)

    def _end(self, running: _Running, **outcome: Any) -> None:
        """Records what came of a trial."""
        trial = dataclasses.replace(running.trial, **outcome)
        self._running.remove(running)
        self.trials[trial.number] = trial
        write_trial(self._job_dir, trial)
        self._num_ended += 1
        best = find_best(self.trials)
        if best is trial:
            self._write_recipe(trial)
        logging.info(
            "Trial %d: %s%s%s; %s left.",
            trial.number,
            describe(trial),
            f", {trial.reason}" * bool(trial.reason),
            ", the best so far" * (best is trial),
            self._time_left(),
        )

    def _write_recipe(self, best: Trial) -> None:
        """Writes the settings of a trial as a recipe file."""
        write_json(
            recipe_path(self._job_dir),
            {**self._recipe, **to_settings(best.values)},
        )

    def _log_epochs(self) -> None:
        """Logs how far the trials are, about once a minute."""
        now = time.monotonic()
        if now - self._last_lines < _SECONDS_BETWEEN_LINES:
            return
        self._last_lines = now
        for running in self._running:
            by_epoch = running.training.val_rmse_by_epoch()
            if by_epoch:
                logging.info(
                    "Trial %d: epoch %d of %d, validation RMSE %.4f.",
                    running.trial.number,
                    len(by_epoch),
                    self._base.num_epochs,
                    by_epoch[-1],
                )

    def _time_left(self) -> str:
        num_left = self._num_trials - sum(
            trial.state != State.RUNNING for trial in self.trials
        )
        seconds = (time.monotonic() - self._start) / self._num_ended
        minutes = round(seconds * max(num_left, 0) / 60)
        return f"about {minutes // 60}:{minutes % 60:02d} hours"
