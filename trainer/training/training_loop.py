"""The training steps of an epoch, with checkpoints within it."""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from trainer.config import Config
from trainer.input.input_pipeline import training_batches
from trainer.job.checkpoints import Checkpoints, CheckpointSchedule
from trainer.model.autoencoder import AutoEncoder
from trainer.model.taught_autoencoder import TaughtAutoEncoder
from trainer.training.progress import Progress
from trainer.training.termination import Terminated, Termination
from trainer.training.workers import Workers

#: Training steps between two checks of their losses, for which the host waits
#: for the device.
_STEPS_BETWEEN_CHECKS = 100


class DivergenceError(UserError):
    """The loss is no longer finite: other settings are needed."""


class TrainingLoop:
    """Runs the training steps of epochs, with one graph for all of them.

    Args:
        config: the settings of the job.
        model: compiled and built, made under the strategy.
        shards: record files of the prepared data.
        strategy: distributes the steps over devices.
        workers: the processes that train.
        checkpoints: the checkpoints of the job.
        schedule: how often to save within an epoch.
        progress: logs the steps.
        termination: says when to stop.
    """

    def __init__(
        self,
        config: Config,
        model: AutoEncoder | TaughtAutoEncoder,
        shards: Sequence[str],
        strategy: tf.distribute.Strategy,
        workers: Workers,
        checkpoints: Checkpoints,
        schedule: CheckpointSchedule,
        progress: Progress,
        termination: Termination,
    ) -> None:
        self._config = config
        self._model = model
        self._shards = shards
        self._strategy = strategy
        self._workers = workers
        self._checkpoints = checkpoints
        self._schedule = schedule
        self._progress = progress
        self._termination = termination

        # Nothing branches on tensors, and AutoGraph takes seconds.
        @tf.function(reduce_retracing=True, autograph=False)
        def step(batch: Any) -> Any:
            loss = strategy.run(model.train_step, args=(batch,))["loss"]
            # Of all replicas, so that none goes on alone.
            return strategy.reduce("MEAN", loss, axis=None)

        self._step = step

    def run_epoch(self, epoch: int) -> dict[str, float]:
        """Trains an epoch, or what is left of it.

        SIGTERM must be deferred meanwhile.

        Args:
            epoch: its number, counted from 1.

        Returns:
            The training metrics of the whole epoch.

        Raises:
            DivergenceError: the loss is no longer finite.
            UserError: a checkpoint cannot be written.
            Terminated: on SIGTERM, once the state is saved.
        """
        first_batch = num_batches = self._checkpoints.num_batches
        if not first_batch:
            self._model.reset_metrics()
        self._progress.epoch_begun()
        unchecked: list[Any] = []
        for num_batches, batch in enumerate(
            self._read_batches(epoch, first_batch), start=first_batch + 1
        ):
            unchecked.append(self._step(batch))
            wishes = self._workers.gather(
                [
                    self._termination.requested,
                    self._checkpoints.is_due(num_batches, self._schedule),
                ]
            )
            stops, is_due = map(bool, wishes.max(axis=0))
            saves = stops or is_due
            if saves or len(unchecked) == _STEPS_BETWEEN_CHECKS:
                self._check_finite(unchecked, epoch, num_batches)
                unchecked.clear()
            self._progress.step_done(epoch, num_batches)
            if saves:
                self._checkpoints.record_batches(num_batches)
                self._save(epoch, num_batches)
            if stops:
                raise Terminated
        self._check_finite(unchecked, epoch, num_batches)
        # The validation that follows begins its metrics anew.
        self._checkpoints.record_batches(num_batches)
        return {
            name: float(metric)
            for name, metric in self._model.training_metrics().items()
        }

    def _read_batches(self, epoch: int, first_batch: int) -> Any:
        """Reads the batches of an epoch, each replica its rows of them."""

        def read(context: tf.distribute.InputContext) -> tf.data.Dataset:
            num_replicas = context.num_replicas_in_sync
            num_local = num_replicas // context.num_input_pipelines
            first = num_local * context.input_pipeline_id
            return training_batches(
                self._shards,
                self._model.num_items,
                self._config.batch_size,
                self._config.seed,
                epoch,
                first_batch,
                num_replicas,
                range(first, first + num_local),
            )

        return self._strategy.distribute_datasets_from_function(read)

    def end_if_terminated(self, epoch: int) -> None:
        """Ends the job after the training steps of an epoch, if asked to.

        All workers must call it at the same time, and end together.

        Args:
            epoch: the epoch, counted from 1, whose validation is not done.

        Raises:
            UserError: the checkpoint cannot be written.
            Terminated: a worker received SIGTERM, and the state is saved.
        """
        if self._workers.gather([self._termination.requested]).any():
            self._save(epoch, self._checkpoints.num_batches)
            raise Terminated

    def _save(self, epoch: int, num_batches: int) -> None:
        """Saves the state within an epoch, as it was recorded last."""
        # No loss so far shows the updates of the last batch.
        for variable in self._model.trainable_variables:
            if not tf.reduce_all(tf.math.is_finite(variable.value)):
                self._stop(math.nan, epoch, num_batches)
        self._checkpoints.save()
        logging.info("Saved epoch %d, batch %d.", epoch, num_batches)

    def _check_finite(
        self, losses: Sequence[Any], epoch: int, last_step: int
    ) -> None:
        """Stops the job at the first loss that is not finite.

        Args:
            losses: the losses of consecutive steps.
            epoch: their epoch, counted from 1.
            last_step: the last of these steps, counted from 1 in the epoch.
        """
        for step, loss in enumerate(losses, start=last_step - len(losses) + 1):
            if not math.isfinite(loss):
                self._stop(float(loss), epoch, step)

    def check_validation(self, rmse: float, epoch: int, step: int) -> None:
        """Stops the job if the validation after an epoch is not finite.

        No training loss shows the updates of the last batch.

        Args:
            rmse: the validation RMSE.
            epoch: the epoch, counted from 1.
            step: its number of steps.

        Raises:
            DivergenceError: it is not finite.
        """
        self._check_finite([rmse], epoch, step)

    def _stop(self, loss: float, epoch: int, step: int) -> None:
        config = self._config
        remedy = (
            "a lower --learning_rate"
            if config.num_refeeds
            else "--num_refeeds=1, which steadies large learning rates,"
            " or a lower --learning_rate"
        )
        kept = (
            "The last checkpoint is kept. In another --job-dir, try"
            if self._checkpoints.has_saved
            else "No checkpoint was written. Try"
        )
        raise DivergenceError(
            f"the loss became {loss} in epoch {epoch} at batch {step}, with"
            f" learning rate {config.learning_rate_at(epoch - 1):g} and"
            f" num_refeeds={config.num_refeeds}. {kept} {remedy}."
        )
