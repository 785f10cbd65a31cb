"""The whole command, in processes of its own."""

import os
import resource
import signal
import subprocess
import time

import pytest

from benchmarks.netflix_shaped import (
    Shape,
    write_csv,
    write_netflix,
    write_parquet,
)
from data_prep.dataset.manifest import is_prepared, read_manifest
from data_prep.prepare import prepare
from data_prep.sources.registry import make_source
from data_prep.splits.registry import make_split
from tests.data_prep.helpers import read_files, run_task, start_task

pytestmark = pytest.mark.integration


@pytest.fixture
def ratings_file(rows, tmp_path):
    path = tmp_path / "ratings.csv"
    lines = [",".join(map(str, row)) for row in rows]
    path.write_text("\n".join(["user,item,rating,timestamp", *lines]))
    return path


def test_command_prepares_and_says_what_it_did(ratings_file, tmp_path):
    code, text, _ = run_task(
        *("--source", "files", "--ratings", ratings_file),
        *("--split=random", "--validation-fraction=0.2", "--test_fraction=0.3"),
        *("--seed=3", "--num_shards=2", "--output-dir", tmp_path / "out"),
    )
    assert code == 0
    assert "60 users" in text
    assert "0 dropped, duplicate" in text
    assert "Ratings from 0 to 5" in text
    assert f"Prepared data: {tmp_path / 'out'}" in text
    split = make_split("random", validation_fraction=0.2, test_fraction=0.3)
    source = make_source("files", ratings=str(ratings_file))
    expected = tmp_path / "expected"
    prepare(source, split, str(expected), seed=3, num_shards=2)
    assert read_files(tmp_path / "out") == read_files(expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            ["--source=movielens-1m", "--split=random"],
            "--split and --output_dir must have a value",
            id="missing_flag",
        ),
        pytest.param(
            ["--source=movielens-1m", "--splt=random"],
            "Unknown command line flag 'splt'",
            id="mistyped_flag",
        ),
        pytest.param(["--num-shards=0"], "num_shards", id="value_out_of_range"),
    ],
)
def test_mistake_in_the_command_line_exits_with_2(arguments, message):
    code, _, errors = run_task(*arguments)
    assert code == 2
    assert errors[0].startswith("error: ")
    assert message in errors[0]


@pytest.mark.extended
def test_mistake_in_the_data_exits_with_1(ratings_file, tmp_path):
    ratings_file.write_text(ratings_file.read_text() + "\nu1,i1,many,3\n")
    code, _, errors = run_task(
        *("--source", "files", "--ratings", ratings_file),
        *("--split", "user-time", "--output-dir", tmp_path / "out"),
        "--max-bad-rows=0.0005",
    )
    assert code == 1
    assert errors == [
        f"error: {ratings_file}:1202: the rating (column rating) must be a"
        " finite number. Received: 'many'. Of 1,201 rows 1 cannot be used (1"
        " unreadable_rating), more than the 0.05 % that --max-bad-rows"
        " allows; the first are in rejected.csv."
    ]
    assert not is_prepared(str(tmp_path / "out"))
    assert (tmp_path / "out" / "rejected.csv").exists()


@pytest.mark.slow
def test_few_bad_rows_are_counted_and_the_first_are_written(
    ratings_file, tmp_path
):
    ratings_file.write_text(ratings_file.read_text() + "\nu1,i1,many,3\n")
    output_dir = tmp_path / "out"
    code, text, _ = run_task(
        *("--source", "files", "--ratings", ratings_file),
        *("--split", "random", "--output-dir", output_dir),
    )
    assert code == 0
    assert "1 rejected, unreadable_rating" in text
    assert (output_dir / "rejected.csv").read_text() == (
        "file,line,reason,row\n"
        f'{ratings_file},1202,unreadable_rating,"u1,i1,many,3"\n'
    )
    manifest = read_manifest(str(output_dir))
    assert manifest.rows_read == 1_201
    assert manifest.rows_rejected == {"unreadable_rating": 1}
    assert "rejected.csv" in manifest.digests


@pytest.mark.slow
def test_standard_input_is_read(ratings_file, tmp_path):
    code, _, errors = run_task(
        *("--source", "files", "--ratings", "-", "--split", "random"),
        *("--output-dir", tmp_path / "out"),
        input=ratings_file.read_text(),
    )
    assert code == 0, errors
    (file,) = read_manifest(str(tmp_path / "out")).source["files"]
    assert file["name"] == "standard input"


@pytest.mark.slow
def test_dry_run_says_what_it_recognised(ratings_file):
    code, text, _ = run_task(
        *("--source", "files", "--ratings", ratings_file, "--dry-run"),
    )
    assert code == 0
    for expected in (
        f"{ratings_file}: comma-separated: user in column user, item in",
        "  user_id 'u0', item_id 'i0', rating 0.0, timestamp 0.0",
        "Ratings: 1,200",
        "Scale: 0 to 5",
        "Time: 1970-01-01 00:00 to 1970-01-01 05:17 (UTC)",
        "Items: 30",
        "  leave-last-out: 1,080 train; 60 validation; 60 test",
        "  global-time: 960 train; 120 validation; 120 test",
    ):
        assert expected in text
    assert "netflix" not in text


@pytest.mark.slow
def test_memory_limit_that_is_too_low_exits_with_1(ratings_file, tmp_path):
    code, _, errors = run_task(
        *("--source", "files", "--ratings", ratings_file, "--split", "random"),
        *("--output-dir", tmp_path / "out", "--memory-limit", "100MB"),
    )
    assert code == 1
    assert errors == [
        "error: --memory-limit must be at least 1000 MB. Received: 100 MB"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_parquet, write_csv, write_netflix])
def test_memory_limit_is_kept(write, tmp_path):
    """The kernel would not give more, either.

    With `--memory-limit 2GB`, as many ratings take more than 1 GB.
    """
    limit = 1 << 30
    write(Shape(10_000_000), str(tmp_path / "ratings"))
    process = start_task(
        *("--source", "files", "--ratings", tmp_path / "ratings"),
        *("--split", "global-time", "--memory-limit", "1GB"),
        *("--output-dir", tmp_path / "out"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_DATA, (limit, limit)
        ),
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert usage.ru_maxrss << 10 < limit


@pytest.mark.slow
def test_full_disk_exits_with_1_and_leaves_no_manifest(ratings_file, tmp_path):
    """A limit on the size of files stands for the end of the disk."""
    code, _, errors = run_task(
        *("--source", "files", "--ratings", ratings_file),
        *("--split", "random", "--output-dir", tmp_path / "out"),
        preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (4096, 4096)
        ),
    )
    assert code == 1
    assert errors[0].startswith("error: could not work in ")
    assert errors[0].endswith("File too large")
    assert not is_prepared(str(tmp_path / "out"))


@pytest.mark.slow
def test_killed_run_is_done_again(movielens_1m, tmp_path):
    output_dir = tmp_path / "out"
    process = start_task(
        *("--source", "movielens-1m", "--split", "user-time"),
        *("--output-dir", output_dir),
        env={"TMPDIR": str(tmp_path)},
    )
    while not any(output_dir.glob("users/part-*")):
        assert process.poll() is None
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not is_prepared(str(output_dir))
    source, split = make_source("movielens-1m"), make_split("user-time")
    prepare(source, split, str(output_dir))
    assert read_files(output_dir) == read_files(movielens_1m)
