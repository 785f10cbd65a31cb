"""Logs the progress of long work."""

import time

from absl import logging

_SECONDS_BETWEEN_LOGS = 10


class Progress:
    """Logs the amount done, the rate, and the time left.

    Args:
        verb: the work, as a verb in the past tense.
        noun: its objects, in the plural.
        expected: the approximate number of objects.
    """

    def __init__(self, verb: str, noun: str, expected: int) -> None:
        self._verb = verb
        self._noun = noun
        self._expected = expected
        self._done = 0
        self._start = self._last = time.monotonic()

    def add(self, number: int) -> None:
        """Adds to the amount done; logs at most every ten seconds."""
        self._done += number
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN_LOGS or not self._done:
            return
        self._last = now
        rate = self._done / (now - self._start)
        logging.info(
            "%s %s of about %s %s, %s per second, %.0f s left.",
            self._verb,
            f"{self._done:,}",
            f"{max(self._expected, self._done):,}",
            self._noun,
            f"{rate:,.0f}",
            max(self._expected - self._done, 0) / rate,
        )

    def finish(self) -> None:
        """Logs the total."""
        logging.info(
            "%s %s %s in %.1f s.",
            self._verb,
            f"{self._done:,}",
            self._noun,
            time.monotonic() - self._start,
        )
