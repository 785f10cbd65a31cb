"""Retries with exponential backoff, and their deadline."""

import itertools
import random
import time
from collections.abc import Callable
from typing import TypeVar

from serving.client.errors import ServingError

Result = TypeVar("Result")

# Bounds of the pause before the first and before any later attempt.
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0


class Deadline:
    """The time by which a call must end.

    Args:
        seconds: the time from now.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._time = time.monotonic() + seconds

    def remaining_seconds(self) -> float:
        """Returns the time left, negative after the deadline."""
        return self._time - time.monotonic()


def call_with_retries(
    call: Callable[[], Result], deadline: Deadline, max_retries: int
) -> Result:
    """Calls until there is a result or an error that no retry would change.

    The longest pause doubles with each attempt, and the pause is a random part
    of it, so that clients that were refused together do not return together
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter).

    Args:
        call: the function to call.
        deadline: no pause goes beyond it.
        max_retries: the most attempts after the first.

    Raises:
        ServingError: the last one that `call` raised.
    """
    for attempt in itertools.count():
        try:
            return call()
        except ServingError as error:
            if not error.is_retriable or attempt == max_retries:
                raise
            longest = min(
                _FIRST_PAUSE_SECONDS * 2**attempt, _LONGEST_PAUSE_SECONDS
            )
            pause = random.uniform(0, longest)
            if pause >= deadline.remaining_seconds():
                raise
            time.sleep(pause)
    raise AssertionError("The loop has no end.")
