"""Trains with several processes that know each other by TF_CONFIG."""

import json
import os
import signal

import numpy as np
import pytest

from benchmarks.free_addresses import find_free_addresses
from tests.integration.commands import error_line, start, train
from tests.job_state import read_latest_state

pytestmark = [pytest.mark.integration, pytest.mark.slow]

#: Batches that two workers cannot halve, with all that is left to chance.
FLAGS = (
    *("--recipe=untaught", "--hidden-units=16,8", "--batch-size=33"),
    *("--num-epochs=20", "--dropout-rate=0.5", "--refeed-noise-rate=0.2"),
    *("--optimizer=adam", "--checkpoint-steps=2"),
)

TAUGHT_FLAGS = (
    *("--recipe=recommended", "--hidden-units=16,8", "--batch-size=33"),
    *("--num-epochs=2", "--dropout-rate=0.5", "--teacher-rank=2"),
    *("--teacher-sweeps=10", "--teacher-samples=4"),
)


def start_workers(*arguments, num_workers=2):
    """Starts a chief and other workers on this machine."""
    addresses = find_free_addresses(num_workers)
    cluster = {"chief": addresses[:1], "worker": addresses[1:]}
    tasks = [
        {"type": "chief", "index": 0},
        *({"type": "worker", "index": i} for i in range(num_workers - 1)),
    ]
    return [
        start(
            "trainer.task",
            *arguments,
            env={
                "TF_CONFIG": json.dumps({"cluster": cluster, "task": task}),
            },
        )
        for task in tasks
    ]


def finish(workers, timeout=240):
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


def assert_same_weights(job_dir, expected_job_dir):
    state = read_latest_state(job_dir / "checkpoints")
    expected = read_latest_state(expected_job_dir / "checkpoints")
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(
            state[name], value, rtol=1e-5, atol=1e-5, err_msg=name
        )


@pytest.fixture(scope="module")
def alone(tmp_path_factory, synthetic_data):
    """The directory of a job of one process."""
    job_dir = tmp_path_factory.mktemp("jobs") / "alone"
    return train(job_dir, synthetic_data, *FLAGS)


def test_two_workers_train_exactly_like_one(alone, tmp_path, synthetic_data):
    results = finish(
        start_workers(
            *("--job-dir", tmp_path, "--data-dir", synthetic_data), *FLAGS
        )
    )
    for code, _, errors in results:
        assert code == 0, errors
    assert_same_weights(tmp_path, alone)
    (_, chief_output, _), (_, worker_output, _) = results
    assert f"SavedModel: {tmp_path}/export/1" in chief_output
    assert not worker_output
    metrics, expected = (
        json.loads((directory / "metrics.json").read_text())
        for directory in (tmp_path, alone)
    )
    assert metrics["test"]["rmse"] == pytest.approx(
        expected["test"]["rmse"], rel=1e-5
    )


@pytest.mark.parametrize("kind", ["chief", "worker"])
def test_a_worker_that_waits_for_others_ends_on_sigterm(
    kind, tmp_path, synthetic_data
):
    chief, worker = find_free_addresses(2)
    config = {
        "cluster": {"chief": [chief], "worker": [worker]},
        "task": {"type": kind, "index": 0},
    }
    process = start(
        "trainer.task",
        *("--job-dir", tmp_path, "--data-dir", synthetic_data),
        env={"TF_CONFIG": json.dumps(config)},
    )
    for line in process.stderr:
        if "Waits for" in line:
            break
    process.terminate()
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 143, errors
    assert "SIGTERM while starting: exits with status 143" in errors


def test_three_workers_share_a_batch_that_does_not_divide_by_three(
    tmp_path, synthetic_data
):
    flags = (*FLAGS, "--batch-size=32", "--num-epochs=5")
    train(tmp_path / "alone", synthetic_data, *flags)
    results = finish(
        start_workers(
            *("--job-dir", tmp_path / "three", "--data-dir", synthetic_data),
            *flags,
            num_workers=3,
        )
    )
    for code, _, errors in results:
        assert code == 0, errors
    assert_same_weights(tmp_path / "three", tmp_path / "alone")


@pytest.mark.slow
def test_two_workers_with_teachers_train_exactly_like_one(
    tmp_path, synthetic_data
):
    train(tmp_path / "alone", synthetic_data, *TAUGHT_FLAGS)
    results = finish(
        start_workers(
            *("--job-dir", tmp_path / "two", "--data-dir", synthetic_data),
            *TAUGHT_FLAGS,
        )
    )
    for code, _, errors in results:
        assert code == 0, errors
    assert_same_weights(tmp_path / "two", tmp_path / "alone")


@pytest.mark.slow
def test_workers_of_which_one_is_terminated_go_on_together(
    alone, tmp_path, synthetic_data
):
    arguments = ("--job-dir", tmp_path, "--data-dir", synthetic_data, *FLAGS)
    workers = start_workers(*arguments)
    for line in workers[1].stderr:
        if "Saved epoch 1, batch 2." in line:
            break
    workers[1].send_signal(signal.SIGTERM)
    for code, _, errors in finish(workers):
        assert code == 143, errors
    assert os.path.exists(tmp_path / "checkpoints/latest/checkpoint")
    for code, _, errors in finish(start_workers(*arguments)):
        assert code == 0, errors
    assert_same_weights(tmp_path, alone)


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_dies_or_hangs_ends_the_others_and_all_go_on(
    signal_number, alone, tmp_path, synthetic_data
):
    arguments = ("--job-dir", tmp_path, "--data-dir", synthetic_data, *FLAGS)
    chief, worker = start_workers(*arguments)
    for line in worker.stderr:
        if "Saved epoch 1, batch 2." in line:
            break
    worker.send_signal(signal_number)
    _, errors = chief.communicate(timeout=120)
    worker.kill()
    worker.communicate()
    assert chief.returncode == 75
    assert "another worker of the job died or does not" in error_line(errors)
    for code, _, errors in finish(start_workers(*arguments)):
        assert code == 0, errors
    assert_same_weights(tmp_path, alone)


def test_workers_need_prepared_data(tmp_path):
    for code, _, errors in finish(start_workers("--job-dir", tmp_path)):
        assert code == 1
        assert "needs --data-dir" in error_line(errors)
