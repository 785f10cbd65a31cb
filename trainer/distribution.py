"""Chooses the devices that a job trains on."""

import json
import os
from collections.abc import Mapping

import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError


def create_strategy(
    environ: Mapping[str, str] = os.environ,
) -> tf.distribute.Strategy:
    """Creates the distribution strategy for the devices of this machine.

    Args:
        environ: the environment variables, of which `TF_CONFIG` is read.

    Returns:
        A MirroredStrategy over two or more GPUs, else the default strategy.

    Raises:
        UserError: `TF_CONFIG` names a cluster of several tasks, or is
            malformed.
    """
    num_tasks = _count_tasks(environ.get("TF_CONFIG") or "{}")
    if num_tasks > 1:
        raise UserError(
            f"TF_CONFIG names a cluster of {num_tasks} tasks, and a job"
            " trains on one machine. Give it one replica, with more GPUs if"
            " one is too slow."
        )
    gpus = tf.config.list_logical_devices("GPU")
    if len(gpus) > 1:
        logging.info("Training on %d GPUs.", len(gpus))
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def _count_tasks(tf_config: str) -> int:
    try:
        cluster = json.loads(tf_config).get("cluster", {})
        return sum(len(addresses) for addresses in cluster.values())
    except (ValueError, AttributeError, TypeError):
        raise UserError(
            "TF_CONFIG must be a JSON object with the addresses of each job"
            ' under "cluster". Unset it to train on this machine alone.'
            f" Received: TF_CONFIG={tf_config!r}"
        ) from None
