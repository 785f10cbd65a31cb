"""Chooses the devices and the machines that a job trains on."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import TransientError, UserError
from trainer.training.meeting import Cluster, meet

#: Tasks of a cluster that train. The others belong to ways of training that
#: this project does not have.
_TRAINING_TASKS = ("chief", "worker")


def create_strategy(
    environ: Mapping[str, str] = os.environ,
) -> tf.distribute.Strategy:
    """Creates the distribution strategy for the devices of a job.

    With a cluster of several workers, call it before TensorFlow does anything
    else. It waits for the other workers.

    Reference:
        https://cloud.google.com/vertex-ai/docs/training/distributed-training:
        what `TF_CONFIG` and `CLUSTER_SPEC` say of a job.

    Args:
        environ: the environment variables, of which `TF_CONFIG` and
            `CLUSTER_SPEC` are read.

    Returns:
        A MultiWorkerMirroredStrategy if `TF_CONFIG` names several workers, a
        MirroredStrategy over two or more GPUs, else the default strategy.

    Raises:
        UserError: `TF_CONFIG` is malformed, has a task that does not train, or
            does not name the machines that `CLUSTER_SPEC` has.
        TransientError: the other workers did not come in time.
    """
    cluster, task = _read_tf_config(environ.get("TF_CONFIG") or "{}")
    for name in (*cluster, str(task.get("type", "chief"))):
        if name not in _TRAINING_TASKS:
            raise UserError(
                f"TF_CONFIG names a task {name!r}, and a job has no use for"
                " one: its tasks are `chief` and `worker`, which validate as"
                " well. Remove that worker pool."
            )
    num_tasks = sum(map(len, cluster.values()))
    _check_cluster_spec(environ.get("CLUSTER_SPEC"), max(num_tasks, 1))
    if num_tasks > 1:
        return _create_multi_worker_strategy(cluster, task)
    gpus = tf.config.list_logical_devices("GPU")
    if len(gpus) > 1:
        logging.info("Training on %d GPUs.", len(gpus))
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def check_devices(*, require_gpu: bool = False) -> None:
    """Says what a job trains on.

    Call it once the strategy is created.

    Args:
        require_gpu: whether to refuse to train without a GPU.

    Raises:
        UserError: there is no GPU and one is required.
    """
    names = [
        tf.config.experimental.get_device_details(gpu).get(
            "device_name", gpu.name
        )
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    if names:
        logging.info("GPUs of this machine: %s.", ", ".join(names))
        return
    if require_gpu:
        raise UserError(
            "--require-gpu: TensorFlow finds no GPU on this machine. Install"
            " its driver and `tensorflow[and-cuda]`, ask the service for an"
            " accelerator, or leave the flag out to train on the CPU."
        )
    logging.info(
        "NO GPU: trains on the CPU, %d cores. --require-gpu refuses to.",
        os.cpu_count() or 1,
    )


def _create_multi_worker_strategy(
    addresses: Mapping[str, Sequence[str]], task: Mapping[str, Any]
) -> tf.distribute.Strategy:
    num_tasks = sum(map(len, addresses.values()))
    kind, index = task.get("type"), task.get("index")
    if not isinstance(index, int) or not (
        0 <= index < len(addresses.get(str(kind), ()))
    ):
        raise UserError(
            f"TF_CONFIG names {num_tasks} workers, but not which of them this"
            f' is, under "task". Received: task={dict(task)}'
        )
    meet(Cluster(addresses, str(kind), index))
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:
        raise TransientError(
            "the workers of the job did not get together. Start all of them"
            f" again with the same commands. ({error.message[:300]})"
        ) from error
    logging.info(
        "Training on %d workers, of which this is %s %d.",
        num_tasks,
        kind,
        index,
    )
    return strategy


def _read_tf_config(
    tf_config: str,
) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Reads the addresses of each kind of task, and this task."""
    try:
        config = json.loads(tf_config)
        cluster = {
            name: list(addresses)
            for name, addresses in config.get("cluster", {}).items()
        }
        return cluster, dict(config.get("task", {}))
    except (ValueError, AttributeError, TypeError):
        raise UserError(
            "TF_CONFIG must be a JSON object with the addresses of each job"
            ' under "cluster". Unset it to train on this machine alone.'
            f" Received: TF_CONFIG={tf_config!r}"
        ) from None


def _check_cluster_spec(cluster_spec: str | None, num_tasks: int) -> None:
    """Checks that TF_CONFIG names all machines of a Vertex AI job."""
    if not cluster_spec:
        return
    try:
        cluster = json.loads(cluster_spec)["cluster"]
        num_machines = sum(map(len, cluster.values()))
    except (ValueError, AttributeError, TypeError, KeyError):
        raise UserError(
            "CLUSTER_SPEC must be a JSON object with the machines of each"
            ' worker pool under "cluster".'
            f" Received: CLUSTER_SPEC={cluster_spec!r}"
        ) from None
    if num_machines != num_tasks:
        raise UserError(
            f"CLUSTER_SPEC names {num_machines} machines and TF_CONFIG"
            f" {num_tasks}: each machine would train a job of its own in the"
            " same directory. Start the job with TF_CONFIG as Vertex AI sets"
            " it."
        )
