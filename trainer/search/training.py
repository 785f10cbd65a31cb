"""Trains a trial, or the teachers that all share, in a process of its own."""

import contextlib
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import tensorflow as tf

from data_prep.dataset.errors import UserError
from trainer.config import Config
from trainer.evaluation.evaluator import Evaluator
from trainer.input.job_data import JobData
from trainer.job.fitted_teachers import fit_teachers, share_teachers
from trainer.job.history import read_history
from trainer.job.paths import JobPaths
from trainer.search.records import State
from trainer.training.child_process import run_quietly
from trainer.training.distribution import create_strategy
from trainer.training.termination import EXIT_STATUS, Termination
from trainer.training.train import train
from trainer.training.training_loop import DivergenceError

#: Statuses of a process that SIGTERM ended, within `Termination` or before.
_TERMINATED = (EXIT_STATUS, -signal.SIGTERM)

#: Seconds that a process gets to save its state: more than it takes itself.
_GRACE_SECONDS = 12.0


class Training:
    """A process that trains a job.

    Args:
        function: `train_trial`, or `fit_shared_teachers`.
        arguments: what it takes before the connection.
        job_dir: the directory of the job.
    """

    def __init__(
        self, function: Callable[..., None], arguments: Any, job_dir: str
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(
            target=run_quietly, args=(function, *arguments, sender)
        )
        self._process.start()
        # The process has the other end for itself.
        sender.close()
        self._paths = JobPaths.resolve(job_dir, environ={})

    @property
    def sentinel(self) -> int:
        """What `multiprocessing.connection.wait` waits for: its end."""
        return self._process.sentinel

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return not self._process.is_alive()

    def val_rmse_by_epoch(self) -> list[float]:
        """Returns the validation RMSE after each epoch so far."""
        return [row["val_rmse"] for row in read_history(self._paths)]

    def result(self) -> tuple[State, Any]:
        """Returns what came of it, once it has ended.

        Returns:
            `COMPLETE` and the validation RMSE, or `DIVERGED` or `FAILED` and
            the reason.

        Raises:
            UserError: it met a mistake, or was ended by SIGTERM: it can go on.
        """
        self._process.join()
        status = self._process.exitcode
        with contextlib.suppress(EOFError):
            state, content = self._receiver.recv()
            if state is None:
                raise UserError(content)
            return state, content
        if status in _TERMINATED:
            raise UserError(
                "was ended by SIGTERM. Start the same command again: it goes"
                " on."
            )
        if status == -signal.SIGKILL:
            return State.FAILED, (
                "its process was killed, which is what happens when there is"
                " too little memory"
            )
        return State.FAILED, f"its process ended with status {status}"

    def terminate(self) -> None:
        """Asks the process to save its state and to end."""
        self._process.terminate()

    def stop(self) -> None:
        """Ends the process, and waits until it has saved its state."""
        self.terminate()
        self._process.join(_GRACE_SECONDS)
        self._process.kill()
        self._process.join()


def train_trial(
    config: Config,
    data_dir: str,
    trial_dir: str,
    shared_dir: str,
    sender: "Connection[tuple[State | None, Any], Any]",
) -> None:
    """Trains a trial, or trains it on; reads no test ratings.

    Args:
        config: its settings.
        data_dir: the prepared data.
        trial_dir: its directory.
        shared_dir: the directory of the teachers that all trials share.
        sender: gets what `Training.result` returns; `None` in the place of
            the state says that there is a mistake.
    """

    def run(termination: Termination) -> float:
        # The platform's paths are those of one job, and there are many.
        paths = JobPaths.resolve(trial_dir, environ={})
        shared = JobPaths.resolve(shared_dir, environ={})
        share_teachers(config, shared, paths)
        strategy = create_strategy()
        model = train(config, data_dir, paths, strategy, termination)
        data = JobData.read(data_dir, config.batch_size)
        return Evaluator(model, strategy)(data.held_out("validation"))["rmse"]

    _run(run, sender)


def fit_shared_teachers(
    config: Config,
    data_dir: str,
    shared_dir: str,
    sender: "Connection[tuple[State | None, Any], Any]",
) -> None:
    """Fits the teachers of all trials.

    Args:
        config: the settings of the recipe.
        data_dir: the prepared data.
        shared_dir: the directory of the search.
        sender: as of `train_trial`; no figure comes of it.
    """

    def run(_: Termination) -> None:
        fit_teachers(
            config,
            JobPaths.resolve(shared_dir, environ={}),
            JobData.read(data_dir, config.batch_size),
        )

    _run(run, sender)


def _run(
    function: Callable[[Termination], float | None],
    sender: "Connection[tuple[State | None, Any], Any]",
) -> None:
    """Runs the work of a process, and sends what comes of it."""
    termination = Termination()
    try:
        with termination.listen():
            sender.send((State.COMPLETE, function(termination)))
    except DivergenceError as error:
        sender.send((State.DIVERGED, str(error)))
    except tf.errors.ResourceExhaustedError:
        sender.send((State.FAILED, "there is too little memory"))
    except (UserError, OSError, tf.errors.OpError) as error:
        sender.send((None, str(error)))
