"""Runs a part of the work in a process that another one starts."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable

from absl import logging

import tensorflow_startup

# A new process reads this module first and then its work, which loads
# TensorFlow.
if "tensorflow" not in sys.modules:
    tensorflow_startup.install()


def run_quietly(work: Callable[..., None], *arguments: object) -> None:
    """Does the work of a process.

    Args:
        work: what to call once the process is prepared.
        *arguments: what to call it with.
    """
    prepare_process()
    # Ctrl-C reaches all processes of a terminal, and the one that started this
    # one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    work(*arguments)


def prepare_process() -> None:
    """Makes this process end with the one that started it, and quieter."""
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("This is not a child process.")

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    logging.set_verbosity(logging.WARNING)
    # Imported late, so that the module can say how TensorFlow is to load.
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
