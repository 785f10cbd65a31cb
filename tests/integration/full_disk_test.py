"""Fills disks up under real commands, and makes them read-only."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from export.saved_model import export_job
from export.versions import list_versions
from tests.integration.commands import SMALL_JOB, error_line, run
from tests.integration.small_disk import SmallDisk
from tests.job_state import assert_same_state
from tests.synthetic import write_ratings
from trainer.job.paths import JobPaths

pytestmark = [pytest.mark.extended, pytest.mark.slow]

#: Each lets a job write some more than the one before, and the last all of it.
SIZES = ("4k", "12k", "60k", "140k", "180k", "480k", "900k", "8m")


@pytest.fixture
def disk():
    try:
        disk = SmallDisk("8m")
    except OSError as error:
        pytest.skip(f"no namespaces here: {error}")
    yield disk
    disk.close()


@pytest.fixture
def ratings(tmp_path):
    path = tmp_path / "ratings.csv"
    write_ratings(path)
    return path


@pytest.fixture(scope="module")
def version(trained_job, tmp_path_factory):
    """The directory of an exported version."""
    paths = JobPaths.resolve(
        trained_job.job_dir,
        export_dir=str(tmp_path_factory.mktemp("export")),
        environ={},
    )
    return export_job(paths)


def prepare_command(ratings, output_dir):
    return (
        *("data_prep.task", "--source=files", "--split=user-time"),
        *("--ratings", ratings, "--output-dir", output_dir),
    )


def score_command(version, synthetic_data, output):
    return (
        *("export.score", "--model", version, "--output", output),
        *("--data-dir", synthetic_data),
    )


def assert_no_space(result, place):
    """Checks that a command ended with one line that says what is full."""
    code, _, errors = result
    assert code == 1, errors
    assert "No space left on device" in error_line(errors)
    assert str(place) in error_line(errors)


def read_files(directory):
    return {
        path.relative_to(directory): path.read_bytes()
        for path in Path(directory).rglob("*")
        if path.is_file()
    }


def test_a_job_whose_disk_was_full_at_every_write_ends_like_any_other(
    disk, trained_job, synthetic_data
):
    job_dir = f"{disk.path}/job"
    num_failures = 0
    for size in SIZES:
        disk.resize(size)
        result = run(
            "trainer.task",
            *("--job-dir", job_dir, "--data-dir", synthetic_data),
            *SMALL_JOB,
        )
        if result[0] == 0:
            break
        assert_no_space(result, job_dir)
        assert list_versions(f"{job_dir}/export") == []
        report = Path(job_dir, "report.html")
        assert not report.exists() or "</html>" in report.read_text()
        num_failures += 1
    assert num_failures >= 6
    assert result[0] == 0, result[2]
    whole = Path(trained_job.job_dir)
    assert_same_state(whole / "checkpoints", f"{job_dir}/checkpoints")
    for name in ("metrics.json", "config.json"):
        assert Path(job_dir, name).read_text() == (whole / name).read_text()
    assert os.listdir(f"{job_dir}/export") == ["1"]
    check_digests(f"{job_dir}/export/1")


def check_digests(version_dir):
    subprocess.run(
        ["sha256sum", "--check", "--quiet", "assets.extra/SHA256SUMS"],
        cwd=version_dir,
        check=True,
    )


def test_an_export_to_a_full_disk_leaves_the_version_before(
    disk, trained_job, version
):
    export_dir = f"{disk.path}/export"
    shutil.copytree(version, f"{export_dir}/1")
    command = (
        *("export.task", "--job-dir", trained_job.job_dir),
        *("--export-dir", export_dir),
    )
    disk.resize("800k")
    assert_no_space(run(*command), export_dir)
    assert os.listdir(export_dir) == ["1"]
    check_digests(f"{export_dir}/1")
    disk.resize("8m")
    code, output, errors = run(*command)
    assert code == 0, errors
    assert output == f"Exported {export_dir}/2\n"


def test_a_preparation_on_a_full_disk_is_no_prepared_data(
    disk, ratings, tmp_path
):
    whole, output_dir = tmp_path / "whole", f"{disk.path}/data"
    code, _, errors = run(*prepare_command(ratings, whole))
    assert code == 0, errors
    disk.resize("52k")
    assert_no_space(run(*prepare_command(ratings, output_dir)), output_dir)
    code, _, errors = run(
        "trainer.task",
        *("--job-dir", tmp_path / "job", "--data-dir", output_dir),
    )
    assert code == 1
    assert "is not prepared data" in error_line(errors)
    disk.resize("8m")
    code, _, errors = run(*prepare_command(ratings, output_dir))
    assert code == 0, errors
    assert read_files(output_dir) == read_files(whole)


def test_a_preparation_whose_temporary_disk_is_full_says_so(
    disk, ratings, tmp_path
):
    disk.resize("200k")
    result = run(
        *prepare_command(ratings, tmp_path / "data"),
        env={"TMPDIR": disk.path},
    )
    assert_no_space(result, disk.path)
    assert "TMPDIR names another place" in error_line(result[2])


def test_a_scoring_on_a_full_disk_goes_on_later(
    disk, version, synthetic_data, tmp_path
):
    whole, output = tmp_path / "whole", f"{disk.path}/scores"
    code, _, errors = run(*score_command(version, synthetic_data, whole))
    assert code == 0, errors
    command = score_command(version, synthetic_data, output)
    for size in ("4k", "20k"):
        disk.resize(size)
        assert_no_space(run(*command), output)
        assert not os.path.exists(f"{output}/_manifest.json")
    disk.resize("8m")
    code, _, errors = run(*command)
    assert code == 0, errors
    assert read_files(output) == read_files(whole)


@pytest.mark.parametrize("name", ["data_prep", "trainer", "export", "score"])
def test_a_read_only_directory_is_told_in_one_line(
    name, disk, ratings, trained_job, version, synthetic_data
):
    job_dir = f"{disk.path}/job"
    shutil.copytree(trained_job.job_dir, job_dir)
    command = {
        "data_prep": prepare_command(ratings, f"{disk.path}/data"),
        "trainer": (
            *("trainer.task", "--job-dir", job_dir),
            *("--data-dir", synthetic_data, "--num-epochs=4"),
        ),
        "export": ("export.task", "--job-dir", job_dir),
        "score": score_command(version, synthetic_data, f"{disk.path}/scores"),
    }[name]
    before = read_files(disk.path)
    disk.make_read_only()
    code, _, errors = run(*command)
    assert code == 1, errors
    assert "Read-only file system" in error_line(errors)
    assert disk.path in error_line(errors)
    assert read_files(disk.path) == before
