import collections
import os

import numpy as np
import pytest

from data_prep.dataset.errors import UserError
from data_prep.dataset.items import read_items
from data_prep.dataset.manifest import read_manifest
from data_prep.prepare import prepare
from data_prep.sources.catalog import make_source
from data_prep.sources.formats import Columns
from data_prep.splits.catalog import TEST, make_split
from tests.data_prep.helpers import read_back, read_source, to_rows


def load(name, tmp_path, **options):
    rows, _ = read_source(make_source(name, **options), tmp_path)
    return rows


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            {"name": "movielens"},
            r"unknown source 'movielens'. The sources are: movielens-1m,"
            r" movielens-100k, tfds:movielens/1m-ratings and its like, files",
            id="unknown_name",
        ),
        pytest.param({"name": "files"}, "needs --ratings", id="no_ratings"),
        pytest.param(
            {"name": "files", "ratings": os.path.dirname(__file__)},
            r"data_prep is a directory without mv_\*.txt files. Name its files",
            id="directory",
        ),
        pytest.param(
            {"name": "files", "ratings": "/nowhere/*.csv"},
            r"no file matches --ratings /nowhere/\*.csv",
            id="no_match",
        ),
        pytest.param(
            {"name": "movielens-1m", "ratings": "a.csv"},
            "belong to --source files, not to --source movielens-1m",
            id="ratings_of_a_named_set",
        ),
        pytest.param(
            {"name": "movielens-1m", "columns": Columns(user="u")},
            "the column flags belong to --source files",
            id="columns_of_a_named_set",
        ),
    ],
)
def test_unusable_arguments_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        make_source(**arguments)


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


def test_published_fold_is_kept(tmp_path):
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
    manifest = prepare(source, make_split("fold"), output_dir)
    found = read_back(output_dir)[0]
    test = {key for key, (group, _) in found.items() if group == "test"}
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


@pytest.mark.parametrize("dataset", ["nothing/here", "movielens/1m-stars"])
def test_unknown_tfds_data_set_is_named(dataset, tmp_path):
    with pytest.raises(UserError, match=f"Datasets has no {dataset}"):
        load(f"tfds:{dataset}", tmp_path)


def test_tfds_data_set_without_ratings_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no ratings: it lacks.*user_id"):
        load("tfds:movielens/1m-movies", tmp_path)


@pytest.fixture
def tfds_ratings(tmp_path, monkeypatch):
    """A tiny movielens/1m-ratings where TFDS looks for prepared sets."""
    import tensorflow_datasets as tfds

    data_dir = str(tmp_path / "tfds")
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", data_dir)
    info = tfds.builder("movielens/1m-ratings").info
    row = {
        "movie_id": "10",
        "movie_title": "Amélie (2001)",
        "movie_genres": [0],
        "user_id": "007",
        "user_rating": 0.0,
        "timestamp": 978300760,
        "user_gender": True,
        "bucketized_user_age": 25.0,
        "user_occupation_label": 1,
        "user_occupation_text": "writer",
        "user_zip_code": "00000",
    }
    tfds.dataset_builders.store_as_tfds_dataset(
        name="movielens",
        config="1m-ratings",
        version=str(info.version),
        features=info.features,
        split_datasets={"train": [(0, row), (1, row | {"user_id": "8"})]},
        data_dir=data_dir,
    )


@pytest.mark.usefixtures("tfds_ratings")
def test_tfds_ratings_and_titles_are_read(tmp_path):
    source = make_source("tfds:movielens/1m-ratings")
    rows, _ = read_source(source, tmp_path)
    assert sorted(rows) == [
        ("007", "10", 0, 978300760),
        ("8", "10", 0, 978300760),
    ]
    assert source.read_titles(["10"], str(tmp_path)) == {"10": "Amélie (2001)"}


