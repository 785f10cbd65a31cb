"""Runs whole jobs on `gs://`, on a store that does not always answer."""

import collections
import itertools
import json
import os
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.integration.commands import (
    SMALL_JOB,
    error_line,
    run,
    start,
)
from tests.integration.object_store import (
    LOST,
    SLOW,
    UNAVAILABLE,
    ObjectStore,
)
from tests.job_state import assert_same_state

pytestmark = [
    pytest.mark.extended,
    pytest.mark.skipif(
        not shutil.which("openssl"), reason="needs openssl for a certificate"
    ),
]

#: A store that does not answer is given up at once, not after three minutes.
IMPATIENT = {
    "GCS_RETRY_CONFIG_MAX_RETRIES": "2",
    "GCS_RETRY_CONFIG_INIT_DELAY_TIME_US": "0",
}

#: A transient failure.
EX_TEMPFAIL = 75


@pytest.fixture
def store(tmp_path, synthetic_data):
    """A store with the synthetic data in it."""
    with ObjectStore(tmp_path) as store:
        store.upload(Path(synthetic_data), "bucket/data/")
        yield store


ARGUMENTS = (
    *("--job-dir", "gs://bucket/job", "--data-dir", "gs://bucket/data"),
    *SMALL_JOB,
)


def assert_ended_as(trained_job, store, directory):
    """Compares the job on the store with the same job on a disk."""
    undisturbed = Path(trained_job.job_dir)
    store.download("bucket/job/", directory)
    assert_same_state(undisturbed / "checkpoints", directory / "checkpoints")
    for name in ("metrics.json", "config.json"):
        assert (directory / name).read_text() == (
            undisturbed / name
        ).read_text()


def is_write_of(part, method, path):
    """Says whether a request writes an object whose name has a part in it."""
    return method != "GET" and f"/{part}" in path


def test_a_second_job_in_a_directory_of_a_store_is_refused_by_name(store):
    lease = {"host": socket.gethostname(), "pid": os.getpid(), "heartbeat": 1}
    store.put("bucket/job/lease.json", json.dumps(lease).encode())
    code, _, errors = run("trainer.task", *ARGUMENTS, env=store.environ)
    assert code == 1
    assert (
        f"another run trains in gs://bucket/job: process {os.getpid()} on"
        f" {socket.gethostname()}" in error_line(errors)
    )
    assert store.names("bucket/job/") == {"lease.json"}


def test_a_store_that_does_not_answer_at_all_is_a_transient_failure(store):
    store.fault = lambda method, path: UNAVAILABLE
    code, _, errors = run(
        "trainer.task", *ARGUMENTS, env={**store.environ, **IMPATIENT}
    )
    assert code == EX_TEMPFAIL
    assert "HTTP response code 503" in error_line(errors)
    assert "gs://bucket/" in error_line(errors)


@pytest.mark.slow
def test_a_job_killed_on_a_store_goes_on_to_the_weights_of_one_on_a_disk(
    store, trained_job, tmp_path
):
    killed = start("trainer.task", *ARGUMENTS, env=store.environ)
    for line in killed.stderr:
        if "epoch 2/3: " in line:
            break
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert "lease.json" in store.names("bucket/job/")
    code, output, errors = run("trainer.task", *ARGUMENTS, env=store.environ)
    assert code == 0, errors
    assert "epoch 1/3: " not in errors
    assert "SavedModel: gs://bucket/job/export/1" in output
    assert_ended_as(trained_job, store, tmp_path / "job")
    code, output, errors = run(
        "export.task", "--job-dir", "gs://bucket/job", env=store.environ
    )
    assert code == 0, errors
    assert output == "Exported gs://bucket/job/export/2\n"
    names = store.names("bucket/job/")
    assert not [name for name in names if "tmp" in name or "/." in name]
    assert "lease.json" not in names


