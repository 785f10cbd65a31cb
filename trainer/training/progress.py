"""Logs the progress of a training job."""

import time

from absl import logging

#: Least time between two lines within an epoch.
_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Logs speed and remaining time, about every ten seconds.

    The speed is that of the training steps of the epoch so far; the remaining
    time includes validation and checkpoints. Neither counts the first step,
    which is slower than all others because it builds the graph.

    Args:
        steps_per_epoch: batches per epoch.
        batch_size: users per batch.
        first_epoch: number of the first epoch of this run, counted from 1.
        first_step: number of its first step in that epoch, counted from 1.
        num_epochs: number of the last epoch of the job.
    """

    def __init__(
        self,
        steps_per_epoch: int,
        batch_size: int,
        first_epoch: int,
        first_step: int,
        num_epochs: int,
    ) -> None:
        self._steps_per_epoch = steps_per_epoch
        self._batch_size = batch_size
        self._first_epoch = first_epoch
        self._first_step = first_step
        self._num_epochs = num_epochs
        self._start = self._epoch_start = self._last_line = time.monotonic()
        self._users_per_second = 0.0

    def epoch_begun(self) -> None:
        """Starts the clock of an epoch."""
        self._epoch_start = time.monotonic()

    def step_done(self, epoch: int, step: int) -> None:
        """Logs a line if the last one is old enough.

        Args:
            epoch: number of the epoch, counted from 1.
            step: number of the step in it, counted from 1.
        """
        now = time.monotonic()
        is_first_epoch = epoch == self._first_epoch
        first_step = self._first_step if is_first_epoch else 1
        if is_first_epoch and step == first_step:
            self._start = self._epoch_start = now
            self._log_line(epoch, step, "first step done")
            return
        self._users_per_second = (
            (step - first_step + (not is_first_epoch))
            * self._batch_size
            / (now - self._epoch_start)
        )
        if now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._log_line(epoch, step, self._speed(epoch, step, now))
            self._last_line = now

    def epoch_done(self, epoch: int, figures: str) -> None:
        """Logs the line of a completed epoch.

        Args:
            epoch: its number, counted from 1.
            figures: the metrics of the epoch, as text.
        """
        now = time.monotonic()
        logging.info(
            "epoch %d/%d: %s; %s",
            epoch,
            self._num_epochs,
            figures,
            self._speed(epoch, self._steps_per_epoch, now),
        )
        self._last_line = now

    def _log_line(self, epoch: int, step: int, text: str) -> None:
        logging.info(
            "epoch %d/%d, step %d/%d: %s",
            epoch,
            self._num_epochs,
            step,
            self._steps_per_epoch,
            text,
        )

    def _speed(self, epoch: int, step: int, now: float) -> str:
        steps_done = (epoch - self._first_epoch) * self._steps_per_epoch + step
        steps_done -= self._first_step - 1
        steps_left = (self._num_epochs - epoch + 1) * self._steps_per_epoch
        steps_left -= step
        seconds_left = (now - self._start) * steps_left / max(steps_done - 1, 1)
        speed = f"{self._users_per_second:,.0f} users/s, "
        # If the only step so far was the first, no speed was measured.
        return f"{speed * (steps_done > 1)}{_format_time(seconds_left)} left"


def _format_time(seconds: float) -> str:
    """Formats seconds as `H:MM:SS`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