def test_tfds_without_network_says_what_else_to_do(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def fail(*args, **kwargs):
        raise ConnectionError("no route to files.grouplens.org\nand more")

    data_dir = str(tmp_path / "tfds")
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", data_dir)
    monkeypatch.setattr(
        tfds.download.DownloadManager, "download_and_extract", fail
    )
    with pytest.raises(
        UserError, match=r"could not prepare .*\(no route to .*org\)"
    ):
        load("tfds:movielens/1m-ratings", tmp_path)


@pytest.mark.integration
def test_movielens_1m_is_the_published_set(tmp_path):
    rows = load("movielens-1m", tmp_path)
    users, items, ratings, timestamps = zip(*rows, strict=True)
    assert len(rows) == 1_000_209
    assert (len(set(users)), len(set(items))) == (6_040, 3_706)
    assert (min(timestamps), max(timestamps)) == (956703932, 1046454590)
    assert collections.Counter(ratings) == {
        1: 56_174,
        2: 107_557,
        3: 261_197,
        4: 348_971,
        5: 226_310,
    }
    title = "One Flew Over the Cuckoo's Nest (1975)"
    assert rows[0] == ("1", title, 5, 978300760)


@pytest.mark.integration
def test_movielens_1m_is_prepared_whole(movielens_1m):
    manifest = read_manifest(movielens_1m)
    dropped = sum(manifest.rows_dropped.values())
    assert manifest.rows_read == 1_000_209
    assert sum(manifest.num_ratings.values()) + dropped == 1_000_209
    assert manifest.num_users == 6_040
    assert manifest.num_ratings["train"] == 697_435
    assert (manifest.rating_min, manifest.rating_max) == (1, 5)
    items = read_items(movielens_1m)
    assert items.item_ids == items.titles
    assert items.counts.sum() == 697_435
    found, order = read_back(movielens_1m)
    assert len(found) == sum(manifest.num_ratings.values())
    assert len(set(order)) == 6_040


@pytest.mark.integration
def test_movielens_100k_has_titles(tmp_path):
    source = make_source("movielens-100k")
    manifest = prepare(source, make_split("global-time"), str(tmp_path))
    assert manifest.rows_read == 100_000
    assert manifest.split["cuts"]["test"].startswith("1998-03-31")
    items = read_items(str(tmp_path))
    titles = dict(zip(items.item_ids, items.titles, strict=True))
    assert titles["1"] == "Toy Story (1995)"
    assert None not in titles.values()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "num_test", "num_known", "rmse_of_mean", "rmse_of_biases"),
    [
        ("movielens-1m", 100_021, 95_723, 1.0889, 0.9183),
        ("movielens-100k", 10_000, 2_800, 1.1259, 0.9691),
    ],
)
def test_last_tenth_is_as_hard_as_known(
    name, num_test, num_known, rmse_of_mean, rmse_of_biases, tmp_path
):
    """Bias = mean + item offset + user offset, each damped by 10 ratings."""
    rows = to_rows(load(name, tmp_path))
    users, items, ratings = rows.users, rows.items, rows.ratings
    cut = np.sort(rows.timestamps)[int(0.9 * len(rows))]
    split = make_split("global-time", validation_fraction=0, test_fraction=0.1)
    cuts = {"validation": cut, "test": cut}
    is_test = split.assign(rows, 0, cuts) == TEST
    is_train = ~is_test
    assert is_test.sum() == num_test

    def offsets(indices, residuals):
        num = indices.max() + 1
        train = indices[is_train]
        counts = np.bincount(train, minlength=num)
        sums = np.bincount(train, residuals[is_train], minlength=num)
        return (sums / (counts + 10))[indices], (counts > 0)[indices]

    mean = ratings[is_train].mean()
    item_offsets, item_known = offsets(items, ratings - mean)
    user_offsets, user_known = offsets(users, ratings - mean - item_offsets)
    known = is_test & item_known & user_known
    assert known.sum() == num_known
    assert rmse((ratings - mean)[known]) == pytest.approx(
        rmse_of_mean, abs=1e-4
    )
    residuals = ratings - mean - item_offsets - user_offsets
    assert rmse(residuals[known]) == pytest.approx(rmse_of_biases, abs=1e-4)


def rmse(errors):
    return np.sqrt(np.mean(errors**2))
