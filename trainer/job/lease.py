"""The lease of a directory: only one run at a time writes there."""

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import read_json, write_json

#: Seconds between two signs of life of a run.
HEARTBEAT_SECONDS = 15.0

#: Seconds without a sign of life after which a run counts as dead.
STALE_SECONDS = 60.0


@contextlib.contextmanager
def hold_lease(
    path: str, verb: str = "trains", flag: str = "--job-dir"
) -> Iterator[None]:
    """Holds the lease of a directory while the block runs.

    The lease is a file that names its owner and that the owner rewrites every
    15 seconds. What a killed run left is taken over: at once if the run was a
    process of this machine, else when the file has not changed for 60 seconds.
    That is observed, so clocks of machines need not agree.

    Stores have no atomic "create unless it exists", so of two runs that start
    within the same second both may get through.

    Args:
        path: the file, local or remote.
        verb: what a run does in the directory, for the message.
        flag: the flag that names another directory, for the message.

    Raises:
        UserError: another run holds the lease, which the message names; or
            there is a file in the place of the directory.
    """
    directory = os.path.dirname(path)
    try:
        living = _find_living(path)
    except tf.errors.FailedPreconditionError as error:
        raise UserError(
            f"{directory} is not a directory: a file has its name or that of"
            f" one above it. Take another {flag}."
        ) from error
    if living is not None:
        raise UserError(
            f"another run {verb} in {directory}: process {living['pid']} on"
            f" {living['host']}. Wait for its end, stop it, or take another"
            f" {flag}."
        )
    tf.io.gfile.makedirs(directory)
    owner = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "run": uuid.uuid4().hex,
    }
    write_json(path, {**owner, "heartbeat": 0})
    ended = threading.Event()
    heart = threading.Thread(
        target=_beat, args=(path, owner, ended), daemon=True
    )
    heart.start()
    try:
        yield
    finally:
        ended.set()
        heart.join()
        with contextlib.suppress(tf.errors.OpError):
            tf.io.gfile.remove(path)


def _find_living(path: str) -> dict[str, Any] | None:
    """Returns the lease of a living run, once it is known to live."""
    lease = _read(path)
    if lease is None or _has_ended(lease):
        return None
    if lease["host"] == socket.gethostname():
        return lease
    logging.info(
        "%s is held by process %s on %s. Takes it over if that shows no sign"
        " of life for %.0f seconds.",
        path,
        lease["pid"],
        lease["host"],
        STALE_SECONDS,
    )
    end = time.monotonic() + STALE_SECONDS
    while time.monotonic() < end:
        time.sleep(1)
        current = _read(path)
        if current is None:
            return None
        if current != lease:
            return current
    return None


def _read(path: str) -> dict[str, Any] | None:
    try:
        lease = read_json(path)
    except (tf.errors.NotFoundError, ValueError):
        return None
    return dict(lease)


def _has_ended(lease: dict[str, Any]) -> bool:
    """Says whether a lease is of a process of this machine that ended."""
    if lease["host"] != socket.gethostname():
        return False
    if lease["pid"] == os.getpid():
        # An earlier container of the same name.
        return True
    try:
        os.kill(lease["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _beat(path: str, owner: dict[str, object], ended: threading.Event) -> None:
    """Rewrites the lease until the run ends."""
    heartbeat = 0
    while not ended.wait(HEARTBEAT_SECONDS):
        heartbeat += 1
        try:
            write_json(path, {**owner, "heartbeat": heartbeat})
        except tf.errors.OpError as error:
            logging.warning("Cannot renew %s: %s", path, error.message)
