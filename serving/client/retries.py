"""Asking again, and when to stop."""

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
    """A moment in the future.

    Args:
        seconds: how far.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._time = time.monotonic() + seconds

    def remaining_seconds(self) -> float:
        """Returns how far it still is; negative when it is over."""
        return self._time - time.monotonic()


def call_with_retries(
    call: Callable[[], Result], deadline: Deadline, max_retries: int
) -> Result:
    """Calls until there is an answer or an error that no retry helps.

    Pauses double from one attempt to the next, and each is a random part of
    that, so that clients that were refused together do not come back together
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter).

    Args:
        call: raises a `ServingError` if it fails.
        deadline: when there is no more time for a pause, the last error is
            raised.
        max_retries: how many attempts may follow the first.
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
