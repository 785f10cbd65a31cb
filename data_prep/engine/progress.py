"""Says how far long work has come."""

import time

from absl import logging

_SECONDS_BETWEEN_LOGS = 10


class Progress:
    """Logs how much is done, how fast, and how long the rest will take.

    Args:
        verb: what is done, in the past tense.
        noun: what it is done with, in the plural.
        expected: about how many there are.
    """

    def __init__(self, verb: str, noun: str, expected: int) -> None:
        self._verb = verb
        self._noun = noun
        self._expected = expected
        self._done = 0
        self._start = self._last = time.monotonic()

    def add(self, number: int) -> None:
        """Counts what was done, and logs it now and then."""
        self._done += number
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN_LOGS or not self._done:
            return
        self._last = now
        rate = self._done / (now - self._start)
        logging.info(
            "%s %s of about %s %s, %s a second, %.0f s left.",
            self._verb,
            f"{self._done:,}",
            f"{max(self._expected, self._done):,}",
            self._noun,
            f"{rate:,.0f}",
            max(self._expected - self._done, 0) / rate,
        )

    def finish(self) -> None:
        """Logs what was done in all."""
        logging.info(
            "%s %s %s in %.1f s.",
            self._verb,
            f"{self._done:,}",
            self._noun,
            time.monotonic() - self._start,
        )
