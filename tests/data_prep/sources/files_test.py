import os

import pytest

from data_prep.dataset.errors import UserError
from data_prep.prepare import prepare
from data_prep.readers.fetching import find_files
from data_prep.sources.registry import make_source
from data_prep.splits.registry import make_split
from tests.data_prep.helpers import read_back, read_source


def test_files_are_described_by_content_and_not_by_place(tmp_path):
    described = []
    for directory in ("here", "there"):
        (tmp_path / directory).mkdir()
        path = tmp_path / directory / "ratings.csv"
        path.write_text("user,item,rating\n1,2,3\n")
        described.append(make_source("files", ratings=str(path)).describe())
    assert described[0] == described[1]
    path.write_text("user,item,rating\n1,2,4\n")
    assert make_source("files", ratings=str(path)).describe() != described[0]


def test_published_fold_is_kept(tmp_path, caplog):
    """As ML-100K's u1.base and u1.test: tabs, no header."""
    pairs = {
        "u1.base": [(u, i) for u in range(40) for i in range(5 + u // 20)],
        "u1.test": [(u, i) for u in range(20) for i in range(5, 7)],
    }
    for name, rows in pairs.items():
        lines = [f"{user}\t{item}\t3\t100\n" for user, item in rows]
        (tmp_path / name).write_text("".join(lines))
    source = make_source(
        "files",
        ratings=str(tmp_path / "u1.base"),
        test_ratings=str(tmp_path / "u1.test"),
    )
    output_dir = str(tmp_path / "out")
    caplog.set_level("INFO", logger="absl")
    manifest = prepare(source, make_split("fold"), output_dir)
    found = read_back(output_dir)[0]
    test = {key for key, (subset, _) in found.items() if subset == "test"}
    assert (
        "--test-ratings: 20 ratings are of users and items with training"
        " ratings, 20 of items without; 0 held-out ratings are of users"
        " without" in caplog.text
    )
    # Nobody rated item 6 in training.
    assert test == {(str(user), "5") for user in range(20)}
    assert manifest.num_ratings["validation"] > 0
    assert [f["name"] for f in manifest.source["test_files"]] == ["u1.test"]


@pytest.mark.parametrize("count", [100, 101])
def test_many_files_have_one_digest(tmp_path, count):
    for number in range(count):
        (tmp_path / f"mv_{number:04d}.txt").write_text(f"{number}:\n")
    files = make_source("files", ratings=str(tmp_path)).describe()["files"]
    if count == 100:
        assert len(files) == 100
    else:
        assert files["count"] == 101
        assert len(files["sha256sum_of_sha256sums"]) == 64


def write_csv(path):
    path.write_text("user,item,rating\n1,2,3\n")
    return str(path)


def test_name_that_looks_like_a_glob_is_a_name(tmp_path):
    path = write_csv(tmp_path / "br[1].csv")
    write_csv(tmp_path / "br1.csv")
    assert find_files(path) == (path,)


@pytest.mark.parametrize(
    ("name", "sibling"),
    [("br[1].csv", "br1.csv"), ("a*.csv", "ab.csv"), ("q?.csv", "qx.csv")],
)
def test_name_that_looks_like_a_glob_is_read_alone(tmp_path, name, sibling):
    path = write_csv(tmp_path / name)
    (tmp_path / sibling).write_text("user,item,rating\n7,8,9\n")
    rows, _ = read_source(make_source("files", ratings=path), tmp_path)
    assert [row[:3] for row in rows] == [("1", "2", 3.0)]


def test_directory_of_movies_may_have_a_name_like_a_glob(tmp_path):
    (tmp_path / "set[1]").mkdir()
    path = tmp_path / "set[1]" / "mv_0000001.txt"
    path.write_text("1:\n")
    assert find_files(str(tmp_path / "set[1]")) == (str(path),)


def test_pipe_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe is a pipe"):
        find_files(str(tmp_path / "pipe"))


def test_list_may_have_blanks_after_its_commas(tmp_path):
    paths = [write_csv(tmp_path / name) for name in ("a.csv", "b c.csv")]
    assert find_files(", ".join(paths)) == tuple(paths)
    assert find_files(",".join(paths) + ",") == tuple(paths)


def test_name_with_a_comma_and_a_blank_is_a_name(tmp_path):
    path = write_csv(tmp_path / "mine, too.csv")
    assert find_files(path) == (path,)


def test_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    paths = [write_csv(tmp_path / name) for name in ("a.csv", "b.csv")]
    assert find_files("~/a.csv, ~/b.csv") == tuple(paths)
    assert find_files("~/*.csv") == tuple(paths)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("s3://bucket/a.csv", "s3:// is not read. Copy .* with aws s3 cp"),
        ("https://host/a.csv", "https:// is not read. Copy .* with curl -O"),
        ("abc://host/*.csv", "abc:// is not read. Copy .* with its own tool"),
        ("", "no file matches --ratings ''"),
    ],
)
def test_files_that_cannot_be_reached_are_named(path, message):
    with pytest.raises(UserError, match=message):
        find_files(path)


def test_flag_of_missing_files_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no file matches --test-ratings b\."):
        find_files(f"{write_csv(tmp_path / 'a.csv')}, b", "--test-ratings")
