"""What a person sees while a job trains."""

import time

from absl import logging

#: Between two lines within an epoch.
_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Logs speed and remaining time, and at least a line in ten seconds.

    Args:
        steps_per_epoch: batches an epoch.
        batch_size: users a batch.
        first_epoch: number of the first epoch of this run, counted from 1.
        num_epochs: number of the last epoch of the job.
    """

    def __init__(
        self,
        steps_per_epoch: int,
        batch_size: int,
        first_epoch: int,
        num_epochs: int,
    ) -> None:
        self._steps_per_epoch = steps_per_epoch
        self._batch_size = batch_size
        self._first_epoch = first_epoch
        self._num_epochs = num_epochs
        self._start = self._last_line = time.monotonic()

    def step_done(self, epoch: int, step: int) -> None:
        """Logs a line if the last one is some seconds old.

        Args:
            epoch: number of the epoch, counted from 1.
            step: number of the step in it, counted from 1.
        """
        now = time.monotonic()
        if now - self._last_line < _SECONDS_BETWEEN_LINES:
            return
        logging.info(
            "epoch %d/%d, step %d/%d: %s",
            epoch,
            self._num_epochs,
            step,
            self._steps_per_epoch,
            self._speed(epoch, step, now),
        )
        self._last_line = now

    def epoch_done(self, epoch: int, figures: str) -> None:
        """Logs the line of a whole epoch.

        Args:
            epoch: its number, counted from 1.
            figures: what was measured.
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

    def _speed(self, epoch: int, step: int, now: float) -> str:
        steps_done = (epoch - self._first_epoch) * self._steps_per_epoch + step
        steps_left = (self._num_epochs - epoch + 1) * self._steps_per_epoch
        steps_left -= step
        seconds_per_step = (now - self._start) / steps_done
        return (
            f"{self._batch_size / seconds_per_step:,.0f} users/s,"
            f" {_minutes(steps_left * seconds_per_step)} left"
        )


def _minutes(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
