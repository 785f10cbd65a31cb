"""Scoring as a nightly job runs it: a command, killed and started again."""

import json
import os
import signal
import time

import pandas as pd
import pytest

from tests.integration.commands import error_line, run, start

pytestmark = pytest.mark.extended


@pytest.fixture
def export_dir(version):
    return os.path.dirname(version)


def write_lines(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_a_file_of_ratings_becomes_a_table_of_recommendations(
    export_dir, tmp_path
):
    ratings = write_lines(
        tmp_path / "ratings.csv",
        *("movieId;userId;rating", "item-1;7.0;9", 'item-2;"a;b";3'),
    )
    candidates = write_lines(tmp_path / "in_stock.txt", "item-5", "item-6")
    sold_out = write_lines(tmp_path / "out.csv", "item_id,why", "item-6,sold")
    code, output, errors = run(
        "deep_recommender",
        *("score", "--model", export_dir, "--ratings", ratings),
        *("--output", tmp_path / "scores", "--format=csv", "--top-k=3"),
        *("--candidates", candidates, "--exclude", sold_out),
    )
    assert code == 0, errors
    assert "2 users" in output
    assert "users/s" in errors
    names = os.listdir(tmp_path / "scores")
    # What the ratings were prepared in is gone.
    assert all(name.startswith(("part-", "_manifest.json")) for name in names)
    parts = [tmp_path / "scores" / name for name in names if "part" in name]
    rows = pd.concat(pd.read_csv(part, dtype=str) for part in parts)
    assert set(rows["user_id"]) == {"7", "a;b"}
    assert set(rows["item_id"]) == {"item-5"}


@pytest.mark.slow
def test_a_mistake_is_one_line(export_dir, tmp_path):
    code, _, errors = run(
        *("export.score", "--model", export_dir, "--output", tmp_path / "out"),
        *("--ratings", write_lines(tmp_path / "bad.csv", "a,b", "1,2")),
    )
    assert code == 1
    assert "no user column" in error_line(errors)


#: What a person does -> their flags, and what they are told.
MISTAKES = {
    "no users": ([], "either --data-dir, prepared data, or --ratings"),
    "users twice": (
        ["--data-dir={data}", "--ratings={directory}/x.csv"],
        "either --data-dir, prepared data, or --ratings",
    ),
    "no such data": (["--data-dir={directory}/no"], "no is not prepared data"),
    "no such file": (
        ["--data-dir={data}", "--pairs={directory}/no.csv"],
        "no file matches --pairs",
    ),
    "pairs without items": (
        ["--data-dir={data}", "--pairs={directory}/users.csv"],
        "no column of the item.*Its columns are: user_id, name",
    ),
    "pairs and candidates": (
        ["--data-dir={data}", "--pairs=x", "--candidates=y"],
        "leave --candidates and --exclude out",
    ),
    "output below a file": (
        ["--data-dir={data}", "--output={directory}/users.csv/out"],
        "users.csv",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "message"), MISTAKES.values(), ids=MISTAKES)
def test_every_mistake_is_one_line(
    export_dir, synthetic_data, tmp_path, flags, message
):
    write_lines(tmp_path / "users.csv", "user_id,name", "1,x")
    code, _, errors = run(
        *("export.score", "--model", export_dir, "--output", tmp_path / "out"),
        *(f.format(data=synthetic_data, directory=tmp_path) for f in flags),
    )
    assert code == 1
    assert pd.Series([error_line(errors)]).str.contains(message).all()


def test_a_second_run_into_a_directory_is_refused_by_name(
    export_dir, synthetic_data, tmp_path
):
    output = tmp_path / "scores"
    command = ("export.score", "--model", export_dir, "--output", output)
    command += ("--data-dir", synthetic_data)
    first = start(*command)
    while not (output / ".lease.json").exists():
        assert first.poll() is None
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)
    try:
        code, _, errors = run(*command)
    finally:
        first.send_signal(signal.SIGCONT)
        _, first_errors = first.communicate(timeout=60)
    assert code == 1
    assert (
        f"another run writes in {output}: process {first.pid} on"
        in error_line(errors)
    )
    assert "take another --output" in errors
    assert first.returncode == 0, first_errors
    assert not (output / ".lease.json").exists()
    assert (output / "_manifest.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ratings", "pairs"])
def test_a_killed_run_ends_with_the_files_of_one_that_was_not(
    export_dir, tmp_path, kind
):
    users = range(40_000)
    ratings = write_lines(
        tmp_path / "ratings.csv",
        "user_id,item_id,rating",
        *(f"{user},item-{user % 40},{user % 11}" for user in users),
    )
    pairs = write_lines(
        tmp_path / "pairs.csv",
        "user_id,item_id",
        *(f"{user},item-{user % 39}" for user in users),
    )
    command = ["export.score", "--model", export_dir, "--ratings", ratings]
    command += ["--pairs", pairs] if kind == "pairs" else []
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    code, _, errors = run(*command, "--output", whole)
    assert code == 0, errors
    process = start(*command, "--output", killed)
    end = time.monotonic() + 120
    while not list(killed.glob("part-*")) and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    num_parts = len(list(killed.glob("part-*")))
    assert 1 <= num_parts < 8
    assert not (killed / "_manifest.json").exists()
    code, _, errors = run(*command, "--output", killed)
    assert code == 0, errors
    assert sorted(os.listdir(killed)) == sorted(os.listdir(whole))
    for path in whole.iterdir():
        assert (killed / path.name).read_bytes() == path.read_bytes()
    manifest = json.loads((whole / "_manifest.json").read_text())
    scored = manifest["shards"].values()
    assert sum(shard["num_users"] for shard in scored) == len(users)
