"""Checkpoints of a job: the latest state and the best weights."""

import contextlib
import dataclasses
import math
import os
import re
import time
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import digest_file, write_text, writing
from trainer.job.paths import JobPaths
from trainer.model.rating_model import RatingModel
from trainer.model.taught_autoencoder import TaughtAutoEncoder

#: Number of states kept: the latest, and one to go back to if it is damaged.
_NUM_KEPT = 2

#: The lines of TensorFlow's file `checkpoint` that name the checkpoints.
_LISTED = re.compile(r'^all_model_checkpoint_paths: "(.+)"$', re.MULTILINE)

#: What reading a damaged checkpoint raises.
_UNREADABLE = (tf.errors.OpError, IndexError, ValueError)


@dataclasses.dataclass(frozen=True)
class CheckpointSchedule:
    """Says how often a state is saved within an epoch.

    It decides what a killed job repeats, and not the weights it ends with.

    Args:
        minutes: time between two checkpoints; 0 does not count time.
        steps: training steps between two checkpoints; 0 does not count steps.

    Raises:
        UserError: one of them is negative.
    """

    minutes: float = 5.0
    steps: int = 0

    def __post_init__(self) -> None:
        for name in ("minutes", "steps"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(
                    f"`checkpoint_{name}` must be 0 or more. Received:"
                    f" checkpoint_{name}={getattr(self, name)}"
                )


class Checkpoints:
    """Saves and restores the latest state of a job and its best weights.

    An epoch depends only on its number, on the state it starts from, and on
    the batches already behind it. So a run that is killed at any step and
    started again repeats what followed its last checkpoint and ends with the
    same weights as an undisturbed run.

    Args:
        model: compiled and built, made under the strategy.
        paths: the paths of the job.
        strategy: the strategy that the job trains under.
        steps_per_epoch: batches per epoch.
    """

    def __init__(
        self,
        model: RatingModel,
        paths: JobPaths,
        strategy: tf.distribute.Strategy,
        steps_per_epoch: int,
    ) -> None:
        self._strategy = strategy
        # Of several workers the chief writes, and all read.
        self._writes = strategy.extended.should_checkpoint
        self._steps_per_epoch = steps_per_epoch
        self._num_epochs = tf.Variable(0, dtype=tf.int64)
        self._num_batches = tf.Variable(0, dtype=tf.int64)
        self._best_epoch = tf.Variable(0, dtype=tf.int64)
        self._best_rmse = tf.Variable(math.inf, dtype=tf.float64)
        # Each replica adds up losses of its own. Their sums are saved, so that
        # a job may go on with another number of replicas.
        self._losses = [
            variable.value
            for tracker in model.loss_trackers()
            for variable in tracker.variables
        ]
        self._loss_totals = [
            tf.Variable(tf.zeros(loss.shape, loss.dtype))
            for loss in self._losses
        ]
        at_epoch_end = {
            "model": _model_variables(model),
            "optimizer": _variables(model.optimizer),
            "num_epochs": self._num_epochs,
            "best_epoch": self._best_epoch,
            "best_rmse": self._best_rmse,
        }
        # What release 0.1 saved, after whole epochs only.
        self._state_at_epoch_end = tf.train.Checkpoint(**at_epoch_end)
        self._latest = tf.train.CheckpointManager(
            tf.train.Checkpoint(
                **at_epoch_end,
                num_batches=self._num_batches,
                loss_totals=self._loss_totals,
            ),
            paths.latest_checkpoint_dir,
            max_to_keep=_NUM_KEPT,
        )
        self._best = tf.train.CheckpointManager(
            _model_checkpoint(model), paths.best_checkpoint_dir, max_to_keep=1
        )
        self._saved_number: int | None = None
        self._saved_time = time.monotonic()

    @property
    def num_epochs(self) -> int:
        """Number of completed epochs."""
        return int(self._num_epochs.numpy())

    @property
    def num_batches(self) -> int:
        """Number of batches behind the model in the epoch that follows."""
        return int(self._num_batches.numpy())

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation RMSE, counted from 1."""
        return int(self._best_epoch.numpy())

    @property
    def epochs_since_best(self) -> int:
        """Number of completed epochs after the best one."""
        return self.num_epochs - self.best_epoch

    @property
    def has_saved(self) -> bool:
        """Whether there is a state to go on from."""
        return self._saved_number is not None

    def _number(self, num_batches: int) -> int:
        """Numbers a state: the end of an epoch has a number of its own."""
        return self.num_epochs * (self._steps_per_epoch + 1) + num_batches

    def restore_latest(self) -> None:
        """Restores the state of an earlier run, if there is one.

        A state that cannot be read is named, and the one before is taken.

        Raises:
            UserError: there are states, but none that can be restored, or the
                best weights of a completed epoch are gone.
        """
        directory = self._latest.directory
        listed = _list_checkpoints(directory)
        found = tf.io.gfile.glob(os.path.join(directory, "ckpt-*.index"))
        if found and not listed:
            raise UserError(
                f"{directory} holds checkpoints, but not the file"
                " `checkpoint`, which says which of them is the latest. Copy"
                " it back, or start anew in another --job-dir."
            )
        if not found:
            # A first checkpoint that was listed and never completed.
            return
        for path in reversed(listed):
            try:
                self._restore(path)
            except _UNREADABLE as error:
                _read_files(path)
                logging.warning(
                    "Cannot read checkpoint %s (%s); the one before it is"
                    " taken.",
                    path,
                    _first_line(error),
                )
                continue
            self._saved_number = self._number(self.num_batches)
            if self.num_epochs and not _list_checkpoints(self._best.directory):
                raise UserError(
                    f"{self._best.directory} does not hold the weights of"
                    f" epoch {self.best_epoch}, the best. Copy them back, or"
                    " start anew in another --job-dir."
                )
            return
        raise UserError(
            f"cannot read any checkpoint in {directory}:"
            f" {', '.join(map(os.path.basename, listed))}. Copy one back, or"
            " start anew in another --job-dir."
        )

    def _restore(self, path: str) -> None:
        names = tf.train.load_checkpoint(path).get_variable_to_shape_map()
        if not any(name.startswith("num_batches/") for name in names):
            self._state_at_epoch_end.restore(path).assert_consumed()
            return
        self._latest.checkpoint.restore(path).assert_consumed()
        num_replicas = self._strategy.num_replicas_in_sync
        shares = [total / num_replicas for total in self._loss_totals]
        self._strategy.run(self._assign_losses, args=(shares,))

    def _assign_losses(self, values: Sequence[tf.Tensor]) -> None:
        for loss, value in zip(self._losses, values, strict=True):
            loss.assign(value)

    def is_due(self, num_batches: int, schedule: CheckpointSchedule) -> bool:
        """Says whether it is time for a checkpoint.

        Args:
            num_batches: batches behind the model in this epoch.
            schedule: how often to save.
        """
        steps = self._number(num_batches) - (self._saved_number or 0)
        minutes = (time.monotonic() - self._saved_time) / 60
        return bool(
            (schedule.steps and steps >= schedule.steps)
            or (schedule.minutes and minutes >= schedule.minutes)
        )

    def record_batches(self, num_batches: int) -> None:
        """Notes how far into an epoch the model is, and its losses so far.

        Args:
            num_batches: batches behind the model in this epoch.
        """
        self._num_batches.assign(num_batches)
        for total, loss in zip(self._loss_totals, self._losses, strict=True):
            # As a tensor, which is the sum over all replicas.
            total.assign(tf.convert_to_tensor(loss))

    def save(self) -> None:
        """Saves the state as it was recorded, unless that was done already.

        Raises:
            TransientError: the store of the job does not answer.
            UserError: there is no room or no permission to write. Earlier
                checkpoints stay intact.
        """
        number = self._number(self.num_batches)
        if number == self._saved_number:
            return
        directory = self._latest.directory
        if self._writes and not (
            self._latest.checkpoints or _list_checkpoints(directory)
        ):
            # Listed before it is written, so that files which no list names
            # are never those of a first checkpoint that was cut short.
            _list_first(directory, f"ckpt-{number}")
        self._write(self._latest, number)
        self._saved_number = number
        self._saved_time = time.monotonic()

    def save_epoch(self, epoch: int, validation_rmse: float) -> bool:
        """Saves the state after an epoch, and its weights if they are best.

        The best weights are written first: a run that is killed in between
        repeats the epoch and writes the same weights again.

        Args:
            epoch: number of the epoch, counted from 1.
            validation_rmse: the validation RMSE after it.

        Returns:
            Whether it is the best epoch so far.

        Raises:
            TransientError: the store of the job does not answer.
            UserError: there is no room or no permission to write. Earlier
                checkpoints stay intact.
        """
        is_best = validation_rmse < float(self._best_rmse.numpy())
        if is_best:
            self._best_epoch.assign(epoch)
            self._best_rmse.assign(validation_rmse)
            self._write(self._best, epoch)
        self._num_epochs.assign(epoch)
        self._num_batches.assign(0)
        self.save()
        return is_best

    def save_best_again(self) -> None:
        """Saves the best weights as the model has them now.

        Raises:
            TransientError: the store of the job does not answer.
            UserError: there is no room or no permission to write.
        """
        self._write(self._best, self.best_epoch)

    def _write(self, manager: tf.train.CheckpointManager, number: int) -> None:
        if not self._writes:
            return
        with _writing(manager.directory):
            manager.save(checkpoint_number=number)


def _read_files(path: str) -> None:
    """Reads from the files of a checkpoint.

    Raises:
        OpError: the store does not answer, which the readers of checkpoints
            do not tell from a damaged file.
    """
    for name in tf.io.gfile.glob(f"{path}.*"):
        with tf.io.gfile.GFile(name, "rb") as file:
            file.read(1)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _list_checkpoints(directory: str) -> list[str]:
    """Lists the checkpoints that the file `checkpoint` names, oldest first.

    TensorFlow's own reader takes a store that does not answer for one without
    the file, and its manager leaves checkpoints out if the clock was set back.
    """
    try:
        with tf.io.gfile.GFile(_state_file(directory)) as file:
            names = _LISTED.findall(file.read())
    except tf.errors.NotFoundError:
        return []
    return [os.path.join(directory, name) for name in names]


def _state_file(directory: str) -> str:
    """Returns the path of the file that TensorFlow lists checkpoints in."""
    return os.path.join(directory, "checkpoint")


def _list_first(directory: str, name: str) -> None:
    """Writes the list of a directory's checkpoints, with a single one."""
    with _writing(directory):
        tf.io.gfile.makedirs(directory)
        write_text(
            _state_file(directory),
            f'model_checkpoint_path: "{name}"\n'
            f'all_model_checkpoint_paths: "{name}"\n',
        )


def _writing(directory: str) -> contextlib.AbstractContextManager[None]:
    return writing(
        f"a checkpoint to {directory}",
        "Make room and start the same command again: it goes on after the"
        " checkpoint before.",
    )


def has_checkpoint(paths: JobPaths) -> bool:
    """Returns whether a job has saved anything that it can go on from."""
    return has_best_weights(paths) or bool(
        tf.io.gfile.glob(
            os.path.join(paths.latest_checkpoint_dir, "ckpt-*.index")
        )
    )


def has_best_weights(paths: JobPaths) -> bool:
    """Returns whether a job has completed an epoch."""
    return _find_best_weights(paths) is not None


def best_epoch(paths: JobPaths) -> int:
    """Returns the epoch of a job's best weights, counted from 1."""
    return int(str(_find_best_weights(paths)).rpartition("-")[2])


def identify_best_weights(paths: JobPaths) -> str:
    """Returns what tells a job's best weights from any others.

    It is the SHA-256 of the index of their checkpoint, which holds a checksum
    of each tensor: a copy of the job has the same.

    Args:
        paths: the paths of a job that has completed an epoch.
    """
    return digest_file(f"{_find_best_weights(paths)}.index")


def _find_best_weights(paths: JobPaths) -> str | None:
    """Returns the checkpoint of a job's best weights, if they are there."""
    listed = _list_checkpoints(paths.best_checkpoint_dir)
    if not listed or not tf.io.gfile.exists(f"{listed[-1]}.index"):
        return None
    return listed[-1]


def restore_best_weights(model: RatingModel, paths: JobPaths) -> None:
    """Restores the weights with the lowest validation RMSE.

    Args:
        model: a model of the job's architecture.
        paths: the paths of the job.

    Raises:
        UserError: they cannot be read.
    """
    path = _find_best_weights(paths)
    if path is None:
        raise UserError(
            f"{paths.best_checkpoint_dir} does not hold the best weights of"
            " the job. Copy them back, or train in another --job-dir."
        )
    try:
        _model_checkpoint(model).restore(path).assert_consumed()
    except _UNREADABLE as error:
        _read_files(path)
        raise UserError(
            f"cannot read the best weights, {path}: {_first_line(error)}. Copy"
            " them back, or train in another --job-dir."
        ) from error


def _model_checkpoint(model: RatingModel) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(model=_model_variables(model))


def _model_variables(model: RatingModel) -> list[tf.Variable]:
    """Lists all variables of a model, except the weights of its teachers.

    These never change, and may be larger than all that does. The random state
    that a teacher draws samples with is not among its weights.
    """
    if not isinstance(model, TaughtAutoEncoder):
        return _variables(model)
    of_teachers = {
        id(variable)
        for teacher in (model.rating_teacher, model.interest_teacher)
        if teacher is not None
        for variable in teacher.weights
    }
    return [
        variable.value
        for variable in model.variables
        if id(variable) not in of_teachers
    ]


def _variables(owner: Any) -> list[tf.Variable]:
    """Lists all variables of a model or optimizer, in their fixed order.

    A checkpoint of the Keras object itself silently misses some: it follows
    neither lists of layers nor the random state of dropout.
    """
    return [variable.value for variable in owner.variables]