@pytest.mark.slow
def test_a_store_that_fails_for_a_while_does_not_stop_a_job(
    store, trained_job, tmp_path
):
    numbers = itertools.count(1)
    faults = collections.Counter()
    outage_ends = None

    def fault(method, path):
        nonlocal outage_ends
        if outage_ends is None and is_write_of("job/checkpoints", method, path):
            outage_ends = time.monotonic() + 5
        if outage_ends and time.monotonic() < outage_ends:
            happens = UNAVAILABLE
        else:
            happens = {0: LOST, 1: SLOW}.get(next(numbers) % 25)
        faults[happens] += 1
        return happens

    store.fault = fault
    code, _, errors = run("trainer.task", *ARGUMENTS, env=store.environ)
    assert code == 0, errors
    assert min(faults[kind] for kind in (UNAVAILABLE, LOST, SLOW)) > 0
    assert_ended_as(trained_job, store, tmp_path / "job")


#: What a job writes, in this order.
WRITTEN = (
    *("config.json", "checkpoints/latest", "checkpoints/best"),
    *("checkpoints/uncertainty", "metrics.json", "report.html", "export"),
)


@pytest.mark.slow
def test_a_job_that_cannot_write_ends_for_now_and_goes_on_later(
    store, trained_job, tmp_path
):
    environment = {**store.environ, **IMPATIENT}
    for part in WRITTEN:
        store.fault = lambda method, path, part=part: (
            UNAVAILABLE if is_write_of(f"job/{part}", method, path) else None
        )
        code, _, errors = run("trainer.task", *ARGUMENTS, env=environment)
        assert code == EX_TEMPFAIL, errors
        assert "HTTP response code 503" in error_line(errors)
        assert f"gs://bucket/job/{part}" in error_line(errors)
        assert "job/export/1/saved_model.pb" not in store.names("bucket/")
    store.fault = lambda method, path: None
    code, _, errors = run("trainer.task", *ARGUMENTS, env=environment)
    assert code == 0, errors
    assert_ended_as(trained_job, store, tmp_path / "job")


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", ["job/export/.unfinished-1", "job/export/1/saved_model.pb"]
)
def test_an_export_that_is_cut_short_is_no_version(part, store, trained_job):
    store.upload(Path(trained_job.job_dir), "bucket/job/")
    store.fault = lambda method, path: (
        UNAVAILABLE if is_write_of(part, method, path) else None
    )
    environment = {**store.environ, **IMPATIENT}
    command = ("export.task", "--job-dir", "gs://bucket/job")
    code, _, errors = run(*command, env=environment)
    assert code == EX_TEMPFAIL, errors
    assert "HTTP response code 503" in error_line(errors)
    assert "saved_model.pb" not in store.names("bucket/job/export/1/")
    store.fault = lambda method, path: None
    code, output, errors = run(*command, env=environment)
    assert code == 0, errors
    (version,) = {
        name.partition("/")[0]
        for name in store.names("bucket/job/export/")
        if name.endswith("saved_model.pb")
    }
    assert output == f"Exported gs://bucket/job/export/{version}\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    [
        *("latest/checkpoint", "latest/ckpt-18.data-00000-of-00001"),
        "best/checkpoint",
    ],
)
def test_a_store_that_cannot_be_read_costs_no_checkpoint(
    file, store, trained_job
):
    store.upload(Path(trained_job.job_dir), "bucket/job/")
    assert f"job/checkpoints/{file}" in store.names("bucket/")
    store.fault = lambda method, path: (
        UNAVAILABLE if path.endswith(f"checkpoints/{file}") else None
    )
    command = ("trainer.task", *ARGUMENTS, "--num-epochs=4")
    environment = {**store.environ, **IMPATIENT}
    code, _, errors = run(*command, env=environment)
    assert code == EX_TEMPFAIL, errors
    assert "HTTP response code 503" in error_line(errors)
    assert "the one before it" not in errors
    store.fault = lambda method, path: None
    code, _, errors = run(*command, env=environment)
    assert code == 0, errors
    assert "epoch 3/4: " not in errors
    assert "epoch 4/4: " in errors
