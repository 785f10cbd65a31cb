"""Trains with several processes that know each other by TF_CONFIG."""

import json
import os
import signal

import pytest

from benchmarks.free_addresses import find_free_addresses
from tests.integration.commands import error_line, train
from tests.integration.worker_processes import (
    finish,
    start_task,
    start_workers,
    train_together,
)
from tests.job_state import assert_close_state

pytestmark = [pytest.mark.integration, pytest.mark.slow]

#: Batches that two workers cannot halve, with all that is left to chance.
FLAGS = (
    *("--recipe=untaught", "--hidden-units=16,8", "--batch-size=33"),
    *("--num-epochs=20", "--dropout-rate=0.5", "--refeed-noise-rate=0.2"),
    *("--optimizer=adam", "--checkpoint-steps=2"),
)

#: Both teachers, and batches that three workers cannot share evenly.
TAUGHT_FLAGS = (
    *("--recipe=quickstart", "--hidden-units=16,8", "--batch-size=32"),
    *("--num-epochs=2", "--dropout-rate=0.5", "--teacher-rank=2"),
    *("--teacher-sweeps=10", "--teacher-samples=4"),
)


def assert_same_weights(job_dir, other_job_dir):
    assert_close_state(job_dir / "checkpoints", other_job_dir / "checkpoints")


@pytest.fixture(scope="module")
def alone(tmp_path_factory, synthetic_data):
    """The directory of a job of one process."""
    job_dir = tmp_path_factory.mktemp("jobs") / "alone"
    return train(job_dir, synthetic_data, *FLAGS)


def test_two_workers_train_exactly_like_one(alone, tmp_path, synthetic_data):
    chief_output, worker_output = train_together(
        *("--job-dir", tmp_path, "--data-dir", synthetic_data), *FLAGS
    )
    assert_same_weights(tmp_path, alone)
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
    process = start_task(
        *(kind, 0, find_free_addresses(2)),
        *("--job-dir", tmp_path, "--data-dir", synthetic_data),
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
    train_together(
        *("--job-dir", tmp_path / "three", "--data-dir", synthetic_data),
        *flags,
        num_workers=3,
    )
    assert_same_weights(tmp_path / "three", tmp_path / "alone")


def test_two_workers_sample_the_items_that_one_does(tmp_path, synthetic_data):
    flags = (*FLAGS, "--num-sampled-items=10", "--num-epochs=5")
    train(tmp_path / "alone", synthetic_data, *flags)
    train_together(
        *("--job-dir", tmp_path / "two", "--data-dir", synthetic_data), *flags
    )
    assert_same_weights(tmp_path / "two", tmp_path / "alone")


@pytest.fixture(scope="module")
def taught_alone(tmp_path_factory, synthetic_data):
    """The directory of a job of one process that learns from teachers."""
    job_dir = tmp_path_factory.mktemp("jobs") / "taught_alone"
    return train(job_dir, synthetic_data, *TAUGHT_FLAGS)


@pytest.mark.parametrize("num_workers", [2, 3])
def test_workers_with_teachers_train_exactly_like_one(
    num_workers, taught_alone, tmp_path, synthetic_data
):
    train_together(
        *("--job-dir", tmp_path, "--data-dir", synthetic_data),
        *TAUGHT_FLAGS,
        num_workers=num_workers,
    )
    assert_same_weights(tmp_path, taught_alone)


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
    train_together(*arguments)
    assert_same_weights(tmp_path, alone)


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
    train_together(*arguments)
    assert_same_weights(tmp_path, alone)


def test_workers_need_prepared_data(tmp_path):
    for code, _, errors in finish(start_workers("--job-dir", tmp_path)):
        assert code == 1
        assert "needs --data-dir" in error_line(errors)
