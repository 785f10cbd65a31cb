"""Ends a job on SIGTERM: saves what it can and exits with status 143.

Batch systems send SIGTERM before they take a machine away, and SIGKILL some
seconds later.
"""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from absl import logging

#: Status of a process that SIGTERM ended, as shells report it.
EXIT_STATUS = 128 + signal.SIGTERM

#: Time until a job that is still busy ends without a word of its own. Python
#: cannot interrupt a product of large matrices.
_GRACE_SECONDS = 8.0


class Terminated(SystemExit):
    """Ends the process with the status of SIGTERM."""

    def __init__(self) -> None:
        super().__init__(EXIT_STATUS)


class Termination:
    """Watches for SIGTERM while a job runs.

    Where nothing defers it, the signal raises `Terminated` in the main thread.
    In a `deferred` block it only sets `requested`: the block is to come to a
    state that can be saved, save it and raise `Terminated`. Either way the
    process ends within ten seconds.

    Attributes:
        requested: whether the signal came.
        activity: what the job is doing, for the log.
    """

    def __init__(self) -> None:
        self.requested = False
        self.activity = "starting"
        self._is_deferred = False

    @contextlib.contextmanager
    def listen(self) -> Iterator[None]:
        """Handles SIGTERM in the block, which the main thread must run."""
        receiver, sender = socket.socketpair()
        sender.setblocking(False)
        old_handler = signal.signal(signal.SIGTERM, self._handle)
        # Wakes the watching thread even while the main one is in a long
        # operation, when Python runs no handler.
        old_fd = signal.set_wakeup_fd(
            sender.fileno(), warn_on_full_buffer=False
        )
        threading.Thread(target=_watch, args=(receiver,), daemon=True).start()
        try:
            yield
        except Terminated:
            logging.info(
                "SIGTERM while %s: exits with status %d. The same command goes"
                " on from here.",
                self.activity,
                EXIT_STATUS,
            )
            raise
        finally:
            signal.set_wakeup_fd(old_fd)
            signal.signal(signal.SIGTERM, old_handler)
            sender.close()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Lets the block come to a state that can be saved."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False
        if self.requested:
            raise Terminated

    def _handle(self, *_: Any) -> None:
        self.requested = True
        if not self._is_deferred:
            raise Terminated


def _watch(receiver: socket.socket) -> None:
    """Ends the process some seconds after SIGTERM, if it still runs."""
    with receiver:
        while received := receiver.recv(1):
            if received[0] == signal.SIGTERM:
                time.sleep(_GRACE_SECONDS)
                os._exit(EXIT_STATUS)
