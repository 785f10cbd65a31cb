"""Trains with two processes whose data and job directory are on `gs://`."""

import shutil
import signal
from pathlib import Path

import pytest

from tests.integration.object_store import CLIENT, ObjectStore
from tests.integration.worker_processes import (
    finish,
    start_workers,
    train_together,
)
from tests.job_state import assert_same_state

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(
        not shutil.which("openssl"), reason="needs openssl for a certificate"
    ),
]

#: Batches that two workers cannot halve, with all that is left to chance.
FLAGS = (
    *("--recipe=untaught", "--hidden-units=16,8", "--batch-size=33"),
    *("--num-epochs=2", "--dropout-rate=0.5", "--refeed-noise-rate=0.2"),
    "--checkpoint-steps=2",
)

NAMES = ("chief", "worker")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, synthetic_data):
    """The directory of a job that two workers train on a disk."""
    job_dir = tmp_path_factory.mktemp("jobs") / "undisturbed"
    train_together(
        *("--job-dir", job_dir, "--data-dir", synthetic_data), *FLAGS
    )
    return job_dir


@pytest.fixture
def store(tmp_path, synthetic_data):
    """A store with the synthetic data in it."""
    with ObjectStore(tmp_path) as store:
        store.upload(Path(synthetic_data), "bucket/data/")
        yield store


def test_workers_whose_chief_is_killed_go_on_from_a_store_that_only_it_fills(
    store, undisturbed, tmp_path
):
    arguments = (
        *("--job-dir", "gs://bucket/job", "--data-dir", "gs://bucket/data"),
        *FLAGS,
    )
    environs = [{**store.environ, CLIENT: name} for name in NAMES]
    chief, worker = start_workers(*arguments, environs=environs)
    for line in chief.stderr:
        if "Saved epoch 1, batch 4." in line:
            break
    chief.send_signal(signal.SIGKILL)
    chief.communicate()
    ((code, _, errors),) = finish([worker])
    assert code == 75, errors
    assert "another worker of the job died or does not" in errors

    output, _ = train_together(*arguments, environs=environs)
    assert "SavedModel: gs://bucket/job/export/1" in output
    store.download("bucket/job/", tmp_path / "job")
    assert_same_state(undisturbed / "checkpoints", tmp_path / "job/checkpoints")
    assert (tmp_path / "job/metrics.json").read_text() == (
        undisturbed / "metrics.json"
    ).read_text()

    methods = {
        name: {method for client, method, _ in store.requests if client == name}
        for name in NAMES
    }
    assert methods["chief"] > {"GET", "POST", "PUT"}
    assert methods["worker"] == {"GET"}
