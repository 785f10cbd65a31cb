"""Kills and terminates real jobs, and starts them again."""

import signal
import time

import pytest

from tests.integration.commands import run, start, train
from tests.job_state import assert_same_state

pytestmark = [pytest.mark.integration, pytest.mark.slow]

#: Twenty steps make an epoch, of which there are enough to be interrupted.
FLAGS = (
    *("--recipe=untaught", "--hidden-units=16,8", "--batch-size=10"),
    *("--num-epochs=40", "--checkpoint-steps=3"),
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, synthetic_data):
    """The directory of a job that nobody disturbed."""
    job_dir = tmp_path_factory.mktemp("jobs") / "whole"
    return train(job_dir, synthetic_data, *FLAGS)


def end_at(line_part, signal_number, *arguments):
    """Starts a job and sends it a signal at a line of its log.

    Returns its exit code, the rest of its log, and the seconds that it took
    to end.
    """
    process = start("trainer.task", *arguments)
    for line in process.stderr:
        if line_part in line:
            break
    process.send_signal(signal_number)
    sent = time.monotonic()
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors, time.monotonic() - sent


def assert_ends_as(undisturbed, job_dir, arguments):
    code, _, errors = run("trainer.task", *arguments)
    assert code == 0, errors
    assert "epoch 1/40: " not in errors
    assert_same_state(undisturbed / "checkpoints", job_dir / "checkpoints")
    assert (job_dir / "metrics.json").read_text() == (
        undisturbed / "metrics.json"
    ).read_text()


@pytest.mark.parametrize(
    "signal_number",
    [pytest.param(signal.SIGKILL, marks=pytest.mark.slow), signal.SIGTERM],
)
def test_a_job_ended_within_an_epoch_goes_on_to_the_same_weights(
    signal_number, undisturbed, tmp_path, synthetic_data
):
    arguments = (
        *("--job-dir", tmp_path, "--data-dir", synthetic_data),
        *FLAGS,
    )
    code, errors, seconds = end_at(
        "Saved epoch 7, batch 12.", signal_number, *arguments
    )
    if signal_number == signal.SIGTERM:
        assert code == 143
        assert seconds < 10
        assert "SIGTERM while" in errors
    else:
        assert code == -signal.SIGKILL
    assert_ends_as(undisturbed, tmp_path, arguments)


@pytest.mark.slow
def test_a_job_terminated_while_its_teachers_are_fitted_goes_on(
    tmp_path, synthetic_data
):
    arguments = (
        *("--job-dir", tmp_path, "--data-dir", synthetic_data),
        *("--recipe=recommended", "--hidden-units=16,8", "--batch-size=40"),
        *("--num-epochs=2", "--teacher-rank=2", "--teacher-sweeps=200000"),
        "--teacher-samples=1",
    )
    code, errors, seconds = end_at(
        "Bayesian factorization: sweep", signal.SIGTERM, *arguments
    )
    assert code == 143, errors
    assert seconds < 10
    assert "SIGTERM while fitting the teachers" in errors
    assert "Traceback" not in errors
    _, errors, _ = end_at(
        "Bayesian factorization: goes on", signal.SIGTERM, *arguments
    )
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line_part", "activity"), [("Evaluating epoch", "evaluating")]
)
def test_a_job_terminated_after_its_training_says_what_it_was_doing(
    line_part, activity, undisturbed, tmp_path, synthetic_data
):
    arguments = (
        *("--job-dir", tmp_path, "--data-dir", synthetic_data),
        *FLAGS,
    )
    code, errors, seconds = end_at(line_part, signal.SIGTERM, *arguments)
    assert code == 143, errors
    assert seconds < 10
    assert f"SIGTERM while {activity}" in errors
    assert not list(tmp_path.glob("export/*"))
    assert_ends_as(undisturbed, tmp_path, arguments)
