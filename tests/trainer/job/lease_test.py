import json
import os
import socket
import subprocess
import sys

import pytest

from data_prep.dataset.errors import UserError
from trainer.job import lease
from trainer.job.lease import hold_lease


@pytest.fixture
def path(tmp_path):
    return tmp_path / "job/lease.json"


def write_lease(path, **owner):
    path.parent.mkdir()
    path.write_text(
        json.dumps({"host": socket.gethostname(), "heartbeat": 3, **owner})
    )


@pytest.fixture
def living_process():
    process = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE
    )
    yield process
    process.kill()
    process.communicate()


def test_a_lease_lasts_as_long_as_its_block(path):
    with hold_lease(str(path)):
        assert json.loads(path.read_text())["host"] == socket.gethostname()
    assert not path.exists()


def test_the_lease_of_a_living_process_is_refused_by_name(path, living_process):
    write_lease(path, pid=living_process.pid)
    with (
        pytest.raises(
            UserError,
            match=f"another run trains in .*job: process {living_process.pid} "
            f"on {socket.gethostname()}",
        ),
        hold_lease(str(path)),
    ):
        pass
    assert json.loads(path.read_text())["heartbeat"] == 3


def test_the_lease_of_a_process_that_ended_is_taken_over(path, living_process):
    living_process.kill()
    living_process.wait()
    write_lease(path, pid=living_process.pid)
    with hold_lease(str(path)):
        assert json.loads(path.read_text())["pid"] != living_process.pid


def test_the_lease_of_another_machine_is_taken_over_when_it_is_stale(
    path, monkeypatch
):
    monkeypatch.setattr(lease, "STALE_SECONDS", 2.0)
    write_lease(path, host="elsewhere", pid=1)
    with hold_lease(str(path)):
        assert json.loads(path.read_text())["host"] == socket.gethostname()


def test_the_lease_of_another_machine_that_lives_is_refused(path, monkeypatch):
    write_lease(path, host="elsewhere", pid=1)

    def renew(_):
        path.write_text(
            json.dumps({"host": "elsewhere", "pid": 1, "heartbeat": 4})
        )

    monkeypatch.setattr("trainer.job.lease.time.sleep", renew)
    with (
        pytest.raises(UserError, match="process 1 on elsewhere"),
        hold_lease(str(path)),
    ):
        pass


@pytest.mark.parametrize("seconds", [0, 2**33], ids=["1970", "2242"])
def test_clocks_do_not_say_whether_a_run_lives(
    path, living_process, seconds, monkeypatch
):
    write_lease(path, pid=living_process.pid)
    os.utime(path, (seconds, seconds))
    with (
        pytest.raises(UserError, match="another run trains"),
        hold_lease(str(path)),
    ):
        pass
    monkeypatch.setattr(lease, "STALE_SECONDS", 2.0)
    path.write_text(json.dumps({"host": "x", "pid": 1, "heartbeat": 3}))
    os.utime(path, (seconds, seconds))
    with hold_lease(str(path)):
        assert json.loads(path.read_text())["heartbeat"] == 0


def test_a_run_shows_signs_of_life(path, monkeypatch):
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.01)
    with hold_lease(str(path)):
        while json.loads(path.read_text())["heartbeat"] < 2:
            pass


@pytest.mark.parametrize("place", ["job", "job/above"])
def test_a_file_in_the_place_of_the_directory_is_named(place, tmp_path):
    (tmp_path / "job").write_text("")
    directory = tmp_path / place
    with (
        pytest.raises(
            UserError, match=rf"{directory} is not a directory: .*--job-dir"
        ),
        hold_lease(str(directory / "lease.json")),
    ):
        pass
