"""Checkpoints of a job: the latest state and the best weights."""

import math
from typing import Any

import tensorflow as tf

from data_prep.dataset.errors import UserError
from trainer.job_paths import JobPaths
from trainer.rating_model import RatingModel
from trainer.taught_autoencoder import TaughtAutoEncoder


class Checkpoints:
    """Saves and restores the state after each epoch and the best weights.

    An epoch depends only on its number and on the state it starts from. So a
    run that is killed at any step and started again repeats that epoch and
    ends with the same weights as an undisturbed run.

    Args:
        model: compiled and built, made under the job's strategy.
        paths: the paths of the job.
    """

    def __init__(self, model: RatingModel, paths: JobPaths) -> None:
        self._num_epochs = tf.Variable(0, dtype=tf.int64)
        self._best_epoch = tf.Variable(0, dtype=tf.int64)
        self._best_rmse = tf.Variable(math.inf, dtype=tf.float64)
        self._latest = tf.train.CheckpointManager(
            tf.train.Checkpoint(
                model=_model_variables(model),
                optimizer=_variables(model.optimizer),
                num_epochs=self._num_epochs,
                best_epoch=self._best_epoch,
                best_rmse=self._best_rmse,
            ),
            paths.latest_checkpoint_dir,
            max_to_keep=1,
        )
        self._best = tf.train.CheckpointManager(
            _model_checkpoint(model), paths.best_checkpoint_dir, max_to_keep=1
        )

    @property
    def num_epochs(self) -> int:
        """Number of completed epochs."""
        return int(self._num_epochs.numpy())

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation RMSE, counted from 1."""
        return int(self._best_epoch.numpy())

    @property
    def epochs_since_best(self) -> int:
        """Number of completed epochs after the best one."""
        return self.num_epochs - self.best_epoch

    def restore_latest(self) -> None:
        """Restores the state of an earlier run, if there is one."""
        path = self._latest.latest_checkpoint
        if path:
            self._latest.checkpoint.restore(path).assert_consumed()

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
            UserError: there is no room or no permission to write. Earlier
                checkpoints stay intact.
        """
        is_best = validation_rmse < float(self._best_rmse.numpy())
        self._num_epochs.assign(epoch)
        if is_best:
            self._best_epoch.assign(epoch)
            self._best_rmse.assign(validation_rmse)
            _save(self._best, epoch)
        _save(self._latest, epoch)
        return is_best

    def save_best_again(self) -> None:
        """Saves the best weights as the model has them now.

        Raises:
            UserError: there is no room or no permission to write.
        """
        _save(self._best, self.best_epoch)


def _save(manager: tf.train.CheckpointManager, epoch: int) -> None:
    try:
        manager.save(checkpoint_number=epoch)
    except tf.errors.OpError as error:
        raise UserError(
            f"cannot write a checkpoint to {manager.directory}:"
            f" {error.message}. Make room and start the same command again: it"
            f" goes on after epoch {epoch - 1}."
        ) from error


def has_best_weights(paths: JobPaths) -> bool:
    """Returns whether a job has completed an epoch."""
    return tf.train.latest_checkpoint(paths.best_checkpoint_dir) is not None


def restore_best_weights(model: RatingModel, paths: JobPaths) -> None:
    """Restores the weights with the lowest validation RMSE.

    Args:
        model: a model of the job's architecture.
        paths: the paths of the job.
    """
    path = tf.train.latest_checkpoint(paths.best_checkpoint_dir)
    _model_checkpoint(model).restore(path).assert_consumed()


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
