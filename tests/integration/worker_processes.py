"""Runs a job in several processes that know each other by TF_CONFIG."""

import json

from benchmarks.free_addresses import find_free_addresses
from tests.integration.commands import start


def start_workers(*arguments, num_workers=2, environs=None):
    """Starts a chief and other workers on this machine.

    Args:
        *arguments: arguments of `trainer.task`, the same for all.
        num_workers: number of processes.
        environs: environment variables of each process, the chief first.

    Returns:
        The processes, the chief first.
    """
    addresses = find_free_addresses(num_workers)
    tasks = [("chief", 0), *(("worker", i) for i in range(num_workers - 1))]
    return [
        start_task(*task, addresses, *arguments, environ=environ)
        for task, environ in zip(
            tasks, environs or [{}] * num_workers, strict=True
        )
    ]


def start_task(kind, index, addresses, *arguments, environ=None):
    """Starts one of the workers of a job.

    Args:
        kind: "chief" or "worker".
        index: its place among the tasks of its kind.
        addresses: those of all tasks, the chief first.
        *arguments: arguments of `trainer.task`.
        environ: further environment variables.
    """
    config = {
        "cluster": {"chief": addresses[:1], "worker": addresses[1:]},
        "task": {"type": kind, "index": index},
    }
    return start(
        "trainer.task",
        *arguments,
        env={**(environ or {}), "TF_CONFIG": json.dumps(config)},
    )


def finish(workers, timeout=480):
    """Waits for all workers; returns their exit codes, outputs and logs."""
    try:
        results = [worker.communicate(timeout=timeout) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    return [
        (worker.returncode, *result)
        for worker, result in zip(workers, results, strict=True)
    ]


def train_together(*arguments, **kwargs):
    """Trains a job to its end; returns the output of each worker.

    Takes the arguments of `start_workers`.
    """
    results = finish(start_workers(*arguments, **kwargs))
    for code, _, errors in results:
        assert code == 0, errors
    return [output for _, output, _ in results]
