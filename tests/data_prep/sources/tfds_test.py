import pytest

from data_prep.dataset.errors import UserError
from data_prep.sources.registry import make_source
from tests.data_prep.helpers import read_source


@pytest.mark.parametrize("dataset", ["nothing/here", "movielens/1m-stars"])
def test_unknown_tfds_data_set_is_named(dataset, tmp_path):
    with pytest.raises(UserError, match=f"Datasets has no {dataset}"):
        read_source(make_source(f"tfds:{dataset}"), tmp_path)


def test_tfds_data_set_without_ratings_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no ratings: it lacks.*user_id"):
        read_source(make_source("tfds:movielens/1m-movies"), tmp_path)


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
        read_source(make_source("tfds:movielens/1m-ratings"), tmp_path)
